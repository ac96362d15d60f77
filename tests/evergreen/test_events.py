"""Events are named after what happened, about one model, and small."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from evergreen.decision import Decision, Kind
from evergreen.events import decision_event, drift_event

DRIFT = {"share": 0.5, "columns": ["x"], "confirmed": True}
MEASURED = {"metric": "mae", "value": 2.0, "interval": [1.5, 2.5], "at_promotion": 1.0, "rows": 200}

SHADOW = {"metric": "mae", "gain": -2.0, "rows": 200, "champion": 2, "former": 1}


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
    assert event.resource["prefect.resource.id"] == "evergreen.model.bike_demand"
    assert json.loads(json.dumps(event.payload)) == {"decision_id": "d1", "share": 0.5, "columns": ["temp"]}


@pytest.mark.parametrize(
    ("kind", "outcome", "detail", "name", "payload"),
    [
        ("drift", "FAIL", DRIFT, "drift.failed", {"share": 0.5, "columns": ["x"]}),
        ("drift", "FAIL", DRIFT | {"confirmed": False}, "drift.suspected", {"share": 0.5, "columns": ["x"]}),
        ("drift", "PASS", DRIFT | {"confirmed": False}, "drift.passed", {"share": 0.5, "columns": ["x"]}),
        ("drift", "INCONCLUSIVE", DRIFT, "drift.inconclusive", {"share": 0.5, "columns": ["x"]}),
        ("performance", "FAIL", MEASURED, "performance.failed", None),
        ("performance", "PASS", MEASURED, "performance.passed", None),
        ("performance", "INCONCLUSIVE", MEASURED, "performance.inconclusive", None),
        ("shadow", "FAIL", SHADOW, "shadow.failed", SHADOW | {"reason": "why"}),
        ("shadow", "PASS", SHADOW, "shadow.passed", SHADOW | {"reason": "why"}),
        ("shadow", "INCONCLUSIVE", SHADOW, "shadow.inconclusive", SHADOW | {"reason": "why"}),
        ("data", "LANDED", {"rows": 7}, "data.landed", {"rows": 7}),
    ],
)
def test_the_event_of_a_stored_decision(
    kind: Kind, outcome: str, detail: dict[str, Any], name: str, payload: dict[str, Any] | None
) -> None:
    """What a monitor run stored has one event; an unconfirmed failure is a suspicion."""
    decision = Decision("d1", kind, datetime(2026, 1, 1, tzinfo=UTC), outcome, 1, 1, "digest", "why", detail)
    event = decision_event("toy", decision)
    assert event.name == f"evergreen.{name}"
    measured = {key: MEASURED[key] for key in ("metric", "value", "at_promotion", "rows")}
    assert json.loads(json.dumps(event.payload)) == {"decision_id": "d1"} | (measured if payload is None else payload)
