"""Which stretches of time, or of rows, have their labels: nothing is judged on those that have not.

Labels that come early are not a fair sample of a window: a loan that is paid back at once, a part that fails on the
first day. A window is mature when enough of its rows have a label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from evergreen.data.observations import Observations
from evergreen.data.windows import Window, block_numbers, order_column
from evergreen.spec.fields import Rows
from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class LabelWindow:
    """One window of `performance.window`, and how many of its rows have a label.

    Attributes:
        number: of the window, counted from the epoch or from row 0; 0 for rows without an order.
        start: its first instant (ISO 8601, UTC); None for a model without a time column.
        rows: how many rows of it there are by now.
        labelled: how many of them have a label that is known by now.
        mature: enough of them have one (`performance.coverage`).
        first_row: the number of its first row; None but for rows in the order of landing.
    """

    number: int
    start: str | None
    rows: int
    labelled: int
    mature: bool
    first_row: int | None = None

    @property
    def coverage(self) -> float:
        """Share of the rows that have a label."""
        return self.labelled / self.rows if self.rows else 0.0


def label_windows(observations: Observations, window: Window) -> tuple[LabelWindow, ...]:
    """The windows that `window` covers, oldest first, as they are at its logical time; the rows stream past."""
    spec = observations.spec
    column = order_column(spec)
    names = list(dict.fromkeys([*([column] if column else []), spec.target, "_labelled_at"]))
    known = None if window.as_of is None else datetime.fromisoformat(window.as_of)
    counts: dict[int, tuple[int, int]] = {}
    for batch in observations.table.scan(names, window.where(observations), window.snapshot.version):
        frame = batch.to_pandas()
        has = frame[spec.target].notna()
        if known is not None:
            has &= ~(frame["_labelled_at"] > known)
        found, places, rows = np.unique(window_numbers(observations, frame), return_inverse=True, return_counts=True)
        labelled = np.bincount(places, weights=has, minlength=len(found)).astype(np.int64)
        for number, count, there in zip(found.tolist(), rows.tolist(), labelled.tolist(), strict=True):
            before = counts.get(number, (0, 0))
            counts[number] = before[0] + count, before[1] + there
    return tuple(_window(spec, number, *counted) for number, counted in sorted(counts.items()))


def _window(spec: ModelSpec, number: int, rows: int, labelled: int) -> LabelWindow:
    policy = spec.performance
    mature = labelled >= policy.coverage * rows
    if isinstance(policy.window, Rows):
        return LabelWindow(number, None, rows, labelled, mature, number * policy.window.count)
    start = None if spec.time is None else (datetime.fromtimestamp(0, UTC) + number * policy.window).isoformat()
    return LabelWindow(number, start, rows, labelled, mature)


def window_numbers(observations: Observations, frame: pd.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The number of the window that each row of a frame lies in."""
    spec = observations.spec
    column = order_column(spec)
    if column is None:
        return np.zeros(len(frame), dtype=np.int64)
    return block_numbers(frame[column], spec.performance.window)


def in_mature(observations: Observations, frame: pd.DataFrame, windows: Sequence[LabelWindow]) -> pd.DataFrame:
    """The rows of a frame that lie in mature windows."""
    mature = [window.number for window in windows if window.mature]
    return frame[np.isin(window_numbers(observations, frame), mature)].reset_index(drop=True)
