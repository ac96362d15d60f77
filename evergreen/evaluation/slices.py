"""The parts of the holdout that a candidate is judged on one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from evergreen.data.predictions import Predictions
from evergreen.spec.metric import Array

SLICES = 20
"""Only so many values of a slice column are judged, the most frequent ones."""


def slices(columns: Mapping[str, Array], least: int) -> Iterator[tuple[str, Array]]:
    """Name and row mask of every slice of at least `least` rows; of a column, of its most frequent values."""
    import pandas as pd

    from evergreen.data.frames import to_text

    for column, values in columns.items():
        plain = to_text(pd.Series(values)).astype("object").fillna("missing").to_numpy()
        names, sizes = np.unique(plain.astype(str), return_counts=True)
        frequent = np.argsort(-sizes, kind="stable")[:SLICES]
        for name in sorted(names[frequent]):
            rows = plain == name
            if rows.sum() >= least:
                yield f"{column}={name}", rows


def picked(model: Predictions, rows: Array) -> Predictions:
    """What a model says of some of its rows, by mask or position."""
    return Predictions(
        model.values[rows], None if model.probability is None else model.probability[rows], model.classes
    )
