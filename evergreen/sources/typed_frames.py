"""Typed rows of Parquet, Delta and SQL as a frame, with every digit.

pandas makes float64 of whole numbers beside a missing one, and of decimals; from 2^53 on that changes them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_INDEX_OF_PANDAS = re.compile(r"__index_level_\d+__")


def frame_of_table(table: pa.Table) -> pd.DataFrame:
    """The columns of an Arrow table; an index of pandas that has a name is one of them."""
    import pandas as pd
    import pyarrow as pa

    names = [name for name in table.column_names if not _INDEX_OF_PANDAS.fullmatch(name)]
    table = table.select([table.column_names.index(name) for name in names]) if len(set(names)) == len(names) else table
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    for field in table.schema:
        column = table.column(field.name)
        if pa.types.is_integer(field.type) and column.null_count and _is_beyond_float(column):
            whole = column.cast(pa.int64()) if pa.types.is_signed_integer(field.type) else column.cast(pa.uint64())
            kind = "Int64" if pa.types.is_signed_integer(field.type) else "UInt64"
            frame[field.name] = pd.array(whole.to_pylist(), dtype=kind)
    return frame


def frame_of_rows(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """Rows of a query. A column of `Decimal` becomes one of numbers, where no value loses a digit."""
    import pandas as pd

    frame = pd.DataFrame.from_records(list(rows), columns=list(names))
    for place, name in enumerate(names):
        values = [row[place] for row in rows]
        present = [value for value in values if value is not None]
        if present and all(type(value) is int for value in present) and len(present) < len(values):
            if any(abs(value) > 2**53 for value in present):
                frame[name] = pd.array(values, dtype="Int64") if max(map(abs, present)) < 2**63 else values
        elif present and all(isinstance(value, Decimal) for value in present):
            is_exact = all(Decimal(repr(float(value))) == value for value in present if value.is_finite())
            frame[name] = pd.to_numeric(frame[name]) if is_exact else frame[name]
    return frame


def _is_beyond_float(column: pa.ChunkedArray) -> bool:
    import pyarrow.compute as pc

    ends = pc.min_max(column)
    return any(end is not None and abs(end) > 2**53 for end in (ends["min"].as_py(), ends["max"].as_py()))
