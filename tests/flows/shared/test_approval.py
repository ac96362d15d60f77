"""A run that waits for a person: suspended in Prefect, resumed by an answer, and never done twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, FlowRun, State
from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventNameFilter
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.states import AwaitingRetry, Pending
from prefect.types.entrypoint import EntrypointType

from deployments.cli import status_view as status
from evergreen import naming
from evergreen.errors import EvergreenError
from evergreen.events import MODEL_PROMOTED, MODEL_REJECTED, MODEL_WAITING
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Promotions
from evergreen.registry.client import Registry
from evergreen.registry.version import CHALLENGER
from evergreen.settings import Settings
from evergreen.storage.locks import open_locks
from flows.promote import promote
from flows.reconcile import reconcile
from flows.retrain import retrain

PROJECT = Path(__file__).resolve().parents[3]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
MODEL = "toy"
RETRAIN = [
    "ingest",
    "plan",
    "detect",
    "fit",
    "register",
    "gate",
    "promote",
    "record-retrain",
    "announce",
]
RETRAIN += ["report-drift", "report-retrain", "record-run"]
Make = Callable[..., Any]


class Stage:
    """The retrain deployment of a model that asks a person, on a real server; runs are executed as a worker would."""

    def __init__(self, folder: Path, settings: Settings, make_rows: Make, client: SyncPrefectClient) -> None:
        self.folder, self.settings, self.make_rows, self.client = folder, settings, make_rows, client
        self.landed = 0
        self.deployment = self._deploy()

    def _deploy(self) -> UUID:
        limit = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
        made = retrain.to_deployment(
            "retrain-toy",
            concurrency_limit=limit,
            entrypoint_type=EntrypointType.MODULE_PATH,
            parameters={"model": MODEL},
        )
        found = made.apply()  # type: ignore[union-attr]
        assert isinstance(found, UUID)
        return found

    def model(self, approval: str = "manual", timeout: str = "timedelta(days=1)") -> None:
        """Write the model file: only the last rows teach, so that a change of slope is learned at once."""
        text = (PROJECT / "tests" / "faults" / "models" / "toy.py").read_text()
        text = text.replace("import annotations\n", "import annotations\n\nfrom datetime import timedelta\n", 1)
        text = text.replace("ModelSpec\n", "ModelSpec, Training\n", 1)
        more = f'    training=Training(last=timedelta(hours=200)),\n    approval="{approval}",\n'
        more += f"    approval_timeout={timeout},\n"
        self.folder.mkdir(exist_ok=True)
        (self.folder / f"{MODEL}.py").write_text(text.replace("    drift=Drift", f"{more}    drift=Drift"))

    def land(self, slope: float) -> None:
        """Put a file of rows into the landing folder."""
        rows: pd.DataFrame = self.make_rows(200, start=200 * self.landed, slope=slope)
        self.landed += 1
        place = self.settings.landing / MODEL
        place.mkdir(parents=True, exist_ok=True)
        rows.to_csv(place / f"{self.landed}.csv", index=False)

    def start(self, **parameters: Any) -> UUID:
        """Create a run of the deployment."""
        return self.client.create_flow_run_from_deployment(self.deployment, parameters={"model": MODEL} | parameters).id

    def execute(self, run: UUID, process: bool = False) -> FlowRun:
        """Execute a run as the engine does; in a process of its own it is started with the command of prefect.yaml."""
        state: State[Any] | None = self.client.set_flow_run_state(run, Pending()).state
        assert state is not None
        assert state.is_pending(), state
        if process:
            words = [sys.executable, "-m", "prefect.engine"]
            environment = os.environ | {"PREFECT__FLOW_RUN_ID": str(run)}
            done = subprocess.run(
                words, env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
        else:
            found = self.client.read_flow_run(run)
            with suppress(Pause):
                run_flow(retrain, flow_run=found, parameters=found.parameters)
        return self.client.read_flow_run(run)

    def suspended(self, process: bool = False, **parameters: Any) -> UUID:
        """A run that waits for a person."""
        run = self.execute(self.start(**parameters), process)
        assert run.state is not None
        assert run.state.name == "Suspended", run.state
        return run.id

    def answer(self, run: UUID, decision: str, reason: str, **more: str) -> Any:
        """What the Prefect UI sends when a person has filled in the form."""
        return self.client.resume_flow_run(run, run_input={"decision": decision, "reason": reason} | more)

    def tasks(self, run: UUID) -> list[str]:
        """The task runs of a run, by name."""
        wanted = FlowRunFilter(id=FlowRunFilterId(any_=[run]))
        return [task.name for task in self.client.read_task_runs(flow_run_filter=wanted)]

    def events(self, run: UUID, count: int) -> list[str]:
        """What a run told of its model, oldest first; the server keeps events a few seconds after they came."""
        ours = EventFilter(
            event=EventNameFilter(prefix=["evergreen."]),
            any_resource=EventAnyResourceFilter(id=[f"prefect.flow-run.{run}"]),
        )
        deadline = time.monotonic() + 30
        while True:
            found = self.client.read_events(ours, limit=50).events
            if len(found) >= count or time.monotonic() > deadline:
                return [event.event for event in reversed(found)]
            time.sleep(0.2)

    @property
    def aliases(self) -> dict[str, int | None]:
        found = {alias: Registry(self.settings).by_alias(MODEL, alias) for alias in ("champion", CHALLENGER)}
        return {alias: version.number if version else None for alias, version in found.items()}


@pytest.fixture
def stage(
    in_process: None, home: Path, settings: Settings, tmp_path: Path, make_rows: Make, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stage]:
    """A champion that was promoted without asking, a drifted batch, and a model file that asks from now on."""
    monkeypatch.setenv("EVERGREEN_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("PREFECT_LOCAL_STORAGE_PATH", str(home / "prefect" / "storage"))
    with get_client(sync_client=True) as client:
        made = Stage(tmp_path / "models", settings, make_rows, client)
        made.model(approval="auto")
        made.land(slope=3)
        assert retrain(MODEL).outcome == "promoted"  # type: ignore[union-attr]
        made.model()
        made.land(slope=5)
        yield made


def test_approved_in_the_ui(stage: Stage) -> None:
    """The run suspends with the gate table, holds neither slot nor lock, wants a reason, and ends promoted by Ann."""
    run = stage.suspended(process=True, reason="drift")
    assert stage.aliases == {"champion": 1, CHALLENGER: 2}
    form = {
        item: stage.client.read_flow_run_input(run, f"suspended-approval-{item}") for item in ("schema", "description")
    }
    assert json.loads(form["schema"])["properties"]["decision"]["enum"] == ["approve", "reject"]
    assert "| champion | PASS |" in form["description"]
    limits = stage.client.read_global_concurrency_limits(limit=10, offset=0)
    assert [limit.active_slots for limit in limits if str(stage.deployment) in limit.name] == [0]
    with open_locks(stage.settings).hold(MODEL, "retrain", wait=0, now=NOW):
        assert stage.answer(run, "approve", " ").status == "REJECT"
        assert stage.answer(run, "perhaps", "why not").status == "REJECT"
        assert stage.answer(run, "approve", "why not", by="A" * 101).status == "REJECT"
    stage.land(slope=7)
    assert stage.answer(run, "approve", "looks good", by="Ann").status == "ACCEPT"

    ended = stage.execute(run, process=True)

    assert ended.state is not None
    assert ended.state.is_completed(), ended.state
    assert stage.aliases == {"champion": 2, CHALLENGER: None}
    move = Promotions(stage.settings.lake_uri, MODEL).done()[-1]
    assert (move.by, move.reason, move.after) == ("person: Ann", "looks good", 2)
    told = status.read_status(stage.settings, MODEL)["last_retrain"]
    assert (told["outcome"], told["reason"]) == ("promoted", "approved by Ann: looks good")
    assert status.read_history(stage.settings, MODEL, None)["moves"][-1]["flow_run"] == str(run)
    assert len(Registry(stage.settings).versions(MODEL)) == 2
    # What landed meanwhile is for the next run.
    assert sorted(stage.tasks(run)) == sorted([*RETRAIN, "approve", "announce", "report-retrain"])
    assert stage.events(run, 2) == [MODEL_WAITING, MODEL_PROMOTED]


def test_a_run_that_waits_is_told_as_one_run(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its OpenLineage events begin once, go on after the answer, and complete once with what came of it."""
    file = tmp_path / "lineage.jsonl"
    monkeypatch.setenv("EVERGREEN_OPENLINEAGE", str(file))
    run = stage.suspended(process=True, reason="drift")
    assert stage.answer(run, "approve", "looks good").status == "ACCEPT"
    assert stage.execute(run).state_name == "Completed"
    events = [json.loads(line) for line in file.read_text().splitlines()]
    ours = [event for event in events if event["run"]["runId"] == str(run)]
    assert [event["eventType"] for event in ours] == ["START", "RUNNING", "COMPLETE"]
    assert ours[-1]["run"]["facets"][naming.LINEAGE_FACET]["outcome"] == "promoted"


