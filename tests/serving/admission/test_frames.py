"""Rows that need a second look are checked by batch scoring's own code; what is wrong is told by row and column."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest

from evergreen.data.contract import scoring_schema
from evergreen.spec import ModelSpec, Serve
from serving.admission.frames import admit_frame, brings_contract, frame_of_rows, require_sound
from serving.faults import RequestError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Spec = Callable[..., ModelSpec]


def _admit(spec: ModelSpec, rows: list[dict[str, Any]]) -> pd.DataFrame:
    return require_sound(admit_frame(frame_of_rows(rows), spec, scoring_schema(spec), now=NOW))


def _refused(spec: ModelSpec, rows: list[dict[str, Any]]) -> RequestError:
    with pytest.raises(RequestError) as refused:
        _admit(spec, rows)
    return refused.value


@pytest.mark.parametrize(
    ("rows", "code", "where"),
    [
        ([{"x": "abc", "kind": "a"}], "invalid_rows", [(0, "x")]),
        ([{"x": 1, "kind": "a"}, {"x": 900, "kind": "a"}], "invalid_rows", [(1, "x")]),
        ([{"x": [1], "kind": "a"}], "invalid_rows", [(0, "x")]),
        ([{"x": 1, "kind": {"a": 1}}], "invalid_rows", [(0, "kind")]),
        ([{"x": 1, "kind": "a"}, {"x": 1}], "invalid_rows", [(1, "kind")]),
        ([{"x": 1, "kind": "a", "id": None}], "invalid_rows", [(0, "id")]),
        ([{"x": 1, "kind": "a", "at": "someday"}], "invalid_rows", [(0, "at")]),
        ([{"x": 1}], "missing_column", []),
        ([{"x": 1, "kind": "a", "kid": 3}], "unknown_column", []),
    ],
    ids=["text", "range", "list", "object", "ragged", "key without value", "no time", "missing", "unknown"],
)
def test_what_is_wrong_is_told_by_row_and_column(
    make_spec: Spec, rows: list[dict[str, Any]], code: str, where: list[tuple[int, str]]
) -> None:
    """With a stable code, and without the value itself."""
    refused = _refused(make_spec(), rows)
    assert (refused.status, refused.code) == (422, code)
    assert [(fault.row, fault.column) for fault in refused.faults] == where
    text = str(refused.body("r"))
    assert "abc" not in text
    assert "900" not in text


def test_the_rest_of_many_faults_is_counted(make_spec: Spec) -> None:
    """A thousand bad rows do not make a thousand lines."""
    body = _refused(make_spec(), [{"x": 900, "kind": "a"}] * 1000).body("r")["error"]
    assert (len(body["rows"]), body["more"]) == (20, 980)  # type: ignore[index, call-overload]


def test_values_are_converted_as_in_batch_scoring(make_spec: Spec) -> None:
    """A text that is a number is one; the target that came along is left out; names lose their blanks."""
    rows = _admit(make_spec(), [{" x ": "1.5", "kind": "a", "y": 3.0}])
    assert rows["x"].tolist() == [1.5]
    assert "y" not in rows


def test_a_part_of_a_key_is_refused(make_spec: Spec) -> None:
    """It would name no row; without any key a row is answered and has no name."""
    spec = make_spec(keys=("id", "at"))
    refused = _refused(spec, [{"x": 1, "kind": "a", "id": 4}])
    assert (refused.code, "'at'" in refused.message) == ("missing_column", True)
    assert len(_admit(spec, [{"x": 1, "kind": "a"}])) == 1


def _prepare(frame: pd.DataFrame) -> pd.DataFrame:
    kept = frame[frame["raw"] != 13]
    return kept.assign(x=kept["raw"] / 2, id=kept["raw"].astype(int), at="2026-01-01T00:00:00Z")


def test_prepare_runs_as_in_batch_scoring(make_spec: Spec) -> None:
    """A request brings the columns as they arrive; a row that `prepare` leaves out is told, not lost."""
    spec = make_spec(prepare=_prepare)
    assert not brings_contract(spec)
    assert _admit(spec, [{"raw": 8, "kind": "a"}])["x"].tolist() == [4.0]
    refused = _refused(spec, [{"raw": 8, "kind": "a"}, {"raw": 13, "kind": "a"}])
    assert [(fault.row, fault.reason) for fault in refused.faults] == [(1, "prepare() leaves this row out")]
    assert _refused(spec, [{"kind": "a"}]).code == "missing_column"


def test_what_fails_in_prepare_is_not_shown(make_spec: Spec) -> None:
    """Its message may show values, and where it failed is nobody's business."""

    def prepare(frame: pd.DataFrame) -> pd.DataFrame:
        raise ValueError(f"bad value {frame['raw'].iloc[0]}")

    refused = _refused(make_spec(prepare=prepare), [{"raw": 4711, "kind": "a"}])
    assert refused.message == "The model file's prepare() fails on these rows."


def test_a_model_file_may_take_the_contracts_columns(make_spec: Spec) -> None:
    """With Serve(rows="contract") `prepare` does not run."""
    spec = make_spec(prepare=_prepare, serve=Serve(rows="contract"))
    assert brings_contract(spec)
    assert _admit(spec, [{"x": 4.0, "kind": "a"}])["x"].tolist() == [4.0]


def test_a_time_without_offset_and_zone_is_refused_with_a_sentence(make_spec: Spec) -> None:
    """The same fault as in a file."""
    refused = _refused(make_spec(timezone=None), [{"x": 1, "kind": "a", "at": "2026-01-01 08:00"}])
    assert (refused.status, refused.code) == (422, "invalid_rows")
