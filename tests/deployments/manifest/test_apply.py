"""`evergreen deployments apply` and `prefect deploy --all`, on a real server with a real worker."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from deployments.automations.run_follower import pause_schedules
from deployments.manifest import sync, yaml_text
from deployments.manifest.apply import Applied, apply
from evergreen.decision import Decision, Kind
from evergreen.errors import EvergreenError
from evergreen.events import TRIGGER_EVENTS, Event, decision_event
from evergreen.settings import Settings
from tests.details import detail_of

PROJECT = Path(__file__).resolve().parents[3]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEPLOYMENTS = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]
NAMES = tuple(entry["name"] for entry in DEPLOYMENTS)
FULL_NAMES = tuple(f"{entry['entrypoint'].rpartition('.')[2]}/{entry['name']}" for entry in DEPLOYMENTS)
QUICK = """
from prefect import flow


@flow
def quick() -> None:
    print("here")
"""


def until(found: Callable[[], Any], what: str, seconds: float = 120) -> Any:
    """What `found` gives once it gives something."""
    deadline = time.monotonic() + seconds
    while not (answer := found()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.2)
    return answer


class Server:
    """The session's server, as a test asks it."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def deployment(self, name: str) -> Any:
        from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName

        (found,) = self.client.read_deployments(
            deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=[name]))
        )
        return found

    def automations(self) -> list[Any]:
        return [one for one in self.client.read_automations(limit=200) if one.name.startswith(NAMES)]

    def on_drift(self) -> Any:
        (found,) = [one for one in self.automations() if one.name == "retrain-iris-on-drift"]
        return found

    def runs(self, name: str) -> list[Any]:
        from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

        chosen = DeploymentFilter(id=DeploymentFilterId(any_=[self.deployment(name).id]))
        found: list[Any] = self.client.read_flow_runs(deployment_filter=chosen, limit=200)
        return found

    def active(self, name: str) -> bool:
        (schedule,) = self.deployment(name).schedules
        return bool(schedule.active)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def environment(settings: Settings, prefect_server: str) -> Iterator[dict[str, str]]:
    """That of a user who works against the session's server."""
    own = {
        "EVERGREEN_HOME": str(settings.home),
        "PREFECT_HOME": str(settings.home / "prefect"),
        "PREFECT_API_URL": prefect_server,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own.items():
            patch.setenv(name, value)
        yield own


@pytest.fixture(scope="module")
def server(environment: dict[str, str]) -> Iterator[Server]:
    """What is deployed is taken away again: the server is shared."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: environment["PREFECT_API_URL"]}),
        get_client(sync_client=True) as client,
    ):
        yield Server(client)
        ours = DeploymentFilter(name=DeploymentFilterName(any_=[*NAMES, "quick", *VARIED_NAMES]))
        for one in client.read_deployments(deployment_filter=ours):
            client.delete_resource_owned_automations(f"prefect.deployment.{one.id}")
            client.delete_deployment(one.id)


@pytest.fixture(scope="module")
def first(server: Server, settings: Settings) -> Applied:
    """The shipped file, brought to the server."""
    return apply("")


@contextmanager
def worker(folder: Path, environment: dict[str, str]) -> Iterator[Path]:
    """A worker as a user starts it by its path from another folder, with nothing of the project on PATH."""
    folder.mkdir()
    words = [
        str(Path(sys.executable).with_name("prefect")),
        "worker",
        "start",
        "--pool",
        "evergreen",
        "--name",
        "elsewhere",
    ]
    bare = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    own = {"PATH": "/usr/bin:/bin", "PREFECT_WORKER_QUERY_SECONDS": "1"}
    log = folder / "worker.log"
    with log.open("wb") as out:
        process = subprocess.Popen(words, env=bare | environment | own, cwd=folder, stdout=out, stderr=out)
        try:
            yield log
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def prefect(*words: str) -> None:
    """Prefect's own command, in the project."""
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", *words],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def edited(path: Path, **changes: Any) -> Path:
    """The shipped file with other values in its retrain-iris."""
    document = yaml.safe_load((PROJECT / "prefect.yaml").read_text())
    next(entry for entry in document["deployments"] if entry["name"] == "retrain-iris").update(changes)
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def test_what_stands_is_left_alone(first: Applied, server: Server, settings: Settings) -> None:
    """Everything is deployed once, with its pool; ten times more change nothing, not even an automation's id."""
    assert first.deployed == NAMES
    assert not first.unchanged
    pool = server.client.read_work_pool("evergreen")
    assert pool.type == "process"
    before = {one.id: one.name for one in server.automations()}
    updated = {name: server.deployment(name).updated for name in NAMES}
    for _ in range(10):
        again = apply("")
        assert (again.deployed, again.unchanged, again.made_pool) == ((), NAMES, False)
    assert {one.id: one.name for one in server.automations()} == before
    assert sorted(before.values()) == ["retrain-bike-demand-on-drift", "retrain-iris-on-drift"]
    assert {name: server.deployment(name).updated for name in NAMES} == updated


def test_where_nothing_changed_nothing_is_sent(first: Applied, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is asked a few times whatever the number of deployments, and nothing is written to it."""
    from prefect.client.base import PrefectHttpxSyncClient

    sent: list[str] = []
    send = PrefectHttpxSyncClient.send

    def note(client: Any, request: Any, *words: Any, **options: Any) -> Any:
        sent.append(f"{request.method} {request.url.path}")
        return send(client, request, *words, **options)

    monkeypatch.setattr(PrefectHttpxSyncClient, "send", note)
    assert apply("").unchanged == NAMES
    reads = [each for each in sent if each.startswith("GET ") or each.endswith("/filter")]
    assert [each for each in sent if each not in reads] == []
    assert len(reads) <= len(NAMES)


def test_a_deployed_cron_has_scheduled_runs(first: Applied, server: Server) -> None:
    """The scheduler makes runs of every deployment that has a schedule; with the wrong SQLAlchemy it makes none."""
    for name in sorted(set(NAMES) - {"backtest"}):
        runs = until(lambda name=name: server.runs(name), f"{name} is scheduled")
        assert {run.state.type.value for run in runs} == {"SCHEDULED"}
        assert all(run.auto_scheduled for run in runs)
    assert server.runs("backtest") == []
    assert {run.parameters["reason"] for run in server.runs("retrain-iris")} == {"schedule"}
    assert "reason" not in server.deployment("retrain-iris").parameters


def test_a_day_may_have_to_be_in_both_day_fields(first: Applied, server: Server, tmp_path: Path) -> None:
    """`day_or: false` comes to the server: runs on first Mondays alone. Again changes nothing; without it, it goes."""
    schedule = {
        "cron": "0 3 1-7 * 1",
        "timezone": "Europe/Berlin",
        "slug": "daily",
        "parameters": {"reason": "schedule"},
    }
    both = edited(tmp_path / "prefect.yaml", schedules=[schedule | {"day_or": False}])
    assert apply("", both).deployed == ("retrain-iris",)
    assert not server.deployment("retrain-iris").schedules[0].schedule.day_or
    assert apply("", both).deployed == ()
    runs = until(lambda: server.runs("retrain-iris"), "retrain-iris is scheduled")
    starts = [run.expected_start_time.astimezone(ZoneInfo("Europe/Berlin")) for run in runs]
    assert all(start.weekday() == 0 and start.day <= 7 for start in starts), starts
    either = edited(tmp_path / "prefect.yaml", schedules=[schedule])
    assert apply("", either).deployed == ("retrain-iris",)
    assert server.deployment("retrain-iris").schedules[0].schedule.day_or
    assert apply("").deployed == ("retrain-iris",)


@pytest.fixture
def paused(first: Applied, server: Server) -> Iterator[None]:
    """A schedule and a deployment that a person paused, and an automation that is switched off; on again afterwards."""
    client = server.client
    iris, bike = server.deployment("retrain-iris"), server.deployment("monitor-bike-demand")
    client.update_deployment_schedule(iris.id, iris.schedules[0].id, active=False)
    client.pause_deployment(bike.id)
    client.pause_automation(server.on_drift().id)
    yield
    iris = server.deployment("retrain-iris")
    client.update_deployment_schedule(iris.id, iris.schedules[0].id, active=True)
    client.resume_deployment(bike.id)
    client.resume_automation(server.on_drift().id)


def test_what_a_person_paused_or_switched_off_stays_so(
    paused: None, server: Server, settings: Settings, tmp_path: Path
) -> None:
    """Through an apply that changes nothing, and through a change that is deployed."""
    # Prefect forgets a schedule's parameters when it is paused.
    assert server.deployment("retrain-iris").schedules[0].parameters == {}
    found = apply("")
    assert (found.deployed, found.paused, found.off) == (
        ("retrain-iris",),
        ("monitor-bike-demand", "retrain-iris/daily"),
        ("retrain-iris-on-drift",),
    )
    assert server.deployment("retrain-iris").schedules[0].parameters == {"reason": "schedule"}
    again = apply("")
    assert (again.deployed, again.paused, again.off) == ((), found.paused, found.off)
    changed = apply("", edited(tmp_path / "prefect.yaml", description="Another one."))
    assert (changed.deployed, changed.paused, changed.off) == (("retrain-iris",), found.paused, found.off)
    assert server.deployment("retrain-iris").description == "Another one."
    assert not server.active("retrain-iris")
    assert server.deployment("monitor-bike-demand").paused
    assert not server.on_drift().enabled


def stored(server: Server, names: tuple[str, ...]) -> dict[str, Any]:
    """What the server has of some deployments and of the automations of their triggers, but ids and times."""
    passing = {"id", "created", "updated", "flow_id", "last_polled", "status", "work_queue_id", "concurrency_limit_id"}
    body = {"deployments": {"name": {"any_": [*names]}}}
    deployments = server.client.request("POST", "/deployments/filter", json=body).json()
    automations = server.client.request("POST", "/automations/filter", json={"limit": 200}).json()
    ids = {each["id"]: each["name"] for each in deployments}

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(part) for key, part in value.items() if key not in passing | {"deployment_id"}}
        if isinstance(value, list):
            return [plain(part) for part in value]
        return "its id" if isinstance(value, str) and value.partition(":")[2] in ids else value

    own = {
        (ids[action["deployment_id"]], each["name"]): plain(each)
        for each in automations
        for action in each["actions"]
        if action.get("deployment_id") in ids
    }
    return {each["name"]: plain(each) for each in deployments} | own


VARIED: tuple[dict[str, Any], ...] = (
    {},
    {"description": None, "version": None, "tags": [], "concurrency_limit": 3, "triggers": None, "schedules": []},
    {
        "paused": True,
        "parameters": {"model": "iris", "reason": "manual"},
        "concurrency_limit": {"limit": 2, "collision_strategy": "ENQUEUE", "grace_period_seconds": 90},
        "schedules": [
            {"cron": "0 3 * * 1", "timezone": "Europe/Berlin", "day_or": False, "slug": "a", "active": False},
            {"cron": "5 * * * *", "timezone": "UTC", "slug": "b", "parameters": {"reason": "schedule"}},
        ],
        "work_pool": {"name": "evergreen", "work_queue_name": "slow", "job_variables": {"env": {"A": "1"}}},
    },
    {
        "paused": False,
        "triggers": [
            {"expect": ["a.b"], "match": {"x": "y"}, "parameters": {"model": "iris"}, "enabled": False},
            {"name": "varied-two", "expect": ["c.d"], "threshold": 2, "within": 60, "description": "Two."},
        ],
    },
)
VARIED_NAMES = tuple(f"varied-{number}" for number in range(len(VARIED)))


@pytest.mark.slow
def test_the_server_has_what_a_plain_deploy_leaves_there(first: Applied, server: Server, tmp_path: Path) -> None:
    """For new deployments, and for those that become others: field by field, schedules and automations included."""
    document = yaml.safe_load((PROJECT / "prefect.yaml").read_text())
    (entry,) = [each for each in document["deployments"] if each["name"] == "retrain-iris"]
    token = {"repository": "https://example.org/x.git", "access_token": "{{ prefect.blocks.secret.x }}"}
    document["pull"] = [{"prefect.deployments.steps.git_clone": token}, *document["pull"]]
    names = VARIED_NAMES

    def write(shift: int) -> Path:
        """The entries, each as the one `shift` places after it is."""
        kinds = [*VARIED[shift:], *VARIED[:shift]]
        entries = [entry | kind | {"name": name} for name, kind in zip(names, kinds, strict=True)]
        (tmp_path / "prefect.yaml").write_text(yaml.safe_dump(document | {"deployments": entries}))
        return tmp_path / "prefect.yaml"

    def clear() -> None:
        for name in names:
            made = server.deployment(name).id
            server.client.delete_resource_owned_automations(f"prefect.deployment.{made}")
            server.client.delete_deployment(made)

    told: dict[str, list[Any]] = {"apply": [], "deploy": []}
    for way, found in told.items():
        for shift in (0, 1):
            path = write(shift)
            if way == "apply":
                assert apply("", path).deployed == names
                assert shift or apply("", path).deployed == ()
            else:
                prefect("deploy", "--all", "--prefect-file", str(path))
            found.append(stored(server, names))
        clear()
    for applied, deployed in zip(told["apply"], told["deploy"], strict=True):
        assert set(applied) == set(deployed)
        for name in deployed:
            assert applied[name] == deployed[name]


@pytest.mark.slow
def test_a_plain_deploy_keeps_the_schedule_not_the_automation(
    paused: None, server: Server, settings: Settings, tmp_path: Path
) -> None:
    """`prefect deploy --all`, once and again, beside what a person paused; the file rules where it says so."""
    for _ in range(2):
        prefect("deploy", "--all")
    assert len(server.automations()) == 2
    assert not server.active("retrain-iris")
    assert not server.deployment("monitor-bike-demand").paused
    assert server.on_drift().enabled
    document = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]
    schedules = next(entry["schedules"] for entry in document if entry["name"] == "retrain-iris")
    insisting = [schedules[0] | {"active": True}]
    assert apply("", edited(tmp_path / "prefect.yaml", schedules=insisting)).paused == ()
    assert server.active("retrain-iris")


def found_by_monitor(kind: Kind, decision: str, **detail: Any) -> Event:
    """The event of a decision as a monitor run tells it."""
    outcome = "landed" if kind == "data" else "FAIL"
    entry = Decision(decision, kind, NOW, outcome, 1, 1, "digest", "test", detail_of(kind, **detail))
    return decision_event("iris", entry)


def by_events(server: Server) -> dict[str, Any]:
    """The runs of retrain-iris that events started, by their decision."""
    return {run.parameters["decision_id"]: run for run in server.runs("retrain-iris") if not run.auto_scheduled}


@pytest.fixture(scope="module")
def every_trigger(
    first: Applied, server: Server, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """A run of retrain-iris started by an event of each trigger; ids of events by decision.

    Then come an event within the cooldown, which an apply does not end, and a canary.
    """
    from prefect.events import emit_event

    folder = tmp_path_factory.mktemp("triggers")
    models, path = folder / "models", folder / "prefect.yaml"
    models.mkdir()
    text = (PROJECT / "models" / "iris.py").read_text()
    (models / "iris.py").write_text(
        text.replace("ModelSpec(\n", f"ModelSpec(\n    retrain_on={tuple(TRIGGER_EVENTS)},\n", 1)
    )
    shutil.copy(PROJECT / "prefect.yaml", path)
    sync.sync(Settings(home=settings.home, models=models), path)
    # As the triggers of an earlier version have it; the flow takes it still.
    names = [one["name"] for one in yaml.safe_load(path.read_text())["deployments"]]
    share = ("deployments", names.index("retrain-iris"), "triggers", 0, "parameters", "share")
    text = yaml_text.YamlText(path.read_text())
    text.put(share, "{{ event.payload.share | default(none) }}")
    path.write_text(text.text)
    assert "retrain-iris" in apply("", path).deployed

    def emit(event: Event) -> str:
        sent = emit_event(event=event.name, resource=event.resource(""), payload=dict(event.payload))
        return str(sent.id) if sent else ""

    sent = {}
    for trigger in TRIGGER_EVENTS:
        event = found_by_monitor(trigger, f"rehearsal-{trigger}")
        assert event.name == TRIGGER_EVENTS[trigger]
        sent[f"rehearsal-{trigger}"] = emit(event)
        until(lambda decision=f"rehearsal-{trigger}": by_events(server).get(decision), f"{trigger} starts a run")
    assert apply("", path).deployed == ()
    emit(found_by_monitor("drift", "rehearsal-too-soon"))
    # A canary has a cooldown of its own; its run shows that the server has come past the event before it.
    emit(Event(TRIGGER_EVENTS["drift"], "iris", {"decision_id": "rehearsal-canary"}, rehearsal="canary"))
    until(lambda: by_events(server).get("rehearsal-canary"), "the canary starts a run")
    return sent


def test_an_event_starts_a_run_with_what_it_said(every_trigger: dict[str, str], server: Server) -> None:
    """Typed parameters from each trigger, and no run within the cooldown, which an apply does not end."""
    runs = by_events(server)
    for trigger in TRIGGER_EVENTS:
        run = runs[f"rehearsal-{trigger}"]
        told = {"model": "iris", "reason": trigger, "decision_id": f"rehearsal-{trigger}"}
        told |= {"event_id": every_trigger[f"rehearsal-{trigger}"]} | ({"share": 0.5} if trigger == "drift" else {})
        assert run.parameters == told
        assert {"evergreen", "iris", "retrain"} <= set(run.tags)
    assert runs["rehearsal-canary"].parameters["share"] is None
    assert set(runs) == {*(f"rehearsal-{trigger}" for trigger in TRIGGER_EVENTS), "rehearsal-canary"}


@pytest.mark.slow
def test_a_bare_worker_does_it(
    every_trigger: dict[str, str], server: Server, environment: dict[str, str], tmp_path: Path
) -> None:
    """The code is found from any folder; of the runs that came together one is done."""
    with pause_schedules(*FULL_NAMES), worker(tmp_path / "elsewhere", environment) as log:
        ended = until(
            lambda: all(run.state.is_final() for run in by_events(server).values()) and by_events(server),
            "the runs end",
            300,
        )
    states = [run.state.type.value for run in ended.values()]
    assert sorted(states) == ["CANCELLED"] * 3 + ["COMPLETED"], log.read_text()


@pytest.mark.slow
def test_one_run_after_an_outage(
    first: Applied, server: Server, settings: Settings, environment: dict[str, str], tmp_path: Path
) -> None:
    """No worker was there for three periods of a schedule: one of the missed runs is done, not three."""
    (tmp_path / "quick.py").write_text(QUICK)
    document = yaml.safe_load((PROJECT / "prefect.yaml").read_text())
    (entry,) = [one for one in document["deployments"] if one["name"] == "monitor-iris"]
    entry |= {
        "name": "quick",
        "entrypoint": f"{tmp_path / 'quick.py'}:quick",
        "parameters": {},
        "schedules": [{"interval": 2, "slug": "often"}],
    }
    (tmp_path / "prefect.yaml").write_text(yaml.safe_dump(document | {"deployments": [entry]}))
    apply("", tmp_path / "prefect.yaml")

    def missed() -> list[Any]:
        from prefect.types._datetime import now

        return [run for run in server.runs("quick") if run.expected_start_time < now("UTC")]

    until(lambda: len(missed()) >= 3, "three runs are missed")
    made = server.deployment("quick")
    # What is to come is taken back, so that what was missed can be counted.
    server.client.update_deployment_schedule(made.id, made.schedules[0].id, active=False)
    waiting = {run.id for run in server.runs("quick")}
    assert len(waiting) >= 3
    with pause_schedules(*FULL_NAMES), worker(tmp_path / "elsewhere", environment) as log:
        until(lambda: all(run.state.is_final() for run in server.runs("quick")), "all have ended", 300)
    states = [run.state.type.value for run in server.runs("quick")]
    assert states.count("COMPLETED") == 1, log.read_text()
    assert states.count("CANCELLED") == len(states) - 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("deployments: [\n", "cannot be read"),
        ("name: x\n", "has no deployments"),
        ("deployments: [{entrypoint: x}]\n", "entry 1 has no name"),
        ("deployments: [{name: x}, {name: x}]\n", "x is there twice"),
    ],
)
def test_a_broken_file_is_one_line(text: str, told: str, settings: Settings, tmp_path: Path) -> None:
    """It is told before any server is asked."""
    (tmp_path / "prefect.yaml").write_text(text)
    with pytest.raises(EvergreenError, match=told):
        apply("", tmp_path / "prefect.yaml")


def test_without_a_server_it_says_how_to_have_one(settings: Settings) -> None:
    """No server, and one that does not answer, are each one line."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings(restore_defaults={PREFECT_API_URL}), pytest.raises(EvergreenError, match="evergreen up"):
        apply("")
    nobody = temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"})
    with nobody, pytest.raises(EvergreenError, match="does not answer"):
        apply("")


def test_what_prefect_refuses_is_one_line(server: Server, settings: Settings, tmp_path: Path) -> None:
    """A pool that is not there, a parameter that the flow does not take, a flow that is not there."""
    pool = {"name": "moon"}
    with pytest.raises(EvergreenError, match="no work pool 'moon'"):
        apply("", edited(tmp_path / "prefect.yaml", work_pool=pool))
    for change in ({"parameters": {"model": 3}}, {"entrypoint": "flows.moon.moon"}):
        with pytest.raises(EvergreenError, match="Prefect refused") as error:
            apply("", edited(tmp_path / "prefect.yaml", **change))
        assert "Traceback" not in str(error.value)
