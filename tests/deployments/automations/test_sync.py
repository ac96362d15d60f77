"""Notices are received once each, watches fire, and dead runs are swept: on a real server, by a real webhook."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.logging import disable_run_logger
from pydantic import SecretStr

from deployments.automations import sync
from deployments.automations.alerts import alerts_of
from evergreen import events
from evergreen.errors import EvergreenError
from evergreen.events import Event, drift_event
from evergreen.settings import Settings
from evergreen.spec import DriftThresholds, ModelSpec, Serve, Shadow

PROJECT = Path(__file__).resolve().parents[3]
SECRET = "s3cret-token"
TOY = (PROJECT / "tests" / "faults" / "models" / "toy.py").read_text()
FLOW = """
import time
from pathlib import Path

from prefect import flow, suspend_flow_run


@flow
def work(folder: str, suspended: bool = False) -> None:
    Path(folder, "begun").touch()
    if suspended:
        suspend_flow_run(timeout=3600)
    while not Path(folder, "go").exists():
        time.sleep(0.1)
"""

# Apprise, which sends for Prefect, looks for a module that Python is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


def until(found: Callable[[], Any], what: str, seconds: float = 120) -> Any:
    """What `found` gives once it gives something; Prefect on SQLite now and then stands still for a minute."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            answer = found()
        except OSError:
            answer = None
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.1)


@dataclass(frozen=True)
class Post:
    """What was posted where; the lines of its text by what they name."""

    path: str
    body: dict[str, str]

    @property
    def lines(self) -> dict[str, str]:
        *named, link = self.body["text"].splitlines()
        return dict(line.split(": ", 1) for line in named) | {"link": link, "title": self.body["title"]}