def test_rejected_in_the_ui(stage: Stage) -> None:
    """The challenger is taken out with the reason; the same data does not bring it back, but a person may."""
    run = stage.suspended(reason="drift")
    assert stage.answer(run, "reject", "not in the peak season").status == "ACCEPT"

    assert stage.execute(run).state_name == "Completed"

    assert stage.aliases == {"champion": 1, CHALLENGER: None}
    assert Registry(stage.settings).get(MODEL, 2).tags.raw["declined"] == "not in the peak season"
    told = status.read_status(stage.settings, MODEL)["last_retrain"]
    assert (told["outcome"], told["reason"]) == ("rejected", "rejected by a person: not in the peak season")
    again = retrain(MODEL, reason="schedule")
    assert again is not None
    assert again.outcome == "rejected"
    assert "version 2 came of this very data and was not wanted: not in the peak season" in again.explanation
    assert promote(MODEL, "after the season", 2).changed
    assert stage.aliases["champion"] == 2
    assert Registry(stage.settings).get(MODEL, 2).tags.declined is None


def test_answered_from_the_command_line(stage: Stage) -> None:
    """`promote` and `promote --reject` do the same as the form, and the run that waits goes on and ends."""
    run = stage.suspended(reason="drift")
    assert promote(MODEL, "seen in the meeting", by="retrain").champion == 2
    assert stage.client.read_flow_run(run).state_name == "Resuming"
    ended = stage.execute(run)
    assert ended.state_name == "Completed"
    moves = Promotions(stage.settings.lake_uri, MODEL).done()[1:]
    assert [(move.by, move.after) for move in moves] == [("person: retrain", 2)]
    told = status.read_status(stage.settings, MODEL)["last_retrain"]
    assert told["reason"] == "approved by retrain: seen in the meeting"
    card = Registry(stage.settings).get(MODEL, 2).description
    assert "approved by retrain: seen in the meeting. Put into production on" in card
    assert "by retrain, a person." in card
    assert stage.events(run, 1) == [MODEL_WAITING]

    stage.land(slope=9)
    other = stage.suspended(reason="drift", force=True)
    result = promote(MODEL, "too late in the day", reject=True)
    assert (result.action, result.rejected, result.champion) == ("reject", 3, 2)
    assert stage.execute(other).state_name == "Completed"
    assert stage.aliases == {"champion": 2, CHALLENGER: None}


