"""What the order of rows says of their targets: whether neighbours are alike, and how many rows they are worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evergreen.evaluation.autocorrelation import correlate_neighbours
from evergreen.model_files.column_types import dtype_kind

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

LIKE_NEIGHBOURS = 0.5
"""From this correlation of a row's target with the one before on, the order of the rows says something."""
MIN_ORDERED = 100
"""Fewer rows may be in such an order by chance."""


def measure_order(target: pd.Series) -> float:
    """The correlation of each row's target with that of the row before; 0 where the order of the rows says nothing.

    Of classes their codes are compared. A table that is sorted by its target has no other order that could be told.

    Args:
        target: of rows without a time, as the file orders them.
    """
    import numpy as np

    codes = _codes(target.dropna())
    steps = np.diff(codes)
    changes = int((np.diff(np.sign(steps[steps != 0])) != 0).sum())
    if len(codes) < MIN_ORDERED or not np.isfinite(codes).all() or changes < 2:
        return 0.0
    likeness = correlate_neighbours(codes)
    return likeness if likeness >= LIKE_NEIGHBOURS else 0.0


def describe_order(likeness: float) -> str:
    """A note on rows without a time whose neighbours have like targets; `likeness` is their correlation."""
    return (
        f"each row's target is like that of the row before (correlation {likeness:.2f}): a random share of such rows "
        "would judge too kindly, so order='rows' takes the first ones for the oldest, and the last ones judge; if a "
        "column has their time, name it with --time"
    )


def count_effective_rows(target: pd.Series, series: Sequence[pd.Series]) -> float:
    """How many independent rows the rows of a stream are worth: n (1 - r) / (1 + r) in each of its series.

    r is the correlation of neighbours, which the formula takes for that of an autoregression of order one; a negative r
    counts as none. Bayley and Hammersley 1946, "The effective number of independent observations in an autocorrelated
    time series", J. R. Stat. Soc. Suppl. 8.

    Args:
        target: of rows in time order.
        series: columns beside it that tell series apart, such as the keys without the time; empty for one series.
    """
    import numpy as np
    import pandas as pd

    present = target.notna()
    codes = pd.Series(_codes(target[present]), index=target.index[present])
    codes = codes[np.isfinite(codes.to_numpy())]
    groups = [column.loc[codes.index].astype("object").map(str) for column in series]
    parts = [part for _, part in codes.groupby(groups, sort=False)] if groups else [codes]
    # Of a series of a few rows no correlation can be told.
    return sum((len(part) * _worth(part.to_numpy(dtype=np.float64)) for part in parts), 0.0)


def _worth(codes: npt.NDArray[Any]) -> float:
    likeness = correlate_neighbours(codes) if len(codes) >= 10 else 0.0
    # That of equal values is undefined: they are worth what they are.
    likeness = likeness if likeness > 0 else 0.0
    return (1 - likeness) / (1 + likeness)


def _codes(target: pd.Series) -> npt.NDArray[np.float64]:
    import numpy as np
    import pandas as pd

    values = target if dtype_kind(target) in "iuf" else pd.Series(pd.factorize(target.astype("object").map(str))[0])
    return np.asarray(values, dtype=np.float64)
