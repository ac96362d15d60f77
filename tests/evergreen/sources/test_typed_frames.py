"""Typed rows keep every digit on their way into a frame."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from evergreen.sources.typed_frames import frame_of_rows, frame_of_table

LONG = 2**53 + 1


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64()])
def test_long_integers_beside_a_missing_one(kind: pa.DataType) -> None:
    """No float is made of them; short ones become floats, as everywhere in pandas."""
    frame = frame_of_table(pa.table({"a": pa.array([LONG, None], kind), "b": pa.array([1, None], kind)}))
    assert frame["a"].tolist()[0] == LONG
    assert frame["a"].isna().tolist() == [False, True]
    assert frame["b"].dtype == "float64"


def test_the_index_of_pandas() -> None:
    """One with a name is a column, one without is none."""
    named = pa.Table.from_pandas(pd.DataFrame({"a": [1, 2]}, index=pd.Index([7, 8], name="key")))
    plain = pa.Table.from_pandas(pd.DataFrame({"a": [1, 2]}, index=[7, 8]))
    assert frame_of_table(named).to_dict("list") == {"a": [1, 2], "key": [7, 8]}
    assert frame_of_table(plain).to_dict("list") == {"a": [1, 2]}


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([LONG, None], [LONG, None]),
        ([2**64, None], [2**64, None]),
        ([1, None], [1.0, None]),
        ([Decimal("1.10"), Decimal("2")], [1.1, 2.0]),
        ([Decimal("12345678901234567.89"), None], [Decimal("12345678901234567.89"), None]),
    ],
)
def test_rows_of_a_query(values: list[Any], wanted: list[Any]) -> None:
    """Decimals become floats where none of them changes."""
    frame = frame_of_rows(["id", "v"], [(place, value) for place, value in enumerate(values)])
    assert [None if pd.isna(value) else value for value in frame["v"]] == wanted
