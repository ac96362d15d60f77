"""Details of decisions as JSON: what was stored is read, and written again it is the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.decision import Kind
from evergreen.details.decision import Detail, Ingested, SuppressedDetail
from evergreen.details.watch import TriggerDetail, WindowFigure
from evergreen.errors import EvergreenError
from evergreen.ledger.detail_json import DETAILS, detail_from_json, detail_to_json
from evergreen.verdicts import Check, Verdict
from tests.details import detail_of

STORED = [json.loads(line) for line in (Path(__file__).parent / "stored_details.jsonl").read_text().splitlines()]
"""Rows of the decisions table as commit 6801be8 wrote them, every key and every kind of value of each kind.

A kind that is newer has a row as it was first written.
"""


def written(detail: Detail) -> str:
    """As the table has it."""
    return json.dumps(detail_to_json(detail), sort_keys=True)


def possible(detail: Any) -> Any:
    """What can be: who was not asked has not answered, and without a run there is no event of one."""
    if isinstance(detail, TriggerDetail) and detail.because is None:
        return replace(detail, called=True)
    if isinstance(detail, SuppressedDetail) and detail.asked_for is None:
        return replace(detail, event_id=None)
    return detail


def equals_itself(detail: Any) -> bool:
    """Without a number that is none: that has a test of its own."""
    return "nan" not in repr(detail)


ANY = st.sampled_from(list(DETAILS.items())).flatmap(
    lambda kind: st.tuples(st.just(kind[0]), st.from_type(kind[1]).map(possible).filter(equals_itself))
)


def test_every_kind_has_its_type_and_a_stored_row() -> None:
    """A kind that is added needs both."""
    assert set(get_args(Kind)) == set(DETAILS) == {row["kind"] for row in STORED}


@pytest.mark.parametrize("row", STORED, ids=[row["kind"] for row in STORED])
def test_what_was_stored_is_written_as_it_was(row: Mapping[str, Any]) -> None:
    """Every key of every row has its place in the types, and nothing is added."""
    detail = detail_from_json(row["kind"], "d1", row["detail"])
    assert written(detail) == json.dumps(row["detail"], sort_keys=True)


@given(ANY)
def test_every_detail_comes_back(case: tuple[Kind, Any]) -> None:
    """Through the text of the table."""
    kind, detail = case
    assert detail_from_json(kind, "d1", json.loads(written(detail))) == detail


def test_what_is_not_a_number_comes_back() -> None:
    """A gate may have measured nothing, or no end of it."""
    checks = (Check("latency", Verdict.PASS, float("nan"), float("inf"), "so"),)
    detail = detail_from_json("retrain", "d1", json.loads(written(detail_of("retrain", checks=checks))))
    assert repr(detail) == repr(detail_of("retrain", checks=checks))


@pytest.mark.parametrize("kind", DETAILS)
def test_keys_of_a_newer_version_are_left_out(kind: Kind) -> None:
    """Of the whole and of its parts."""
    window = WindowFigure(None, 24, 1.0, 0.5, None)
    detail = detail_of(kind, **({"windows": (window,)} if kind == "performance" else {}))
    told = detail_to_json(detail) | {"newer": 1}
    if kind == "retrain":
        assert "doubts" not in told["ingest"]
    windows = told["windows"] if kind == "performance" else []
    for part in (*windows, told.get("snapshot", {}), told.get("ingest", {})):
        part["newer"] = 1
    assert detail_from_json(kind, "d1", told) == detail


@pytest.mark.parametrize(
    ("kind", "facts", "missing"),
    [
        ("drift", {"threshold": None}, ["threshold"]),
        (
            "performance",
            {},
            ["logged", "immature", "windows", "slices", "also", "residuals", "calibration", "bound", "own"],
        ),
        ("retrain", {}, ["drift.weights", "ingest.labels", "ingest.labels_waiting"]),
        ("approval", {"name": ""}, ["name"]),
    ],
)
def test_rows_of_older_versions_are_read(kind: Kind, facts: Mapping[str, Any], missing: list[str]) -> None:
    """What was not stored yet has its default."""
    detail = detail_of(kind, **facts)
    told = detail_to_json(detail)
    for path in missing:
        *parents, last = path.split(".")
        del (told[parents[0]] if parents else told)[last]
    assert detail_from_json(kind, "d1", told) == detail


def test_doubts_are_stored_where_there_are_any() -> None:
    """They come back as they were."""
    detail = detail_of("retrain", ingest=Ingested(False, 3, doubts=("a.csv, row 3 looks like a total.",)))
    told = detail_to_json(detail)
    assert told["ingest"]["doubts"] == ["a.csv, row 3 looks like a total."]
    assert detail_from_json("retrain", "d1", told) == detail


def test_a_row_that_cannot_be_read_is_one_clear_line() -> None:
    """The decision, the fact, and what to do; no traceback."""
    told = detail_to_json(detail_of("retrain"))
    with pytest.raises(EvergreenError) as raised:
        detail_from_json("retrain", "d1", {name: told[name] for name in told.keys() - {"snapshot"}})
    assert raised.value.what == "The detail of retrain decision d1 cannot be read: snapshot: Field required."
    assert raised.value.fix.startswith("Restore the table of decisions")
    with pytest.raises(EvergreenError, match=r"drift\.share: "):
        detail_from_json("retrain", "d1", told | {"drift": told["drift"] | {"share": "much"}})
