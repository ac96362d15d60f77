"""The sample of a version's training rows that drift is measured against."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


SAMPLE_ROWS = 20_000


REFERENCE = "reference.parquet"


PREDICTION = "prediction"


def reference_sample(frame: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """What is kept of a candidate's training rows to compare later ones with."""
    from evergreen.data.sampling import sample

    return sample(frame.drop(columns=["_row"]), SAMPLE_ROWS, seed=seed)
