"""What a refusal says to write in the model file, and that it lets the rows in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pytest

from evergreen.data.checked_batch import CheckedBatch, check_batch
from evergreen.data.contract import schema_of
from evergreen.spec.data import Features
from evergreen.spec.model import ModelSpec

NOW = datetime(2026, 1, 1, tzinfo=UTC)
IDS, AT = pa.Column(int), pa.Column("datetime64[us, UTC]")
Make = Callable[..., ModelSpec]
Rows = Callable[..., pd.DataFrame]


def checked(make_spec: Make, frame: pd.DataFrame, *, categorical: tuple[str, ...] = ("kind",), **column: Any) -> Any:
    """What becomes of rows with one column of the contract in another form."""
    columns = {
        "id": IDS,
        "at": AT,
        "x": pa.Column(float, nullable=True),
        "kind": pa.Column(str, nullable=True),
        "y": pa.Column(float, pa.Check.isin([1.0, 2.0])),
    }

    def contract() -> Any:
        return pa.DataFrameSchema(columns | column)

    numeric = tuple({"x"} - set(categorical))
    features = Features(numeric=numeric, categorical=tuple(categorical))
    spec = make_spec(contract=contract, features=features)
    return check_batch(frame, spec, schema_of(spec), now=NOW)


@pytest.fixture
def rows(make_rows: Rows) -> pd.DataFrame:
    return make_rows(20).assign(y=np.arange(20) % 2 + 1.0)


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str, dict[str, Any]]] = {
    "letters among numbers": (
        {"x": "12A"},
        {},
        'To let it in as a category, write "x": pa.Column(str, nullable=True) in contract() of the model file, and '
        'move "x" to categorical=(...)',
        {"x": pa.Column(str, nullable=True), "categorical": ("kind", "x")},
    ),
    "decimals": (
        {"x": 3.5},
        {"x": pa.Column(int)},
        'To let decimals in, write "x": pa.Column(float) in contract() of the model file',
        {"x": pa.Column(float)},
    ),
    "a third value of a flag": (
        {"kind": "unknown"},
        {"kind": pa.Column(bool)},
        'To let it in as a category, write "kind": pa.Column(str, nullable=True) in contract() of the model file',
        {"kind": pa.Column(str, nullable=True)},
    ),
    "missing values": (
        {"x": None},
        {"x": pa.Column(float)},
        'To let missing values in, write "x": pa.Column(float, nullable=True) in contract() of the model file',
        {"x": pa.Column(float, nullable=True)},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_line_that_is_shown_lets_the_rows_in(make_spec: Make, rows: pd.DataFrame, case: str) -> None:
    """As it is written, and with nothing else."""
    cells, before, remedy, after = CASES[case]
    frame = rows.assign(**cells)
    refused: CheckedBatch = checked(make_spec, frame, **before)
    assert refused.problem.startswith("20 of 20 rows break the contract")
    assert refused.remedy == remedy
    let_in: CheckedBatch = checked(make_spec, frame, **after)
    assert (len(let_in.rows), let_in.problem, let_in.remedy) == (20, "", "")


def test_a_column_that_is_absent(make_spec: Make, rows: pd.DataFrame) -> None:
    """A feature may be made optional; the model cannot do without target, key and time."""
    frame = rows.drop(columns="x")
    refused: CheckedBatch = checked(make_spec, frame)
    assert refused.remedy == (
        'To let files without it in, write "x": pa.Column(float, nullable=True, required=False) in contract() of the '
        "model file"
    )
    let_in: CheckedBatch = checked(make_spec, frame, x=pa.Column(float, nullable=True, required=False))
    assert len(let_in.rows) == 20
    for name in ("id", "at", "y"):
        refused = checked(make_spec, rows.drop(columns=name))
        assert (refused.problem, refused.remedy) == (f"column '{name}' is missing", "")


def test_a_new_class_is_named_as_what_it_may_be(make_spec: Make, rows: pd.DataFrame) -> None:
    """A person knows whether it is one."""
    refused: CheckedBatch = checked(make_spec, rows.assign(y=3.0))
    assert refused.remedy == "If it is a new class, add it to those of contract() in the model file"


def test_keys_and_times_are_for_the_data_to_mend(make_spec: Make, rows: pd.DataFrame) -> None:
    """Nothing in the model file makes a row known that does not say which it is."""
    for cells in ({"id": None}, {"at": None}, {"id": "A1"}):
        refused: CheckedBatch = checked(make_spec, rows.assign(**cells))
        assert refused.problem
        assert refused.remedy == ""
