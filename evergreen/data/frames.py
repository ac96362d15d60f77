"""The one shape in which rows reach a pipeline or a drift report: float64 numbers and plain text.

Nullable, narrow and Arrow dtypes are converted here, so that neither scikit-learn nor Evidently ever meets one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evergreen.spec.data import Features

if TYPE_CHECKING:
    import pandas as pd

SYSTEM_COLUMNS = ("_batch", "_origin", "_row", "_landed_at", "_labelled_at")
"""Columns that the lake adds to every row; they are no part of its content.

`_labelled_at` says when a target that came later than its row became known. It is null if both came together.
"""


def to_float64(column: pd.Series) -> pd.Series:
    """Convert a column to float64; nulls of any kind become NaN."""
    import pandas as pd

    return pd.Series(column.to_numpy(dtype="float64", na_value=float("nan")), index=column.index, name=column.name)


def to_text(column: pd.Series) -> pd.Series:
    """Convert a column of categories to text, missing ones to NaN; the integer 3, 3.0 and Int64 3 all become "3"."""
    import pandas as pd
    import pyarrow as pa

    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if isinstance(column.dtype, pd.StringDtype):
        return column.astype("str")
    missing = column.isna()
    if pd.api.types.is_float_dtype(column.dtype):
        numbers = to_float64(column)
        is_whole = (numbers == numbers.round()) & (numbers.abs() < 2**53)
        whole = numbers.where(is_whole, 0.0).astype("int64").astype("object")
        return numbers.astype("object").where(~is_whole, whole).map(str).astype("str").mask(missing)
    if pd.api.types.is_integer_dtype(column.dtype) and not missing.any():
        # Ten times as fast as pandas' own way, which makes a Python object of each number.
        words = pa.array(column.to_numpy()).cast(pa.string())
        return pd.Series(pd.array(words, dtype="str"), index=column.index, name=column.name)
    return column.astype("object").map(_value_to_text).astype("str").mask(missing)


def model_frame(frame: pd.DataFrame, features: Features) -> pd.DataFrame:
    """The features of `frame`, in the order and with the types that the pipeline was fitted on."""
    import pandas as pd

    columns = {name: to_float64(frame[name]) for name in features.numeric}
    columns |= {name: to_text(frame[name]) for name in features.categorical}
    return pd.DataFrame(columns, index=frame.index)


def _value_to_text(value: object) -> str:
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return str(int(value)) if is_whole and isinstance(value, float) else str(value)
