"""The monitor's findings: stored, then told by event, once for each question, also after a kill in between."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from deployments.cli.console import show_monitor
from evergreen.details.watch import DriftDetail
from evergreen.ledger.decisions import Decisions
from evergreen.markdown import number
from evergreen.registry.client import Registry
from evergreen.runs.history import Runs
from evergreen.settings import Settings
from flows.monitor import monitor
from flows.retrain import retrain

pytestmark = pytest.mark.usefixtures("in_process")
PROJECT = Path(__file__).resolve().parents[2]
MODEL = "toy"
Land = Callable[..., None]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Write the toy's model file with more fields."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("EVERGREEN_MODELS", str(folder))

    def write(fields: str) -> None:
        text = (PROJECT / "tests" / "faults" / "models" / "toy.py").read_text()
        assert "    drift=DriftThresholds(min_rows=50),\n" in text
        (folder / f"{MODEL}.py").write_text(text.replace("    drift=DriftThresholds(min_rows=50),\n", fields))

    return write


@pytest.fixture
def land(settings: Settings, make_rows: Callable[..., Any]) -> Land:
    """Put the next rows into the landing folder: land(200, slope=4.0)."""
    landed = 0

    def put(rows: int, **law: float) -> None:
        nonlocal landed
        folder = settings.landing / MODEL
        folder.mkdir(parents=True, exist_ok=True)
        make_rows(rows, start=landed, **law).to_csv(folder / f"{landed:06}.csv", index=False)
        landed += rows

    return put


def test_a_lake_that_was_put_back_is_filled_again(
    model: Callable[[str], None], land: Land, settings: Settings, tmp_path: Path
) -> None:
    """What Prefect stored of an ingest is not believed where its rows are gone; else nothing is read twice."""
    model("")
    land(60)
    assert monitor(MODEL).ingest.rows == 60
    shutil.copytree(settings.lake_uri, tmp_path / "copy")
    land(40)
    assert monitor(MODEL).ingest.rows == 40
    shutil.rmtree(settings.lake_uri)
    shutil.copytree(tmp_path / "copy", settings.lake_uri)
    found = [monitor(MODEL).ingest for _ in range(2)]
    assert [(each.cached, each.rows) for each in found] == [(False, 40), (True, 0)]


def test_a_new_law_fails_performance_and_not_drift(
    model: Callable[[str], None],
    land: Land,
    settings: Settings,
    events: list[tuple[str, dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Labels that follow another law, features as ever: drift passes, performance fails, is stored, told and shown.

    Each run's own figures are kept once and shown; a run does not fail for want of them.
    """
    model(
        "    drift=DriftThresholds(columns=('x', 'kind'), min_rows=50, share=0.5),\n    retrain_on=('performance',),\n"
    )
    land(300)
    assert monitor(MODEL).performance.reason == "there is no champion yet to measure"
    assert events == []
    assert retrain(MODEL).outcome == "promoted"
    events.clear()
    land(200, slope=4.0)
    seen = monitor(MODEL)
    assert seen.performance.residuals is not None
    assert (seen.verdict, seen.performance.verdict, seen.performance.rows, seen.data) == ("PASS", "FAIL", 200, None)
    ledger = Decisions(settings.lake_uri, MODEL)
    (stored,) = ledger.all("performance")
    assert (stored.id, stored.outcome, stored.champion) == (seen.performance.decision_id, "FAIL", 1)
    told = {"metric": "mae", "value": seen.performance.value, "at_promotion": seen.performance.at_promotion}
    failed = ("evergreen.performance.failed", {"decision_id": stored.id} | told | {"rows": 200})
    assert [events[0][0], events[1]] == ["evergreen.drift.passed", failed]
    with monkeypatch.context() as patch:
        patch.setattr("evergreen.runs.history.Runs.record", _broken)
        again = monitor(MODEL)
    assert (again.performance, len(ledger.all("performance")), events[3]) == (seen.performance, 1, failed)
    assert seen.to_json()["performance"]["interval"] is not None
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(stored.flow_run)]))
        notes = {artifact.key: str(artifact.data) for artifact in client.read_artifacts(artifact_filter=wanted)}
    assert "| mae | **FAIL** |" in notes["performance-toy"]
    assert f"Truth less prediction is {number(seen.performance.residuals.bias)} on average" in notes["performance-toy"]
    assert stored.flow_run in notes["runs-toy"]

    answer = retrain(MODEL, reason="performance", decision_id=stored.id)
    assert answer.decision_id == stored.id
    assert answer.version == 2
    runs = Runs(settings.lake_uri, MODEL).newest(10)
    assert [(run.flow, run.rows, run.outcome) for run in runs] == [
        ("retrain", 500, answer.outcome),
        ("monitor", 400, "drift PASS, performance FAIL"),
        ("retrain", 300, "promoted"),
        ("monitor", 300, "drift INCONCLUSIVE, performance INCONCLUSIVE"),
    ]
    assert all(0 < run.seconds < 600 and 0 <= run.queue_seconds < 600 for run in runs)
    assert all(run.cpu_seconds is not None and 0 < run.cpu_seconds < 600 for run in runs)
    registry = Registry(settings)
    kept = registry.client.get_run(registry.get(MODEL, 2).run_id).data.metrics
    assert {name: kept[name] for name in runs[0].metrics} == runs[0].metrics