@dataclass
class Hook:
    """A webhook, and what it received; under /broken it answers with an error."""

    url: str
    posts: list[Post] = field(default_factory=list)

    def about(self, name: str, path: str = "/hook") -> list[dict[str, str]]:
        """What was told of a model, a run or an automation."""
        told = [post.lines for post in self.posts if post.path.startswith(path)]
        return [one for one in told if name in (one.get("model"), one.get("run"), one.get("automation"))]


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.posts.append(Post(self.path, json.loads(body)))
            self.send_response(500 if self.path.startswith("/broken") else 204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Hook(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("automations") / "server.log"


@pytest.fixture(scope="module")
def api(log: Path) -> Iterator[str]:
    """A Prefect server of this module's own, as its automations would answer the events of every other test."""
    from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    environment = os.environ | {
        "PREFECT_HOME": str(log.parent / "server"),
        "PREFECT_SERVER_LOGGING_LEVEL": "DEBUG",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "DEBUG",
    }
    environment["PREFECT_API_URL"] = url  # As `evergreen up` does: without it the server knows no links.
    # The server of `evergreen up`: Prefect's own on SQLite stands still for a minute now and then, or loses a notice.
    words = [sys.executable, "-m", "deployments.stack.prefect_server", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as out:
        server = subprocess.Popen(words, env=environment, stdout=out, stderr=out, cwd=PROJECT)
        try:
            until(lambda: urllib.request.urlopen(f"{url}/health", timeout=2).status == 200, "the server", 120)  # noqa: S310
            with temporary_settings({PREFECT_API_URL: url, PREFECT_LOGGING_TO_API_ENABLED: False}):
                yield url
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


@dataclass
class Runs:
    """Runs of deployments, each in a process of its own, as a worker starts them."""

    api: str
    folder: Path
    limited: UUID
    free: UUID
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def make(self, deployment: UUID, name: str, **parameters: Any) -> UUID:
        """A run that a worker has taken up."""
        from prefect.client.orchestration import get_client
        from prefect.states import Pending

        (self.folder / name).mkdir()
        given = {"folder": str(self.folder / name)} | parameters
        with get_client(sync_client=True) as client:
            run = client.create_flow_run_from_deployment(deployment, parameters=given, name=name)
            client.set_flow_run_state(run.id, Pending())
        return run.id

    def begin(self, run: UUID, name: str) -> subprocess.Popen[bytes]:
        """Start its process, and wait until its body has begun."""
        environment = os.environ | {
            "PREFECT_API_URL": self.api,
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT__FLOW_RUN_ID": str(run),
            sync.HEARTBEAT: "30",
        }
        process = subprocess.Popen([sys.executable, "-m", "prefect.engine"], env=environment, cwd=self.folder)
        self.processes.append(process)
        until((self.folder / name / "begun").exists, f"{name} begins", 120)
        return process

    def state(self, run: UUID) -> Any:
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            return client.read_flow_run(run).state


@pytest.fixture(scope="module")
def runs(api: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions

    folder = tmp_path_factory.mktemp("runs")
    (folder / "work.py").write_text(FLOW)
    with get_client(sync_client=True) as client:
        flow = client.create_flow_from_name("work")

        def deploy(name: str, **more: Any) -> UUID:
            return client.create_deployment(
                flow, name, entrypoint="work.py:work", path=str(folder), tags=["evergreen"],
                job_variables={"env": {sync.HEARTBEAT: "30"}}, **more,
            )  # fmt: skip

        one = ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
        found = Runs(api, folder, deploy("limited", concurrency_limit=1, concurrency_options=one), deploy("free"))
    yield found
    for process in found.processes:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.fixture(scope="module")
def settings_of(tmp_path_factory: pytest.TempPathFactory, api: str) -> Callable[..., Settings]:
    """Settings of one model, `toy`, which is silent after ten seconds and is not rolled back, and whom to tell."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "models").mkdir()
    text = TOY.replace("min_rows=50)", "min_rows=50, silence=timedelta(seconds=10)), shadow=Shadow(rollback=False)")
    text = text.replace("import DriftThresholds,", "import DriftThresholds, Shadow,")
    (folder / "models" / "toy.py").write_text(
        text.replace("from typing", "from datetime import timedelta\nfrom typing", 1)
    )

    def make(*notify: str) -> Settings:
        return Settings(home=folder / "home", models=folder / "models", notify=SecretStr(",".join(notify)))

    return make


@pytest.fixture(scope="module")
def settings(hook: Hook, settings_of: Callable[..., Settings]) -> Settings:
    return settings_of(f"{hook.url}/hook/{SECRET}")


@pytest.fixture(scope="module")
def swept(runs: Runs, settings: Settings) -> dict[str, UUID]:
    """Four runs under the automations: one killed, one that goes on, one that finished, one that was suspended; a
    heartbeat of these two comes late. A fifth finds the slot held by the killed one."""
    from prefect.events import emit_event

    sync.sync(settings)
    names = {"killed": runs.limited, "alive": runs.free, "finished": runs.free, "suspended": runs.free}
    made = {name: runs.make(where, name, suspended=name == "suspended") for name, where in names.items()}
    (runs.folder / "finished" / "go").touch()
    processes = {name: runs.begin(run, name) for name, run in made.items()}
    processes["killed"].send_signal(signal.SIGKILL)
    made["refused"] = runs.make(runs.limited, "refused")
    for name in ("finished", "suspended"):
        processes[name].wait(60)
        tag = {"prefect.resource.id": "prefect.tag.evergreen", "prefect.resource.role": "tag"}
        late = {"prefect.resource.id": f"prefect.flow-run.{made[name]}", "prefect.resource.name": name}
        emit_event("prefect.flow-run.heartbeat", resource=late, related=[tag])
    return made


def emit(event: Event) -> None:
    from tasks.announce import announce

    # Outside of a run there is no logger of one.
    with disable_run_logger():
        announce.fn("", event)


def emit_until_told(name: str, model: str, hook: Hook, *paths: str) -> dict[str, str]:
    """Emit until it is told: while the server takes in a changed automation it hears nothing for a moment."""

    def told() -> Any:
        emit(Event(name, model, {"rows": 1}))
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            if all(hook.about(model, path) for path in paths):
                return hook.about(model, paths[0])[0]
            time.sleep(0.1)
        return None

    found: dict[str, str] = until(told, f"a notice of {model}")
    return found


def ids() -> dict[str, UUID]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return {one.name: one.id for one in client.read_automations()}


EVENTS = {
    events.DRIFT_FAILED: "the drift report failed",
    events.PERFORMANCE_FAILED: "the performance report failed",
    events.DATA_REJECTED: "data was rejected",
    events.MODEL_REJECTED: "a candidate was not promoted",
    events.MODEL_PROMOTED: "there is a new champion",
    events.MODEL_ROLLED_BACK: "the champion was rolled back",
    events.MODEL_WAITING: "a candidate waits for your approval",
    events.RETRAIN_ESCALATED: "retraining does not help",
}


def test_each_event_is_told_once_and_a_canary_is_not(swept: dict[str, UUID], hook: Hook, log: Path) -> None:
    """One post an event, with the model, the facts and a link; none for a rehearsal; the URL is in no log."""
    payload = {"decision_id": "d1", "reason": "it's <so>", "somebodys_row": [1]}
    for name in EVENTS:
        emit(Event(name, "shop", payload, rehearsal="r1"))
        emit(Event(name, "shop", payload))
    # Events are taken in their order, so when this one is told all are.
    emit(drift_event("last", "FAIL", decision_id="d2", share=0.5, columns=("x",)))
    (last,) = until(lambda: hook.about("last"), "the last notice")
    until(lambda: len(hook.about("shop")) >= len(EVENTS), "a notice for each event")

    told = {one["event"]: one for one in hook.about("shop")}
    assert len(hook.about("shop")) == len(EVENTS)
    assert {name: one["title"] for name, one in told.items()} == {
        name: f"Evergreen: shop: {says}" for name, says in EVENTS.items()
    }
    for one in told.values():
        assert (one["decision_id"], one["reason"]) == ("d1", "it's <so>")
        assert "/events/event/" in one["link"]
    assert (last["share"], last["columns"], last["decision_id"]) == ("0.5", "['x']", "d2")
    everything = " ".join(json.dumps(post.body) for post in hook.posts)
    assert "somebodys_row" not in everything
    assert SECRET not in everything + log.read_text()


def test_harm_is_told_of_a_model_that_is_not_rolled_back(swept: dict[str, UUID], hook: Hook) -> None:
    """Where the model file leaves the rollback to a person, that person hears of it; elsewhere of the rollback."""
    for model in ("shop", "toy"):
        emit(Event(events.SHADOW_FAILED, model, {"decision_id": "d8", "reason": "the promotion hurt: mae 12 worse"}))
    emit(Event(events.MODEL_ROLLED_BACK, "later", {"version": 1, "before": 2, "reason": "the promotion hurt"}))
    (last,) = until(lambda: hook.about("later"), "the notice of the rollback")
    told = until(lambda: [one for one in hook.about("toy") if one["event"] == events.SHADOW_FAILED], "the notice")
    assert [(one["title"], one["reason"]) for one in told] == [
        ("Evergreen: toy: the last promotion hurt", "the promotion hurt: mae 12 worse")
    ]
    assert (last["before"], last["version"], last["reason"]) == ("2", "1", "the promotion hurt")
    assert events.SHADOW_FAILED not in {one["event"] for one in hook.about("shop")}


def test_a_notice_links_to_the_run_that_emitted_it(swept: dict[str, UUID], hook: Hook) -> None:
    """The event of a flow is told with a link to its run."""
    from prefect import flow
    from prefect.runtime import flow_run

    @flow
    def telling() -> str:
        emit(Event(events.MODEL_PROMOTED, "linked", {"version": 3, "before": 2}))
        return str(flow_run.get_id())

    run = telling()

    (told,) = until(lambda: hook.about("linked"), "the notice")
    assert told["link"].endswith(f"/runs/flow-run/{run}")
    assert (told["version"], told["before"]) == ("3", "2")


def test_silence_is_told_once(swept: dict[str, UUID], hook: Hook) -> None:
    """A model that never reported is told of once after the sync, and once more after a report and a lapse; a canary's
    report does not count."""
    says = "Evergreen: toy: no drift report for 10 seconds"

    def silences() -> int:
        return [one["title"] for one in hook.about("toy")].count(says)

    until(silences, "the notice of a model that never reported")
    emit(Event(events.DRIFT_PASSED, "toy", {}))
    emit(Event(events.DRIFT_FAILED, "toy", {}, rehearsal="r1"))
    until(lambda: silences() == 2, "the notice of a lapse")
    emit(Event(events.DRIFT_FAILED, "toy", {}, rehearsal="r2"))
    time.sleep(16)  # One period and one look: that nothing comes is what is waited for.
    assert silences() == 2


def test_syncing_again_changes_nothing(swept: dict[str, UUID], settings: Settings) -> None:
    """Ten syncs leave every automation as it is: no duplicates, the same ids, and off stays off."""
    before = ids()
    sync.switch("", "data-rejected", on=False)
    done = [sync.sync(settings) for _ in range(10)]

    assert {(one.made, one.changed, one.removed) for one in done} == {((), (), ())}
    assert {f"evergreen: {name}" for name in done[0].left} == set(before)
    assert ids() == before
    assert [one.name for one in sync.list_all("") if not one.on] == ["data-rejected"]


def test_off_stays_off_through_a_change(
    swept: dict[str, UUID], settings: Settings, settings_of: Callable[..., Settings], hook: Hook
) -> None:
    """A changed automation keeps its id and stays off, and says nothing; switched on again it does."""
    sync.switch("", "evergreen: data-rejected", on=False)
    before = ids()
    two = settings_of(settings.notify.get_secret_value(), f"{hook.url}/other/{SECRET}")
    changed = sync.sync(two).changed
    emit_until_told(events.DRIFT_FAILED, "ready", hook, "/hook", "/other")
    emit(Event(events.DATA_REJECTED, "quiet", {"rows": 1}))
    emit(Event(events.DRIFT_FAILED, "loud", {}))
    until(lambda: hook.about("loud") and hook.about("loud", "/other"), "a notice by both webhooks")
    back = sync.sync(settings).changed

    assert "data-rejected" in changed
    assert not {*sync.SWEEP} & {*changed}
    assert changed == back
    assert ids() == before
    assert not hook.about("quiet")
    sync.switch("", "data-rejected", on=True)
    assert emit_until_told(events.DATA_REJECTED, "heard", hook, "/hook")["rows"] == "1"


def test_a_dead_run_is_swept_and_no_other(swept: dict[str, UUID], runs: Runs, hook: Hook) -> None:
    """The run that was killed is crashed, told of, and its slot is free; runs that live, ended or wait are left."""
    from prefect.client.orchestration import get_client
    from prefect.events.filters import EventFilter, EventNameFilter

    def refusals() -> set[str]:
        failed = EventFilter(event=EventNameFilter(name=["prefect.automation.action.failed"]))
        with get_client(sync_client=True) as client:
            page = client.read_events(failed, limit=50).events
        ours = {f"prefect.flow-run.{swept[name]}" for name in ("finished", "suspended")}
        return {related.id for event in page for related in event.related} & ours

    assert runs.state(swept["refused"]).is_cancelled()
    until(lambda: runs.state(swept["killed"]).is_final(), "the dead run is swept", 200)

    state = runs.state(swept["killed"])
    assert state.is_crashed()
    assert state.message == "No heartbeat for 90 s: its process is gone."
    (told,) = until(lambda: hook.about("killed"), "the notice of the crash")
    assert told["title"] == "Evergreen: the run killed failed or crashed"
    assert told["link"].endswith(f"/runs/flow-run/{swept['killed']}")
    assert runs.state(runs.make(runs.limited, "accepted")).is_pending()
    until(lambda: len(refusals()) >= 2, "the late heartbeats have had their 90 s")
    assert runs.state(swept["alive"]).is_running()
    (runs.folder / "alive" / "go").touch()
    until(lambda: runs.state(swept["alive"]).is_completed(), "the live run ends")
    assert runs.state(swept["finished"]).is_completed()
    assert runs.state(swept["suspended"]).name == "Suspended"
    assert not [one for name in ("alive", "finished", "suspended") for one in hook.about(name)]


def test_a_failed_action_is_told_once(
    swept: dict[str, UUID], settings: Settings, settings_of: Callable[..., Settings], hook: Hook, log: Path
) -> None:
    """A webhook that answers with an error makes its automation's action fail; the other one is told of that once, and
    the URL is in no log."""
    sync.sync(settings_of(settings.notify.get_secret_value(), f"{hook.url}/broken/{SECRET}"))
    emit_until_told(events.DRIFT_FAILED, "settled", hook, "/hook", "/broken")
    emit(Event(events.MODEL_PROMOTED, "half-heard", {}))
    until(lambda: hook.about("half-heard"), "the notice by the webhook that works")
    (told,) = until(lambda: hook.about("evergreen: model-promoted"), "the alert")
    until(lambda: hook.about("evergreen: model-promoted", "/broken"), "the alert that cannot be told")
    # The alert failed on the broken one. Were that told of too, it would have been before this next failure is.
    emit(Event(events.MODEL_REJECTED, "later", {}))
    until(lambda: hook.about("evergreen: candidate-rejected"), "the next alert")
    sync.sync(settings)

    assert told["title"] == "Evergreen: the automation 'evergreen: model-promoted' could not do its work"
    assert len(hook.about("half-heard")) == len(hook.about("evergreen: model-promoted")) == 1
    assert not hook.about("evergreen: action-failed")
    assert SECRET not in log.read_text()


def test_a_saved_block_is_told_by_its_name(
    swept: dict[str, UUID], settings: Settings, settings_of: Callable[..., Settings], hook: Hook
) -> None:
    """A notification block that the user saved is sent a message; e-mail and Slack are accepted as actions."""
    from prefect.blocks.notifications import CustomWebhookNotificationBlock, SendgridEmail
    from prefect.client.orchestration import get_client
    from prefect.events.actions import SendNotification

    shape = {"title": "{{subject}}", "text": "{{body}}"}
    CustomWebhookNotificationBlock(name="ops", url=f"{hook.url}/hook", json_data=shape).save("ops")
    SendgridEmail(api_key=SecretStr("key"), sender_email="a@example.org", to_emails=["b@example.org"]).save("mail")
    assert "drift-failed" in sync.sync(settings_of("custom-webhook/ops")).changed
    emit_until_told(events.DRIFT_FAILED, "unboxed", hook, "/hook")
    emit(drift_event("boxed", "FAIL", decision_id="d3", share=0.25, columns=("x", "y")))
    (told,) = until(lambda: hook.about("boxed"), "the message")
    assert told["title"] == "Evergreen: boxed: the drift report failed"
    assert (told["decision_id"], told["columns"]) == ("d3", "['x', 'y']")

    sync.sync(settings_of("sendgrid-email/mail", "https://hooks.slack.com/services/T1/B1/abc"))
    with get_client(sync_client=True) as client:
        (found,) = client.read_automations_by_name("evergreen: drift-failed")
        saved = {document.id: document.name for document in client.read_block_documents()}
    actions = [action for action in found.actions if isinstance(action, SendNotification)]
    assert [saved[action.block_document_id] for action in actions] == ["mail", "evergreen-notify-2"]
    assert "services/T1" not in found.model_dump_json()
    sync.sync(settings)


def test_mail_is_sent(swept: dict[str, UUID], settings: Settings, settings_of: Callable[..., Settings]) -> None:
    """A mailto URL sends a mail by SMTP, with the notice's title as its subject."""
    with socket.create_server(("127.0.0.1", 0)) as post_office:
        post_office.settimeout(60)
        port = post_office.getsockname()[1]
        sync.sync(settings_of(f"mailto://127.0.0.1:{port}?from=a@example.org&to=b@example.org&mode=insecure"))
        mailed = drift_event("mailed", "FAIL", decision_id="d4", share=0.25, columns=("x",))
        again = threading.Timer(5, emit, [mailed])  # The server may not have heard the first one yet.
        emit(mailed)
        again.start()
        mail = _one_mail(post_office)
        again.cancel()
        again.join()
    sync.sync(settings)

    assert mail["To"] == "b@example.org"
    assert mail["Subject"] == "Evergreen: mailed: the drift report failed"
    body = mail.get_body(("plain", "html"))
    assert body is not None
    assert "decision_id: d4" in body.get_content()


def _one_mail(post_office: socket.socket) -> EmailMessage:
    """Take one mail as an SMTP server does."""
    connection, _ = post_office.accept()
    with connection, connection.makefile("rwb", buffering=0) as line:
        line.write(b"220 here\r\n")
        while not (said := line.readline().upper()).startswith(b"DATA"):
            line.write(b"250 yes\r\n" if said else b"")
        line.write(b"354 go on\r\n")
        text = b"".join(iter(line.readline, b".\r\n"))
        line.write(b"250 taken\r\n")
        line.readline()
        line.write(b"221 bye\r\n")
    return BytesParser(EmailMessage, policy=policy.default).parsebytes(text)


def test_the_query_of_a_webhook_reaches_it(
    swept: dict[str, UUID], settings: Settings, settings_of: Callable[..., Settings], hook: Hook
) -> None:
    """Path and query of a webhook's URL arrive as they were given, signatures and all."""
    sync.sync(settings_of(f"{hook.url}/query/a-b_c?sig=a%2Bb%3D&v=1&format=x"))
    emit_until_told(events.MODEL_PROMOTED, "signed", hook, "/query")
    sync.sync(settings)
    (path,) = {post.path for post in hook.posts if post.path.startswith("/query")}
    assert path == "/query/a-b_c?sig=a%2Bb%3D&v=1&format=x"


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("slack-webhook/nowhere", "Prefect has no block 'slack-webhook/nowhere'"),
        ("secret/x", "no notification block of type 'secret'"),
        (f"htps://hooks.example.org/{SECRET}", "item 2 is neither a URL"),
        (f"https:///{SECRET}", "item 2 is neither a URL"),
    ],
)
def test_a_wrong_item_is_one_clear_line(
    swept: dict[str, UUID], settings_of: Callable[..., Settings], hook: Hook, item: str, said: str
) -> None:
    """What is neither a URL nor a block that is there is said, without showing what may be a secret."""
    before = ids()
    with pytest.raises(EvergreenError) as error:
        sync.sync(settings_of(f"{hook.url}/hook/{SECRET}", item))
    assert said in error.value.what
    assert SECRET not in f"{error.value.what} {error.value.fix}"
    assert ids() == before


def test_the_commands(
    swept: dict[str, UUID],
    settings: Settings,
    api: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`list`, `sync`, `on` and `off` answer with one JSON object and no secret; an unknown name is exit status 2."""
    from typer.testing import CliRunner

    from deployments.cli.main import app

    monkeypatch.setenv("EVERGREEN_HOME", str(settings.home))
    monkeypatch.setenv("EVERGREEN_MODELS", str(settings.models))
    monkeypatch.setenv("EVERGREEN_NOTIFY", settings.notify.get_secret_value())
    monkeypatch.setenv("PREFECT_API_URL", api)
    monkeypatch.setenv("PREFECT_HOME", str(settings.home / "prefect"))

    def run(*words: str, status: int = 0) -> Any:
        done = CliRunner().invoke(app, ["automations", *words, "--json"])
        assert done.exit_code == status, done.output
        out = capfd.readouterr().out or done.stdout
        assert SECRET not in out
        return json.loads(out)

    assert run("off", "drift-failed") == {"name": "drift-failed", "on": False, "description": "the drift report failed"}
    assert "drift-failed" in run("sync")["left"]
    assert {"name": "drift-failed", "on": False, "description": "the drift report failed"} in run("list")["automations"]
    assert run("on", "drift-failed")["on"] is True
    assert "There is no automation" in run("off", "nothing", status=2)["error"]


def test_with_nobody_to_tell_only_the_sweep_is_left(
    swept: dict[str, UUID], settings_of: Callable[..., Settings]
) -> None:
    """An empty EVERGREEN_NOTIFY removes the notices and the blocks that were saved for it; other automations stay."""
    from prefect.automations import Automation
    from prefect.client.orchestration import get_client
    from prefect.events.actions import DoNothing
    from prefect.events.schemas.automations import EventTrigger

    Automation(name="somebody else's", trigger=EventTrigger(expect={"x"}), actions=[DoNothing()]).create()
    before = ids()
    done = sync.sync(settings_of())

    assert done.left == sync.SWEEP
    kept = {f"evergreen: {name}" for name in sync.SWEEP} | {"somebody else's"}
    assert ids() == {name: one for name, one in before.items() if name in kept}
    with get_client(sync_client=True) as client:
        saved = [document.name for document in client.read_block_documents()]
    assert set(saved) == {"mail", "ops"}


def test_without_a_server_there_is_one_clear_line(settings_of: Callable[..., Settings]) -> None:
    """A server that does not answer, or none, is said with what to do."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}), pytest.raises(EvergreenError, match="answer"):
        sync.list_all("")
    with temporary_settings(restore_defaults={PREFECT_API_URL}), pytest.raises(EvergreenError, match="none is set"):
        sync.list_all("")


def test_skew_is_told_of_models_that_are_served() -> None:
    """Where no model is served there is no such notice."""
    rest: dict[str, Any] = {"shadow": Shadow(), "drift": DriftThresholds()}
    served = ModelSpec.model_construct(name="a", serve=Serve(), **rest)
    other = ModelSpec.model_construct(name="b", serve=None, **rest)
    (notice,) = [one for one in alerts_of("", (served, other)) if one.name == "skew-failed"]
    assert notice.trigger.expect == {events.SKEW_FAILED}
    assert notice.trigger.match.root["prefect.resource.id"] == ["evergreen.model.a"]
    assert "columns" in notice.facts
    assert "skew-failed" not in {one.name for one in alerts_of("", (other,))}


def test_every_event_that_is_told_is_one_that_is_emitted() -> None:
    """The notices of models wait for names in evergreen/events.py."""
    names = {value for value in vars(events).values() if isinstance(value, str)}
    waited = {name for notice in alerts_of("", ()) if notice.about == "model" for name in notice.trigger.expect}
    assert waited
    assert waited <= names
