"""Nothing is lost: what the ledger asks for is started once, what died is ended, what does not help is told."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from evergreen.decision import Decision
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Move, Promotions
from evergreen.settings import Settings
from tests.details import detail_of

MODEL = "toy"
SPEC = """
from evergreen.sources import Bundled
from evergreen.spec import Features, Metric, ModelSpec

MODEL = ModelSpec(
    name="NAME",
    task="classification",
    source=Bundled("iris"),
    contract=lambda: None,
    target="y",
    features=Features(numeric=("x",)),
    pipeline=lambda seed: None,
    metric=Metric(name="accuracy"),
    escalate_after=2,
)
"""


def ago(minutes: float) -> datetime:
    return datetime.now(UTC) - timedelta(minutes=minutes)


@pytest.fixture(autouse=True)
def model_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the file of one model, `toy`."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("EVERGREEN_MODELS", str(folder))
    (folder / "toy.py").write_text(SPEC.replace("NAME", MODEL))
    return folder


@pytest.fixture
def ledger(settings: Settings) -> Decisions:
    """The ledger of `toy`, whose champion is version 1; a failed drift decision of an hour ago is in it."""
    move = Move("m", ago(600), "promote", "done", None, 1, "better", "d0", "test")
    Promotions(settings.lake_uri, MODEL).write(move)
    made = Decisions(settings.lake_uri, MODEL)
    made.record(Decision("d1", "drift", ago(60), "FAIL", 1, 3, "digest", "drifted", detail_of("drift")))
    return made


@pytest.fixture(autouse=True)
def client(in_process: None) -> Iterator[Any]:
    """A client of a server on which no other test has left a run that seems to be alive."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter

    alive = {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}}
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(alive)):
            client.delete_flow_run(run.id)
        yield client


@pytest.fixture
def deployment(client: Any) -> Iterator[UUID]:
    """The deployment `retrain-toy`, one run at a time, on a pool without a worker; gone with its runs afterwards."""
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists

    from flows.retrain import retrain

    with contextlib.suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name="nobody", type="process"))
    flow = client.create_flow(retrain)
    made = client.create_deployment(
        flow_id=flow,
        name=f"retrain-{MODEL}",
        work_pool_name="nobody",
        tags=["evergreen", MODEL],
        parameters={"model": MODEL, "reason": "schedule"},
        concurrency_limit=1,
        concurrency_options={"collision_strategy": "CANCEL_NEW"},
        enforce_parameter_schema=False,
    )
    # Another test may have had a deployment of this name.
    for run in runs(client, made):
        client.delete_flow_run(run.id)
    yield made
    for run in runs(client, made):
        client.delete_flow_run(run.id)
    client.delete_deployment(made)


def runs(client: Any, deployment: UUID) -> list[Any]:
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
    from prefect.client.schemas.sorting import FlowRunSort

    wanted = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
    found: list[Any] = client.read_flow_runs(deployment_filter=wanted, sort=FlowRunSort.START_TIME_ASC)
    return found


def crash(client: Any, run: Any) -> None:
    """End a run as a killed one."""
    from prefect.states import Crashed

    client.set_flow_run_state(run.id, Crashed(message="killed"))


