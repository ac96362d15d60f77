"""A seeded sample that keeps the order of the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


ROWS = 20_000
"""Rows compared on either side; more cost time and change a score by less than 0.005."""


def sample(frame: pd.DataFrame, rows: int = ROWS, *, seed: int) -> pd.DataFrame:
    """Take `rows` rows, one at random from each of as many equal stretches of the frame.

    Its order, which is time, is covered evenly and kept. A frame that is small enough comes back itself.
    """
    if len(frame) <= rows:
        return frame
    edges = np.arange(rows + 1) * len(frame) // rows
    picks = edges[:-1] + (np.random.default_rng(seed).random(rows) * np.diff(edges)).astype(np.int64)
    return frame.iloc[picks]
