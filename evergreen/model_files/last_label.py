"""What one line without a model would predict for rows in an order: the last known label, or that of a day ago.

A label counts as known from the next row of its series on. Where labels come late, the rule promises too much.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evergreen.data.predictions import Predictions

if TYPE_CHECKING:
    import pandas as pd

SEASONS: Mapping[str, str] = {"the label a day before": "1D", "the label a week before": "7D"}
LAST_LABEL = "the last known label"
MIN_SHARE = 0.9
"""A season counts where so many rows have a label exactly that long before; the others take the last known one."""

Array = npt.NDArray[Any]


def earlier_labels(labels: Array, time: pd.Series | None, series: list[pd.Series]) -> dict[str, Array]:
    """What each rule says of each row, shape (n,); missing (NaN or None) where a row has none before it.

    Args:
        labels: of n rows in order, numbers or texts.
        time: of the rows; None where only their order is known.
        series: columns that tell series apart; rows of another series say nothing.

    Returns:
        The labels by the name of the rule; a season is left out where the times do not allow it.
    """
    import pandas as pd

    known = pd.DataFrame({"label": labels, "at": np.arange(len(labels)) if time is None else time.to_numpy()})
    known["series"] = pd.MultiIndex.from_arrays([s.astype("str") for s in series]).factorize()[0] if series else 0
    at = pd.MultiIndex.from_frame(known[["series", "at"]])
    newest = known.drop_duplicates(["series", "at"], keep="last")
    before = newest.groupby("series")["label"].shift(1).set_axis(pd.MultiIndex.from_frame(newest[["series", "at"]]))
    last = before.reindex(at).to_numpy()
    found = {LAST_LABEL: last}
    if time is None:
        return found
    times = newest["at"].drop_duplicates().sort_values().to_numpy()
    step = pd.Timedelta(np.median(np.diff(times))) if len(times) > 1 else pd.Timedelta.max
    by_time = newest.set_index(["series", "at"])["label"]
    for name, length in SEASONS.items():
        if step >= pd.Timedelta(length):
            continue
        ago = pd.MultiIndex.from_arrays([known["series"], known["at"] - pd.Timedelta(length)])
        seasonal = by_time.reindex(ago)
        first = known["at"].min() + pd.Timedelta(length)
        if seasonal[(known["at"] >= first).to_numpy()].notna().mean() >= MIN_SHARE:
            found[name] = seasonal.where(seasonal.notna(), last).to_numpy()
    return found


def repeat_labels(earlier: Array, y: Array, fit_rows: Array, test_rows: Array, otherwise: Predictions) -> Predictions:
    """Predict the earlier label of each test row, and `otherwise` where it has none.

    The probability of a class is how often it followed that label among the rows that are learned from.

    Args:
        earlier: the label that a rule gives each of n rows.
        y: the labels of these rows.
        fit_rows: positions of the rows that are learned from.
        test_rows: positions of the rows that are predicted, shape (m,).
        otherwise: the predictions of a constant for the test rows.
    """
    import pandas as pd

    known = pd.notna(earlier[test_rows])
    values = np.where(known, earlier[test_rows], otherwise.values)
    if otherwise.probability is None or otherwise.classes is None:
        return Predictions(values.astype("float64"))
    classes = list(otherwise.classes)
    position = {label: place for place, label in enumerate(classes)}
    # A label that was never followed by a class has its share among all rows, as if seen once.
    follows = np.tile(otherwise.probability[0], (len(classes), 1))
    for label, following in zip(earlier[fit_rows].tolist(), y[fit_rows].tolist(), strict=True):
        if label in position:
            follows[position[label], position[following]] += 1
    follows /= follows.sum(axis=1, keepdims=True)
    chances = otherwise.probability.copy()
    for row, label in enumerate(earlier[test_rows].tolist()):
        if label in position:
            chances[row] = follows[position[label]]
    return Predictions(values.astype(y.dtype), chances, otherwise.classes)
