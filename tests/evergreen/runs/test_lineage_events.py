"""Run events hold to the published schema, in every state, and tell no row."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import ValidationError
from openlineage.client.serde import Serde

from evergreen import naming
from evergreen.errors import DataError
from evergreen.runs.lineage_events import EvergreenModelRunFacet, LineageRun, State, Touched, run_event
from tests.lineage import OURS, require_valid

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FLOW = LineageRun("f9c4af2e-eff4-4151-aa9c-7e5f6bc211f9", "retrain.toy", due=NOW)
STEP = LineageRun("01a22b6c-966c-7aea-b6bd-89b20b506a87", "ingest.toy", "TASK", parent=FLOW)


def _event(state: State, run: LineageRun = FLOW, **more: Any) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(Serde.to_json(run_event("", state, run, now=NOW, **more)))
    require_valid(event)
    return event


@pytest.mark.parametrize("state", get_args(State))
def test_every_state_has_a_valid_event(state: State) -> None:
    """Of a flow with the time that it was due, of a step with its parent; both are jobs of ours."""
    flow, step = _event(state), _event(state, STEP)
    assert (flow["eventType"], flow["run"]["runId"], flow["job"]["name"]) == (state, FLOW.id, "retrain.toy")
    assert flow["run"]["facets"]["nominalTime"]["nominalStartTime"] == "2026-01-01T00:00:00.000+00:00"
    assert step["run"]["facets"]["parent"]["run"]["runId"] == FLOW.id
    assert step["run"]["facets"]["parent"]["job"] == {"namespace": "evergreen", "name": "retrain.toy", "facets": {}}
    kinds = [event["job"]["facets"]["jobType"]["jobType"] for event in (flow, step)]
    assert (kinds, flow["job"]["namespace"]) == (["FLOW", "TASK"], naming.lineage_namespace(""))
    assert flow["run"]["facets"]["processing_engine"]["name"] == "Evergreen"


@given(st.text(min_size=1), st.text(), st.integers(min_value=1))
def test_our_facet_is_valid_whatever_it_holds(outcome: str, reason: str, version: int) -> None:
    """It names the schema that lies in docs/schemas/; what is not known is left out."""
    about = EvergreenModelRunFacet(model="toy", outcome=outcome, reason=reason, modelVersion=version)
    facet = _event("COMPLETE", touched=Touched(about))["run"]["facets"][naming.LINEAGE_FACET]
    assert (facet["model"], facet["outcome"], facet["modelVersion"]) == ("toy", outcome, version)
    assert "decisionId" not in facet
    schema = json.loads((OURS / "EvergreenModelRunFacet.json").read_text())
    assert facet["_schemaURL"] == f"{schema['$id']}#/$defs/EvergreenModelRunFacet"


def test_an_event_that_breaks_a_schema_is_seen() -> None:
    """The check of these tests catches a field of the wrong type, and the client a run id that is no UUID."""
    about = EvergreenModelRunFacet(model="toy", modelVersion="two")  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="'two' is not of type 'integer'"):
        _event("COMPLETE", touched=Touched(about))
    with pytest.raises(ValueError, match="badly formed"):
        _event("COMPLETE", replace(FLOW, id="seven"))


def test_an_error_is_told_without_the_values_that_it_quotes() -> None:
    """Its type and its traceback; Evergreen's own errors with their text."""
    try:
        raise ValueError(f"could not convert {'Mrs' + ' Smith'!r}")
    except ValueError as error:
        facet = _event("FAIL", error=error)["run"]["facets"]["errorMessage"]
    assert (facet["message"], facet["programmingLanguage"]) == ("ValueError", "python")
    assert "test_lineage_events.py" in facet["stackTrace"]
    assert "Mrs Smith" not in json.dumps(facet)
    ours = _event("FAIL", error=DataError("a.csv: column 'x' is missing."))["run"]["facets"]["errorMessage"]
    assert ours["message"] == "a.csv: column 'x' is missing."