def until(ask: Callable[[], Any]) -> Any:
    """What `ask` answers, as soon as it answers something."""
    deadline = time.monotonic() + 30
    while not (answer := ask()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return answer


def test_a_decision_without_a_run_gets_exactly_one(ledger: Decisions, client: Any, deployment: UUID) -> None:
    """The event was lost: one run is started with the decision's parameters, and no second one beside it."""
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
    from prefect.client.schemas.sorting import ArtifactSort

    from flows.reconcile import reconcile

    assert [step.about for step in reconcile()] == ["d1"]
    assert reconcile() == []
    (run,) = runs(client, deployment)
    assert run.state.is_scheduled()
    expected = {"model": MODEL, "reason": "drift", "decision_id": "d1", "event_id": None}
    assert run.parameters == expected
    assert run.parent_task_run_id is None
    assert "evergreen" in run.tags
    reports = ArtifactFilter(key=ArtifactFilterKey(any_=["reconcile"]))
    table = client.read_artifacts(artifact_filter=reports, sort=ArtifactSort.CREATED_DESC)[0]
    assert "d1" in str(table.data)
    assert "1 h 0 min" in str(table.data)


def test_what_is_answered_or_young_starts_nothing(ledger: Decisions, client: Any, deployment: UUID) -> None:
    """An answered decision, and one whose event may still be on its way, start no run."""
    from flows.reconcile import reconcile

    told = detail_of("retrain")
    ledger.record(Decision("d1", "retrain", ago(50), "rejected", 1, 3, "digest", "not better", told))
    ledger.record(Decision("d2", "drift", ago(1), "FAIL", 1, 4, "digest", "drifted", detail_of("drift")))
    assert reconcile() == []
    assert runs(client, deployment) == []


def test_two_at_the_same_time_start_one(ledger: Decisions, settings: Settings, client: Any, deployment: UUID) -> None:
    """Both have looked before either has started anything: the server knows that it is one run."""
    import models
    from evergreen.ledger import reconciliation
    from tasks.reconcile_model import _Runs

    spec = models.load(MODEL, settings.models).spec
    found = reconciliation.find_pending(
        spec, reconciliation.read_ledger(settings, spec), now=datetime.now(UTC), grace=timedelta(minutes=10)
    )
    pair = [_Runs(client, MODEL), _Runs(client, MODEL)]
    for one in pair:
        assert one.attempts(found, None, datetime.now(UTC)) == ()
    assert len({step.what for one in pair for step in one.start(found)}) == 1
    assert len(runs(client, deployment)) == 1


def test_a_crashed_run_is_started_again_then_told_of_once(
    ledger: Decisions, settings: Settings, client: Any, deployment: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a pause another run takes the decision on; a second crash is told to a person, once, and the pace falls."""
    import tasks.announce
    from flows.reconcile import reconcile
    from tasks.reconcile_model import reconcile_model

    told: list[Any] = []
    real = tasks.announce.emit_event
    monkeypatch.setattr(tasks.announce, "emit_event", lambda **event: told.append(event) or real(**event))

    def later(**after: float) -> tuple[Any, ...]:
        steps: tuple[Any, ...] = reconcile_model(settings, MODEL, datetime.now(UTC) + timedelta(**after), grace).steps
        return steps

    grace = timedelta(minutes=10)
    assert len(later()) == 1
    (first,) = runs(client, deployment)
    crash(client, first)
    assert later(minutes=19) == ()
    assert len(later(minutes=21)) == 1
    assert later(minutes=21) == ()
    (second,) = [run for run in runs(client, deployment) if run.id != first.id]
    assert second.parameters["decision_id"] == "d1"

    crash(client, second)
    (escalated,) = reconcile()
    assert "2 retrainings in a row brought no new champion" in escalated.what
    (event,) = told
    assert event["event"] == "evergreen.retrain.escalated"
    assert event["resource"]["prefect.resource.id"] == "evergreen.model.toy"
    assert (event["payload"]["retrains"], event["payload"]["last_outcome"]) == (2, "failed")
    assert ledger.find("escalation", event["payload"]["decision_id"]) is not None
    assert reconcile() == []
    assert later(hours=5) == ()
    assert len(later(hours=7)) == 1
    assert (len(told), len(runs(client, deployment))) == (1, 3)


def test_rejected_candidates_are_told_of_without_a_run(ledger: Decisions, client: Any, deployment: UUID) -> None:
    """Two drift retrainings that brought nothing better escalate although no decision is open."""
    from flows.reconcile import reconcile

    for number, minutes in ((1, 50), (2, 40)):
        told = detail_of("retrain")
        ledger.record(Decision(f"d{number}", "retrain", ago(minutes), "rejected", 1, 3 + number, "x", "worse", told))
    (step,) = reconcile()
    assert "2 without a better candidate, 0 failed runs" in step.what
    assert reconcile() == []


def test_one_faulty_model_does_not_hide_the_others(
    ledger: Decisions, client: Any, deployment: UUID, model_files: Path, settings: Settings
) -> None:
    """A broken file is one clear line at the end; a model without a deployment is said; the sound one gets its run."""
    from flows.reconcile import reconcile

    (model_files / "broken.py").write_text("MODEL = 3\n")
    (model_files / "alone.py").write_text(SPEC.replace("NAME", "alone"))
    move = Move("m", ago(600), "promote", "done", None, 1, "better", "d0", "test")
    Promotions(settings.lake_uri, "alone").write(move)
    Decisions(settings.lake_uri, "alone").record(
        Decision("a1", "drift", ago(60), "FAIL", 1, 3, "digest", "drifted", detail_of("drift"))
    )
    state = reconcile(return_state=True)
    assert state.is_failed()
    told = str(state.result(raise_on_failure=False))
    assert f"Not everything could be checked: {model_files / 'broken.py'}: it has no MODEL" in told
    assert len(runs(client, deployment)) == 1


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What happens while the sweep watches a silent run for one more heartbeat; the wait itself is left out."""
    import tasks.sweep

    asked: list[Callable[[], None]] = []

    def sleep(_seconds: float) -> None:
        for act in asked:
            act()

    monkeypatch.setattr(tasks.sweep, "time", SimpleNamespace(sleep=sleep))
    return asked


def running(client: Any, deployment: UUID) -> Any:
    """A run that has started, and whose process is nowhere."""
    from prefect.states import Pending, Running

    run = client.create_flow_run_from_deployment(deployment)
    for state in (Pending(), Running()):
        assert client.set_flow_run_state(run.id, state).status.name == "ACCEPT"
    return run


@pytest.mark.parametrize("stuck", ["pending", "running"])
def test_a_dead_run_gives_its_slot_back(
    client: Any, deployment: UUID, stuck: str, pauses: list[Callable[[], None]]
) -> None:
    """A run that was killed holds the only slot, and others are turned away; after the sweep the next one gets it."""
    from prefect.states import Pending

    from tasks.sweep import sweep

    if stuck == "running":
        dead = running(client, deployment)
    else:
        dead = client.create_flow_run_from_deployment(deployment)
        client.set_flow_run_state(dead.id, Pending())
    turned_away = client.create_flow_run_from_deployment(deployment)
    client.set_flow_run_state(turned_away.id, Pending())
    assert client.read_flow_run(turned_away.id).state.is_cancelled()

    assert sweep("", datetime.now(UTC), timedelta(minutes=10)) == ()
    swept = sweep("", ago(-11), timedelta(minutes=10))
    assert [step.about for step in swept] == [str(dead.id)]
    assert client.read_flow_run(dead.id).state.is_crashed()
    following = client.create_flow_run_from_deployment(deployment)
    assert client.set_flow_run_state(following.id, Pending()).status.name == "ACCEPT"
    assert client.read_flow_run(following.id).state.is_pending()


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_heartbeat_is_a_sign_of_life(
    client: Any, deployment: UUID, when: str, pauses: list[Callable[[], None]]
) -> None:
    """A run that beats is left alone, also one that begins to beat again while it is watched."""
    from prefect.events import emit_event

    from tasks.sweep import _last_beat, sweep

    run = running(client, deployment)
    began = client.read_flow_run(run.id).state.timestamp
    now = ago(-60)

    def beat() -> None:
        resource = {"prefect.resource.id": f"prefect.flow-run.{run.id}", "prefect.resource.name": run.name}
        emit_event("prefect.flow-run.heartbeat", resource, occurred=now - timedelta(minutes=5))
        until(lambda: _last_beat(client, run.id, began, now) > began)

    if when == "before":
        beat()
    else:
        pauses.append(beat)
    assert sweep("", now, timedelta(minutes=10)) == ()
    assert client.read_flow_run(run.id).state.is_running()
    assert len(sweep("", now + timedelta(minutes=10), timedelta(minutes=10))) == 1


def test_what_waits_or_has_ended_is_left_alone(client: Any, deployment: UUID, pauses: list[Callable[[], None]]) -> None:
    """A suspended run has no process and waits for a person; one that ends while it is watched stays as it ended."""
    from prefect.states import Completed, Paused

    from tasks.sweep import sweep

    waits = running(client, deployment)
    client.set_flow_run_state(waits.id, Paused(timeout_seconds=600))
    ends = running(client, deployment)
    pauses.append(lambda: client.set_flow_run_state(ends.id, Completed()))
    assert sweep("", ago(-60), timedelta(minutes=10)) == ()
    assert client.read_flow_run(waits.id).state.is_paused()
    assert client.read_flow_run(ends.id).state.is_completed()