def test_the_champion_changed_meanwhile(stage: Stage) -> None:
    """A version that was judged against another champion is not promoted; the run says so, and ends."""
    run = stage.suspended(reason="drift")
    Registry(stage.settings).drop_alias(MODEL, CHALLENGER)
    stage.model(approval="auto")
    stage.land(slope=9)
    newer = retrain(MODEL, force=True)
    assert newer is not None
    assert newer.outcome == "promoted"
    stage.answer(run, "approve", "looks good")

    assert stage.execute(run).state_name == "Completed"

    assert stage.aliases["champion"] == 3
    word = Decisions(stage.settings.lake_uri, MODEL).all("approval")[-1]
    assert word.outcome == "inconclusive"
    assert "toy version 2 was judged against champion 1, and the champion is 3 now." in word.reason
    assert stage.events(run, 2) == [MODEL_WAITING, MODEL_REJECTED]


def test_nobody_answered(stage: Stage) -> None:
    """After the timeout the run fails, champion and challenger are as they were, and `promote` still works."""
    stage.model(timeout="timedelta(seconds=1)")
    run = stage.suspended(reason="drift")
    deadline = time.monotonic() + 60
    while stage.client.read_flow_run(run).state_name != "Failed":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert stage.aliases == {"champion": 1, CHALLENGER: 2}
    again = retrain(MODEL, reason="drift")
    assert again is not None
    assert (again.outcome, again.version) == ("awaiting-approval", 2)
    stage.client.set_flow_run_state(run, AwaitingRetry(), force=True)
    with pytest.raises(EvergreenError, match="nobody answered in time for version 2"):
        stage.execute(run)
    assert promote(MODEL, "back from holiday").champion == 2


def test_an_answer_whose_run_found_no_slot(stage: Stage) -> None:
    """Where another run has the slot, the resumed one is cancelled; its answer is carried out all the same."""
    run = stage.suspended(reason="drift")
    other = stage.start(reason="drift")
    stage.client.set_flow_run_state(other, Pending())
    stage.answer(run, "approve", "looks good")
    stage.client.set_flow_run_state(run, Pending())
    assert stage.client.read_flow_run(run).state_name == "Cancelled"

    reconcile()
    word = Decisions(stage.settings.lake_uri, MODEL).all("approval")[-1]
    assert (word.outcome, word.reason) == ("promoted", "approved by a person: looks good")
    assert stage.aliases == {"champion": 2, CHALLENGER: None}
    reconcile()
    assert stage.aliases == {"champion": 2, CHALLENGER: None}
