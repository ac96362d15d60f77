from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evergreen.data.frames import model_frame, to_float64, to_text
from evergreen.spec.data import Features

THREE = [
    pd.Series([3, 4]),
    pd.Series([3.0, 4.0]),
    pd.Series([3, 4], dtype="Int64"),
    pd.Series([3, 4], dtype="int8"),
    pd.Series([3.0, 4.0], dtype="Float32"),
    pd.Series([3, 4.0], dtype="object"),
    pd.Series(["3", "4"]),
    pd.Series(["3", "4"], dtype="object"),
    pd.Series([3, 4], dtype="category"),
    pd.Series([3.0, 4.0], dtype="category"),
    pd.Series([3, 4], dtype="int64[pyarrow]"),
    pd.Series([3.0, 4.0], dtype="double[pyarrow]"),
]


@pytest.mark.parametrize("column", THREE, ids=lambda column: str(column.dtype))
def test_one_category_has_one_name(column: pd.Series) -> None:
    """The same category is the same text whatever type it came in."""
    assert to_text(column).tolist() == ["3", "4"]
    assert to_text(column).dtype == "str"


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT])
def test_missing_categories_are_nan(missing: Any) -> None:
    """No kind of null becomes a category named 'nan' or 'None'."""
    assert to_text(pd.Series(["a", missing], dtype="object")).isna().tolist() == [False, True]
    assert to_text(pd.Series([3, None], dtype="Int64")).isna().tolist() == [False, True]


@settings(max_examples=50)
@given(st.lists(st.one_of(st.none(), st.floats(), st.integers(-(2**40), 2**40), st.booleans(), st.text())))
def test_texts_never_change_twice(values: list[Any]) -> None:
    """Text of text is itself, rows keep their places, and the argument stays as it was."""
    column = pd.Series(values, dtype="object", index=range(5, 5 + len(values)))
    before = column.copy()
    plain = to_text(column)
    pd.testing.assert_series_equal(to_text(plain), plain)
    pd.testing.assert_series_equal(column, before)
    assert plain.index.equals(column.index)
    assert plain.isna().equals(column.isna())


def test_the_pipelines_frame() -> None:
    """Numbers are float64, categories text, in the order of the model file; nullable and Arrow types are made plain."""
    frame = pd.DataFrame(
        {
            "c": pd.Series([1, None], dtype="Int8"),
            "b": pd.Series([True, None], dtype="boolean"),
            "a": pd.Series([1, None], dtype="int32[pyarrow]"),
        }
    ).set_axis([7, 9])
    plain = model_frame(frame, Features(numeric=("a", "b"), categorical=("c",)))
    assert [str(kind) for kind in plain.dtypes] == ["float64", "float64", "str"]
    assert plain.columns.tolist() == ["a", "b", "c"]
    assert plain.index.tolist() == [7, 9]
    assert plain.isna().sum().tolist() == [1, 1, 1]
    assert to_float64(frame["c"]).tolist()[0] == 1.0
