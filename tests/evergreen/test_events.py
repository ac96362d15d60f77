"""Events are named after what happened, about one model, and small."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from evergreen.decision import Decision, Kind
from evergreen.events import decision_event, drift_event
from tests.details import detail_of

DRIFT = {"share": 0.5, "columns": ["x"]}
MEASURED = {"metric": "mae", "value": 2.0, "at_promotion": 1.0, "rows": 200}
SKEWED = {"rows": 200, "columns": ["x"], "reason": "why"}
SHADOW = {"metric": "mae", "gain": -2.0, "rows": 200, "champion": 2, "former": 1, "reason": "why"}


@pytest.mark.parametrize(
    ("verdict", "name"),
    [
        ("FAIL", "evergreen.drift.failed"),
        ("PASS", "evergreen.drift.passed"),
        ("INCONCLUSIVE", "evergreen.drift.inconclusive"),
    ],
)
def test_the_event_of_a_drift_report(verdict: str, name: str) -> None:
    """Each verdict has its event; the payload is JSON with the decision, the share and the columns."""
    event = drift_event("bike_demand", verdict, decision_id="d1", share=0.5, columns=("temp",))
    assert event.name == name
    assert event.resource("")["prefect.resource.id"] == "evergreen.model.bike_demand"
    assert json.loads(json.dumps(event.payload)) == {"decision_id": "d1", "share": 0.5, "columns": ["temp"]}


@pytest.mark.parametrize(
    ("kind", "outcome", "facts", "name", "payload"),
    [
        ("drift", "FAIL", {}, "drift.failed", DRIFT),
        ("drift", "FAIL", {"confirmed": False}, "drift.suspected", DRIFT),
        ("drift", "FAIL", {"called": False, "because": "a budget"}, "drift.suspected", DRIFT),
        ("drift", "PASS", {"confirmed": False}, "drift.passed", DRIFT),
        ("drift", "INCONCLUSIVE", {}, "drift.inconclusive", DRIFT),
        ("performance", "FAIL", {}, "performance.failed", MEASURED),
        ("performance", "PASS", {}, "performance.passed", MEASURED),
        ("performance", "INCONCLUSIVE", {}, "performance.inconclusive", MEASURED),
        ("skew", "FAIL", {}, "skew.failed", SKEWED),
        ("skew", "PASS", {"columns": ()}, "skew.passed", SKEWED | {"columns": []}),
        ("skew", "INCONCLUSIVE", {"columns": ()}, "skew.inconclusive", SKEWED | {"columns": []}),
        ("shadow", "FAIL", {}, "shadow.failed", SHADOW),
        ("shadow", "PASS", {}, "shadow.passed", SHADOW),
        ("shadow", "INCONCLUSIVE", {}, "shadow.inconclusive", SHADOW),
        ("data", "LANDED", {}, "data.landed", {"rows": 7}),
    ],
)
def test_the_event_of_a_stored_decision(
    kind: Kind, outcome: str, facts: dict[str, Any], name: str, payload: dict[str, Any]
) -> None:
    """What a monitor run stored has one event; an unconfirmed failure is a suspicion."""
    detail = detail_of(kind, **facts)
    decision = Decision("d1", kind, datetime(2026, 1, 1, tzinfo=UTC), outcome, 1, 1, "digest", "why", detail)
    event = decision_event("toy", decision)
    assert event.name == f"evergreen.{name}"
    assert json.loads(json.dumps(event.payload)) == {"decision_id": "d1"} | payload