def test_one_failed_report_of_three_is_a_suspicion(
    model: Callable[[str], None],
    land: Land,
    settings: Settings,
    events: list[tuple[str, dict[str, Any]]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """2 of 3: the first failure is only suspected, however often it is looked at; the second one calls."""
    model("    drift=DriftThresholds(min_rows=50, share=0.5, confirm=2, of=3),\n")
    land(300)
    retrain(MODEL)
    events.clear()
    land(200, shift=3.0)
    first = [monitor(MODEL), monitor(MODEL)]
    for seen in first:
        assert (seen.verdict, seen.confirmed, seen.doubt) == ("FAIL", False, "2 of 3 needed, 1 so far")
    show_monitor(first[0])
    assert "Suspected only: 2 of 3 needed, 1 so far." in capsys.readouterr().out
    land(50, shift=3.0)
    second = monitor(MODEL)
    assert (second.verdict, second.confirmed, second.doubt) == ("FAIL", True, "")
    details = [entry.detail_as(DriftDetail) for entry in Decisions(settings.lake_uri, MODEL).all("drift")]
    assert [(one.confirmed, one.failed) for one in details] == [(False, (1, 3)), (True, (2, 3))]
    drift = [name for name, _ in events if name.startswith("evergreen.drift.")]
    assert drift == ["evergreen.drift.suspected"] * 2 + ["evergreen.drift.failed"]
    answer = retrain(MODEL, reason="drift", decision_id=second.decision_id)
    assert answer.outcome in ("promoted", "rejected", "inconclusive")


def test_a_drift_report_within_a_retrain_calls_for_no_other_one(
    model: Callable[[str], None], land: Land, settings: Settings, events: list[tuple[str, dict[str, Any]]]
) -> None:
    """A scheduled retrain that finds drift and is not promoted has answered it: the monitor does not start it again."""
    model("    drift=DriftThresholds(min_rows=50, share=0.5),\n    approval='manual',\n")
    land(300)
    retrain(MODEL)
    from flows.promote import promote

    promote(MODEL, "the first one")
    land(200, shift=3.0)
    answer = retrain(MODEL, reason="schedule")
    assert answer.champion == 1
    events.clear()
    seen = monitor(MODEL)
    assert (seen.verdict, seen.confirmed) == ("FAIL", False)
    assert seen.doubt == f"retraining {answer.decision_id} saw this data already"
    assert events[0][0] == "evergreen.drift.suspected"


def test_new_data_calls_for_a_retrain_where_the_model_file_says_so(
    model: Callable[[str], None],
    land: Land,
    settings: Settings,
    events: list[tuple[str, dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Landed rows are stored and told once; a monitor killed between landing and storing is made good by the next."""
    model("    drift=DriftThresholds(min_rows=50),\n    retrain_on=('data',),\n")
    land(300)
    first = monitor(MODEL)
    assert first.data is not None
    assert events == [("evergreen.data.landed", {"decision_id": first.data, "rows": 300})]
    assert retrain(MODEL, reason="data", decision_id=first.data).outcome == "promoted"
    assert monitor(MODEL).data is None

    land(100)
    with monkeypatch.context() as patch:
        patch.setattr("flows.monitor.record_data", _killed)
        with pytest.raises(KeyboardInterrupt):
            monitor(MODEL)
    events.clear()
    second = monitor(MODEL)
    assert (second.ingest.rows, second.data is not None) == (0, True)
    assert events[0] == ("evergreen.data.landed", {"decision_id": second.data, "rows": 100})
    assert monitor(MODEL).data is None
    stored = Decisions(settings.lake_uri, MODEL).all("data")
    assert [(one.id, one.outcome, one.champion) for one in stored] == [
        (first.data, "LANDED", None),
        (second.data, "LANDED", 1),
    ]
    assert stored[1].at - stored[0].at > timedelta(0)

    land(100)
    retrain(MODEL, reason="schedule")
    assert monitor(MODEL).data is None


def _killed(*_: Any) -> None:
    raise KeyboardInterrupt


def _broken(*_: Any) -> None:
    raise OSError("no space left")
