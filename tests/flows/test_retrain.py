"""The flows as a picture of the loop: what was decided is stored, told by event, shown as artifacts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from evergreen.ledger.decisions import Decisions
from evergreen.registry.client import Registry
from evergreen.settings import Settings
from evergreen.sources.simulator import simulate

pytestmark = pytest.mark.usefixtures("in_process")
MODEL = "bike_demand"
CHANGE = date(2011, 8, 29)
PERFORMANCE = {"FAIL": "failed", "PASS": "passed", "INCONCLUSIVE": "inconclusive"}


@pytest.fixture
def land(settings: Settings) -> Callable[..., None]:
    """Put simulated days into the landing folder: land("name", start, days)."""

    def put(name: str, start: date, days: int, **scenario: Any) -> None:
        folder: Path = settings.landing / MODEL
        folder.mkdir(parents=True, exist_ok=True)
        simulate(start, days, seed=42, **scenario).to_csv(folder / f"{name}.csv", index=False)

    return put


def test_drift_is_answered_by_one_retrain(
    land: Callable[..., None], settings: Settings, events: list[tuple[str, dict[str, Any]]]
) -> None:
    """A failed report is stored, told, answered by one promoted version, and not answered again."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        ArtifactFilter,
        ArtifactFilterFlowRunId,
        FlowRunFilter,
        FlowRunFilterStartTime,
    )

    from flows.monitor import monitor
    from flows.retrain import retrain
    from flows.rollback import rollback

    began = datetime.now(UTC)
    land("1", date(2011, 6, 6), 70)
    assert retrain(MODEL).outcome == "promoted"
    land("2", CHANGE, 21, scenario="covariate", change=CHANGE)
    seen = monitor(MODEL)
    assert seen.verdict == "FAIL"
    assert seen.decision_id is not None
    stored = Decisions(settings.lake_uri, MODEL).find("drift", seen.decision_id)
    assert stored is not None
    assert stored.outcome == "FAIL"
    assert seen.confirmed
    assert events[-2] == (
        "evergreen.drift.failed",
        {"decision_id": seen.decision_id, "share": seen.share, "columns": list(seen.columns)},
    )
    assert monitor(MODEL).decision_id == seen.decision_id
    assert len(Decisions(settings.lake_uri, MODEL).all("drift")) == 1

    answer = retrain(MODEL, reason="drift", decision_id=seen.decision_id)
    assert (answer.outcome, answer.champion) == ("promoted", 2)
    assert answer.metric.champion_value is not None
    assert answer.metric.value is not None
    assert answer.metric.value < answer.metric.champion_value
    again = retrain(MODEL, reason="drift", decision_id=seen.decision_id)
    assert (again.outcome, len(Registry(settings).versions(MODEL))) == ("unchanged", 2)
    assert "answered already" in again.explanation
    version = Registry(settings).get(MODEL, 2)
    assert version.tags.raw["decision_id"] == seen.decision_id
    assert version.status == "PASSED"
    assert "| champion |" in version.description

    assert rollback(MODEL, "test").champion == 1
    assert retrain(MODEL).outcome == "rejected"
    names = [name for name, _ in events]
    assert names == [
        "evergreen.model.promoted",
        *["evergreen.drift.failed", f"evergreen.performance.{PERFORMANCE[seen.performance.verdict]}"] * 2,
        "evergreen.model.promoted",
        "evergreen.model.rolled-back",
    ]
    with get_client(sync_client=True) as client:
        started = client.read_flow_runs(flow_run_filter=FlowRunFilter(start_time=FlowRunFilterStartTime(after_=began)))
        ours = ArtifactFilterFlowRunId(any_=[run.id for run in started])
        keys = {one.key for one in client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=ours))}
    runs = {run.name for run in started}
    assert {"gates-bike-demand", "drift-bike-demand", "drift-report-bike-demand", "rollback-bike-demand"} <= keys
    assert {"retrain-bike_demand-drift", "monitor-bike_demand", "rollback-bike_demand"} <= runs
