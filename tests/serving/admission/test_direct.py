"""What is admitted without a frame would be admitted by batch scoring's own check, with the same values."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pandera.pandas as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evergreen.data.contract import scoring_schema
from evergreen.data.frames import model_frame
from evergreen.sources import Folder
from evergreen.spec import Features, Metric, ModelSpec, Reading
from serving.admission.direct import DirectAdmission, NotDirectError, direct_admission
from serving.admission.frames import admit_frame, frame_of_rows
from serving.faults import RequestError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Check = pa.Check


def _contract() -> Any:
    return pa.DataFrameSchema(
        {
            "customer": pa.Column(str),
            "visit": pa.Column(int),
            "at": pa.Column("datetime64[us, UTC]"),
            "age": pa.Column(int, Check.in_range(0, 120)),
            "size": pa.Column(float, [Check.gt(-5), Check.le(1e6), Check.ne(13.5)], nullable=True),
            "weight": pa.Column(float, Check.in_range(0, 1, include_max=False)),
            "member": pa.Column(bool),
            "plan": pa.Column(str, Check.isin(["basic", "family", "4"]), nullable=True),
            "code": pa.Column(str, [Check.str_length(1, 4), Check.str_matches(r"[A-Za-z0-9 ]"), Check.notin(["x"])]),
            "level": pa.Column(int, [Check.lt(10), Check.ge(-3), Check.eq(4, ignore_na=True)][:2]),
            "score": pa.Column(float, nullable=True),
            "bought": pa.Column(float),
        }
    )


FEATURES = Features(numeric=("age", "size", "weight", "member"), categorical=("plan", "code", "level", "score"))


def _spec(**changes: Any) -> ModelSpec:
    fields: dict[str, Any] = {
        "name": "visits",
        "task": "regression",
        "source": Folder("visits"),
        "contract": _contract,
        "keys": ("customer", "visit"),
        "time": "at",
        "timezone": "Europe/Berlin",
        "target": "bought",
        "features": FEATURES,
        "pipeline": lambda _seed: None,
        "metric": Metric(name="mae"),
        "reading": Reading(missing=("k.A.",)),
    }
    return ModelSpec(**fields | changes)


SPEC = _spec()
SCHEMA = scoring_schema(SPEC)
ADMISSION = direct_admission(SPEC, SCHEMA)
GOOD: dict[str, Any] = {
    "age": 40,
    "size": 1.5,
    "weight": 0.25,
    "member": True,
    "plan": "basic",
    "code": "AB1",
    "level": 3,
    "score": 2.5,
}

NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.integers(-5, 130),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1.0, 13.5, 1e6, 120, 121, -5, 5e-324, 2**53, 2.0**53, 1e22, 0.1, 9.5, 1e16]),
)
VALUES = st.one_of(
    NUMBERS,
    st.booleans(),
    st.none(),
    st.sampled_from(
        ["", "k.A.", "basic", "family", "4", "4.0", " basic", "x", "plan", "code", "1", "0.5", "nan", "NA", "inf"]
    ),
    st.text(max_size=5),
)


def _as_frame(row: dict[str, Any]) -> list[Any] | None:
    """The values by the way of batch scoring; None for a row that it refuses."""
    try:
        admitted = admit_frame(frame_of_rows([row]), SPEC, SCHEMA, now=NOW)
    except RequestError:
        return None
    if admitted.faults:
        return None
    return model_frame(admitted.rows, FEATURES).astype("object").iloc[0].tolist()  # type: ignore[no-any-return]


def _same(one: list[Any], other: list[Any]) -> bool:
    def plain(value: Any) -> Any:
        return None if value is None or (isinstance(value, float) and math.isnan(value)) else value

    return [(type(plain(each)), plain(each)) for each in one] == [(type(plain(each)), plain(each)) for each in other]


def _agrees(admission: DirectAdmission, row: dict[str, Any]) -> bool:
    direct = admission.admit(row)
    if direct is None:
        return True
    framed = _as_frame(row)
    return framed is not None and _same(direct, framed)


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), VALUES, max_size=3), st.booleans())
@example({"size": None, "plan": None, "score": None}, False)
@example({"score": 3}, False)
@example({"score": 1e22}, False)
@example({"level": 7}, True)
def test_what_is_admitted_directly_is_what_batch_scoring_admits(changes: dict[str, Any], with_key: bool) -> None:
    """Whatever values a row has: the same values for the pipeline, or left to the slower way."""
    key = {"customer": "c-1", "visit": 7, "at": "2026-01-31T08:00:00Z"} if with_key else {}
    assert _agrees(ADMISSION, GOOD | changes | key)


def test_good_rows_are_admitted() -> None:
    """The way is of use: plain rows take it, with a missing value, a whole number in a float, and a key."""
    assert ADMISSION.admit(GOOD) is not None
    for change in ({"size": None}, {"size": 2}, {"plan": None}, {"score": None}, {"weight": 0}):
        assert ADMISSION.admit(GOOD | change) is not None, change
    assert ADMISSION.admit(GOOD | {"customer": "c-1", "visit": 7, "at": "2026-01-31T08:00:00+01:00"}) is not None


@pytest.mark.parametrize(
    "change",
    [
        {"age": "40"},
        {"age": True},
        {"age": 40.0},
        {"age": 121},
        {"weight": 1},
        {"size": 13.5},
        {"size": float("inf")},
        {"member": 1},
        {"plan": "k.A."},
        {"plan": "other"},
        {"code": "\u00e4"},
        {"code": "code"},
        {"code": "x"},
        {"level": None},
        {"extra": 1},
        {"customer": "c-1"},
        {"customer": "1E+5", "visit": 7},
        {"customer": "c-1", "visit": 7.0},
        {"at": "2026-01-31 08:00"},
        {"at": "2026-02-31T08:00:00Z"},
        {"at": None},
        {"bought": 3.0},
    ],
    ids=str,
)
def test_what_has_to_be_looked_at_is_left_to_the_slower_way(change: dict[str, Any]) -> None:
    """A value to convert, a value that breaks the contract, another column, a part of a key."""
    assert ADMISSION.admit(GOOD | change) is None


def test_a_missing_feature_is_left_to_the_slower_way() -> None:
    """Also one that may be null: absent is not null."""
    assert ADMISSION.admit({name: value for name, value in GOOD.items() if name != "size"}) is None


@pytest.mark.parametrize(
    ("place", "wrong"),
    [(0, float), (1, lambda value: value or 0.0), (5, lambda value: str(value).upper()), (6, str)],
    ids=["no range", "missing becomes zero", "another text", "any level"],
)
def test_a_wrong_way_would_be_seen(place: int, wrong: Callable[[Any], Any]) -> None:
    """Planted: a way that forgets a rule or changes a value does not agree on some row."""
    columns = list(ADMISSION.columns)
    columns[place] = (columns[place][0], wrong)
    planted = replace(ADMISSION, columns=tuple(columns))
    rows = [GOOD | {"age": 200}, GOOD | {"size": None}, GOOD | {"code": "ab"}, GOOD | {"level": 99}]
    assert not all(_agrees(planted, row) for row in rows)
    assert all(_agrees(ADMISSION, row) for row in rows)


def _with_rule(rule: Any, **schema: Any) -> Any:
    def contract() -> Any:
        columns = dict(_contract().columns)
        columns["age"] = pa.Column(int, rule)
        return pa.DataFrameSchema(columns, **schema)

    return contract


@pytest.mark.parametrize(
    "contract",
    [
        _with_rule(Check(lambda ages: ages > 0)),
        _with_rule(Check(lambda age: age > 0, element_wise=True)),
        _with_rule(Check.in_range(0, 120, ignore_na=False)),
        _with_rule(Check.unique_values_eq([1])),
        _with_rule(None, checks=Check(lambda frame: frame["age"] > frame["level"])),
    ],
    ids=["a function", "of each value", "of nulls", "of the whole column", "of the whole row"],
)
def test_a_rule_that_is_not_known_here_turns_the_way_off(contract: Any) -> None:
    """The reason is a sentence; nothing is admitted on a guess."""
    spec = _spec(contract=contract)
    with pytest.raises(NotDirectError, match="rule"):
        direct_admission(spec, scoring_schema(spec))


def test_a_rule_of_the_same_name_is_not_taken_for_a_known_one() -> None:
    """A person's own check that is called in_range has other arguments."""

    def in_range(ages: Any) -> Any:
        return ages > 5

    spec = _spec(contract=_with_rule(Check(in_range)))
    with pytest.raises(NotDirectError, match="in_range"):
        direct_admission(spec, scoring_schema(spec))
