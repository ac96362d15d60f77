"""The local stack with its real processes, in scratch homes: up, a killed part, down, up again in the foreground."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from deployments.stack import prefect_home
from deployments.stack.health import authorization
from deployments.stack.process_group import is_alive, members
from deployments.stack.services import (
    MLFLOW,
    SERVICES,
    SERVING,
    WORKER,
    Ports,
    claim,
    holder,
    read_ports,
    worker_name,
    write_ports,
)
from deployments.stack.stack import _choose_ports, _read_cause, down, up
from deployments.stack.supervisor import Supervisor, end_orphans, is_listening, socket_path
from evergreen.errors import EvergreenError
from evergreen.settings import PROJECT, Settings
from tests.servers import databases

Command = Callable[..., dict[str, Any]]
__all__ = ["databases"]

FLOW = """
import time
from pathlib import Path
from prefect import flow

@flow
def canary(place: str, seconds: float = 0, word: str = ""):
    Path(place).write_text(word)
    time.sleep(seconds)
"""


def until(what: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait for a condition and return what it gave."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.1)
    raise AssertionError("the condition did not come true in time")


def asked(api: str, path: str, body: Mapping[str, Any] | None = None, login: str = "") -> Any:
    """Ask Prefect's REST API."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | authorization({"PREFECT_API_AUTH_STRING": login})
    request = urllib.request.Request(f"{api}/{path}", data, headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        text = answer.read()
    return json.loads(text) if text else None


@dataclass(frozen=True)
class Home:
    """One scratch home and the commands in it."""

    settings: Settings
    surroundings: dict[str, str]

    def words(self, *given: str) -> list[str]:
        return [sys.executable, "-m", "deployments.cli", *given]

    def run(self, *given: str) -> dict[str, Any]:
        done = subprocess.run(
            self.words(*given, "--json"),
            env=self.surroundings,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def fail(self, *given: str) -> str:
        """What a command says that is refused, on one line."""
        done = subprocess.run(
            self.words(*given), env=self.surroundings, cwd="/", capture_output=True, text=True, timeout=200, check=False
        )
        assert done.returncode == 2, done.stdout + done.stderr
        return " ".join(done.stderr.split())

    def end(self) -> None:
        subprocess.run(self.words("down"), env=self.surroundings, capture_output=True, timeout=120, check=False)


ELSEWHERE = {
    **dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9"),
    **{"ALL_PROXY": "socks5://127.0.0.1:9", "NO_PROXY": "intranet"},
    **{"MLFLOW_RUN_ID": "0123456789abcdef", "MLFLOW_BACKEND_STORE_URI": "sqlite:////nowhere/mlflow.db"},
}
"""A proxy that answers nothing, and another project's MLflow: a stack is not to be stopped by them."""


def home_in(place: Path, **more: str) -> Home:
    """A home with nothing of the session's own Prefect in its environment, and with ports that no other stack wants."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "EVERGREEN_"))}
    told = {f"EVERGREEN_{name.upper()}": value for name, value in more.items()}
    settings = Settings(home=place, **more)  # type: ignore[arg-type]
    settings.stack.mkdir(parents=True)
    with socket.socket() as prefect, socket.socket() as mlflow:
        for free in (prefect, mlflow):
            free.bind(("127.0.0.1", 0))
        write_ports(settings, Ports(prefect=prefect.getsockname()[1], mlflow=mlflow.getsockname()[1]))
    return Home(settings, kept | ELSEWHERE | {"EVERGREEN_HOME": str(place)} | told)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """One home for the tests of this file, which follow each other; whatever is up is ended after them."""
    found = home_in(tmp_path_factory.mktemp("stack"))
    yield found
    found.end()


@pytest.fixture
def flow_file(tmp_path: Path) -> Path:
    """A folder with a flow that writes a word into a file and may take its time."""
    (tmp_path / "canary.py").write_text(FLOW)
    return tmp_path


def deployed(api: str, place: Path) -> str:
    """The id of a deployment of that flow in the stack's pool."""
    flow = asked(api, "flows/", {"name": "canary"})["id"]
    step = {"prefect.deployments.steps.set_working_directory": {"directory": str(place)}}
    wanted = {"name": "canary", "flow_id": flow, "entrypoint": "canary.py:canary", "work_pool_name": "evergreen"}
    wanted |= {"job_variables": {"command": "python -m prefect.engine"}, "pull_steps": [step]}
    return str(asked(api, "deployments/", wanted)["id"])


def state_of(api: str, run: str) -> str:
    """A flow run's state by name."""
    return str(asked(api, f"flow_runs/{run}")["state"]["name"])


def _listener(url: str) -> int | None:
    """The id of the process that listens where a page is."""
    port = urlsplit(url).port
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
            return int(connection.pid)
    return None


@pytest.mark.slow
def test_up_brings_up_everything_and_again_only_says_so(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every page answers, a cron has runs, a killed server of predictions comes back; a second `up` starts nothing."""
    first = home.run("up", "--detach")
    assert first["started"]
    # The shipped bikes ask to be served; they have no champion here, so the server lives and is not ready.
    live = f"{first['serving']}/v2/health/live"
    pages = (f"{first['api']}/health", f"{first['mlflow']}/health", f"{first['pages']}/health", first["prefect"], live)
    for page in pages:
        with urllib.request.urlopen(page, timeout=10) as answer:  # noqa: S310
            assert answer.status == 200
    assert until(
        lambda: asked(first["api"], "flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}})
    )
    server = asked(first["api"], "admin/settings")["server"]
    vacuum, events = server["services"]["db_vacuum"], server["events"]["retention_period"]
    assert (sorted(vacuum["enabled"]), vacuum["retention_period"], events) == (["events", "flow_runs"], "P30D", "P7D")
    killed = _listener(live)
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    assert until(lambda: _listener(live) not in (None, killed))
    again = home.run("up", "--detach")
    assert not again["started"]
    assert {name: first[name] for name in ("api", "mlflow", "logs")} == {
        name: again[name] for name in ("api", "mlflow", "logs")
    }
    monkeypatch.setattr(os, "environ", dict(home.surroundings))
    prefect_home.use(home.settings)
    assert prefect_home.has_server()
    assert os.environ["PREFECT_API_URL"] == first["api"]


@pytest.mark.slow
@pytest.mark.parametrize("part", [WORKER, MLFLOW, SERVING])
def test_a_killed_part_is_started_again(home: Home, part: str) -> None:
    """Killed by its number, and with children that hold its port, it is there again under another one."""
    before = holder(home.settings, part)
    assert before is not None
    os.kill(before, signal.SIGKILL)
    after = until(lambda: (now := holder(home.settings, part)) and now != before and now)
    ports = read_ports(home.settings)
    assert ports is not None
    pages = {MLFLOW: f"{ports.mlflow_ui}/health", SERVING: f"{ports.predictions}/v2/health/live"}
    if part in pages:
        until(lambda: _is_there(pages[part]))
    assert holder(home.settings, part) == after


@pytest.mark.slow
def test_down_ends_what_up_started_and_nothing_else(home: Home, flow_file: Path) -> None:
    """A run in progress is ended and marked, a process of somebody else lives on; `down` again has nothing to do.

    Up again in the foreground, with MLflow's port taken by another: the runs, a paused deployment and the other port
    are as they were. Ctrl-C ends everything.
    """
    ports = read_ports(home.settings)
    assert ports is not None
    deployment = deployed(ports.api, flow_file)
    asked(ports.api, f"deployments/{deployment}/pause_deployment", {})
    parameters = {"place": str(flow_file / "word"), "seconds": 300, "word": "begun"}
    run = str(asked(ports.api, f"deployments/{deployment}/create_flow_run", {"parameters": parameters})["id"])
    until((flow_file / "word").exists)
    daemon = int((home.settings.stack / "supervisord.pid").read_text())
    started = [daemon, *members(daemon)]
    assert len(started) >= 5
    foreign = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
    try:
        assert home.run("down") == {"up": False, "ended": True}
        assert foreign.poll() is None
    finally:
        foreign.kill()
        foreign.wait()
    assert not [number for number in started if is_alive(number)]
    assert home.run("down") == {"up": False, "ended": False}
    assert not prefect_home._running_stack(home.settings)

    with socket.socket() as taken, (flow_file / "up.log").open("wb") as log:
        # Its last connections are not forgotten yet.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", ports.mlflow))
        taken.listen()
        up = subprocess.Popen(home.words("up"), env=home.surroundings, stdout=log, stderr=log, start_new_session=True)
        try:
            until(lambda: b"Ctrl-C" in (flow_file / "up.log").read_bytes(), 120)
            now = read_ports(home.settings)
            assert now is not None
            assert now.prefect == ports.prefect
            assert now.mlflow != ports.mlflow
            assert state_of(now.api, run) == "Crashed"
            assert asked(now.api, f"deployments/{deployment}")["paused"]
            daemon = int((home.settings.stack / "supervisord.pid").read_text())
            started = [daemon, *members(daemon)]
        finally:
            up.send_signal(signal.SIGINT)
            assert up.wait(60) == 0
    assert not [number for number in started if is_alive(number)]
    assert not is_listening(home.settings)


def _is_there(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.mark.slow
def test_the_stack_on_postgresql_and_redis(tmp_path: Path, flow_file: Path, databases: dict[str, str]) -> None:
    """By settings only: a cron has runs, an event comes to a run, no password is on a command line or in a file."""
    import psycopg
    import redis

    home = home_in(tmp_path / "home", **databases)
    try:
        api = home.run("up", "--detach")["api"]
        with psycopg.connect(databases["prefect_database"].replace("+asyncpg", "")) as connection:
            query = "SELECT count(*) FROM flow_run WHERE state_type = 'SCHEDULED'"
            until(lambda: connection.execute(query).fetchone()[0] > 0)
        with psycopg.connect(databases["tracking_uri"].replace("+psycopg", "")) as connection:
            assert connection.execute("SELECT count(*) FROM registered_models").fetchone() == (0,)
        with redis.Redis.from_url(databases["redis"]) as client:
            assert client.dbsize() > 1
        assert not (home.settings.root / "prefect" / "prefect.db").exists()
        deployment = deployed(api, flow_file)
        trigger = {"type": "event", "posture": "Reactive", "threshold": 1, "within": 0, "expect": ["test.happened"]}
        told = {"place": str(flow_file / "word"), "word": "{{ event.payload.word }}"}
        action = {"type": "run-deployment", "source": "selected", "deployment_id": deployment, "parameters": told}
        asked(api, "automations/", {"name": "test", "trigger": trigger, "actions": [action]})

        def heard() -> bool:
            """Whether an event came to a run: the triggers hear of a new automation by NOTIFY, and of none before."""
            event = {"id": str(uuid.uuid4()), "occurred": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
            event |= {"event": "test.happened", "resource": {"prefect.resource.id": "test"}}
            asked(api, "events", [event | {"payload": {"word": "arrived"}}])  # type: ignore[arg-type]
            with suppress(AssertionError):
                until(lambda: (flow_file / "word").exists() and (flow_file / "word").read_text() == "arrived", 20)
                return True
            return False

        until(heard, 80)
        words = subprocess.run(["ps", "-A", "-o", "args="], capture_output=True, text=True, check=True).stdout
        assert ":word@" not in words
        written = [place for place in home.settings.root.rglob("*") if place.is_file()]
        assert not [place for place in written if b":word@" in place.read_bytes()]
    finally:
        home.end()


@pytest.mark.slow
def test_a_server_that_asks_for_a_login_and_a_worker_elsewhere(tmp_path: Path) -> None:
    """One variable is enough for a stack and its commands; another home gets a worker alone, which runs what is there.

    Workers are known by host and home. No other part is started there, and the password is nowhere.
    """
    login = "ann:planted-4711"
    there, here = home_in(tmp_path / "there"), home_in(tmp_path / "here")
    there.surroundings["PREFECT_SERVER_API_AUTH_STRING"] = login
    told = here.fail("up", "--worker")
    assert "A worker alone needs a Prefect server, and none is set. Set PREFECT_API_URL to its API" in told
    try:
        api = there.run("up", "--detach")["api"]
        with pytest.raises(urllib.error.HTTPError, match="401"):
            asked(api, "work_pools/evergreen/workers/filter", {"workers": None})
        there.run("retrain", "iris")
        runs = asked(api, "flow_runs/filter", {"flows": {"name": {"any_": ["retrain"]}}}, login)
        assert [run["state_type"] for run in runs if run["state_type"] != "SCHEDULED"] == ["COMPLETED"]
        here.surroundings["PREFECT_API_URL"] = api
        assert f"The Prefect server at {api} refuses access (401)." in here.fail("up", "--worker")
        here.surroundings["PREFECT_API_AUTH_STRING"] = login
        up_here = here.run("up", "--worker", "--detach")
        assert (up_here["server"], up_here["pool"], up_here["started"]) == (api, "evergreen", True)
        assert not here.run("up", "--worker", "--detach")["started"]
        workers = asked(api, "work_pools/evergreen/workers/filter", {"workers": None}, login)
        names = [worker_name(there.settings), worker_name(here.settings)]
        assert sorted(worker["name"] for worker in workers) == sorted(names)
        assert {service for service in SERVICES if holder(here.settings, service)} == {WORKER}
        Supervisor(there.settings).stop_worker()
        made = asked(api, "deployments/name/reconcile/reconcile", None, login)
        run = asked(api, f"deployments/{made['id']}/create_flow_run", {}, login)["id"]
        until(lambda: asked(api, f"flow_runs/{run}", None, login)["state"]["name"] == "Completed", 120)
        of_run = {"logs": {"flow_run_id": {"any_": [run]}}}
        mine = f"Worker '{worker_name(here.settings)}' submitting flow run"
        until(lambda: any(mine in line["message"] for line in asked(api, "logs/filter", of_run, login)))
        assert f"What is up is a worker of the Prefect server at {api}." in here.fail("up")
        words = subprocess.run(["ps", "-A", "-o", "args="], capture_output=True, text=True, check=True).stdout
        assert "planted-4711" not in words
        homes = (there.settings.root, here.settings.root)
        written = [place for home in homes for place in home.rglob("*") if place.is_file()]
        assert not [place for place in written if b"planted-4711" in place.read_bytes()]
        assert here.run("down")["ended"]
        assert asked(api, "work_pools/evergreen/workers/filter", {"workers": None}, login)
    finally:
        here.end()
        there.end()


def test_two_homes_and_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    """Each has a supervisord of its own; ending one leaves the other."""
    short, long = Settings(home=tmp_path / "a"), Settings(home=tmp_path / ("x" * 120) / "b")
    try:
        for settings in (short, long):
            Supervisor(settings).launch()
            assert len(os.fsencode(socket_path(settings))) < 104
        Supervisor(short).shut_down()
        assert (is_listening(short), is_listening(long)) == (False, True)
    finally:
        for settings in (short, long):
            if is_listening(settings):
                Supervisor(settings).shut_down()
    assert not is_listening(long)


def test_a_stack_of_an_earlier_version_is_not_taken_for_a_running_one(tmp_path: Path) -> None:
    """Its supervisord could restart no service under the new names: `up` says how to go on, `down` ends it."""
    settings = Settings(home=tmp_path)
    supervisor = Supervisor(settings)
    assert not supervisor.is_outdated()
    supervisor.launch()
    try:
        assert not supervisor.is_outdated()
        configuration = settings.stack / "supervisord.conf"
        configuration.write_text(configuration.read_text().replace("deployments.stack.services", "deployments.parts"))
        with pytest.raises(EvergreenError, match="earlier version") as error:
            up(settings, print)
        assert "evergreen down" in error.value.fix
        assert is_listening(settings)
    finally:
        assert down(settings)
    assert not is_listening(settings)


@pytest.mark.slow
def test_every_part_logs_json_lines(tmp_path: Path) -> None:
    """Each line of each part is one object, also what is printed; a run of the worker names itself in its lines."""
    home = home_in(tmp_path / "home", logs="json")
    try:
        told = home.run("up", "--detach")
        found = asked(told["api"], "deployments/name/reconcile/reconcile")
        run = asked(told["api"], f"deployments/{found['id']}/create_flow_run", {})["id"]
        until(lambda: state_of(told["api"], run) == "Completed")
    finally:
        home.end()
    logs = {file.stem: file.read_text() for file in Path(told["logs"]).glob("*.log") if file.stem != "supervisord"}
    lines = {name: [json.loads(line) for line in text.splitlines()] for name, text in logs.items()}
    assert set(lines) == set(SERVICES) - {"streams"} and all(lines.values())
    assert all({"time", "level", "logger", "message"} <= set(line) for part in lines.values() for line in part)
    ours = [line for line in lines[WORKER] if line.get("flow_run") == run]
    assert {"prefect.flow_runs", "prefect.task_runs"} <= {line["logger"] for line in ours}
    assert {"reconcile"} == {line["flow"] for line in ours if line["logger"] == "prefect.task_runs"}


def test_what_a_killed_supervisord_left_behind_is_ended(tmp_path: Path) -> None:
    """A part without its supervisord is known by its lock, also where the file's number means nothing any more."""
    settings = Settings(home=tmp_path)
    settings.stack.mkdir()
    assert not end_orphans(settings)
    for part in SERVICES:
        (settings.stack / f"{part}.pid").write_text(str(os.getpid()))
    assert not end_orphans(settings), "after a restart of the machine these numbers are of other processes"
    code = (
        "import time; from pathlib import Path;"
        "from deployments.stack.services import claim; from evergreen.settings import Settings;"
        f"claim(Settings(home=Path({str(tmp_path)!r})), 'worker'); print('held', flush=True); time.sleep(300)"
    )
    (settings.stack / f"{WORKER}.pid").unlink()
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True, cwd=PROJECT
    ) as orphan:
        assert orphan.stdout is not None
        assert orphan.stdout.readline() == b"held\n"
        with pytest.raises(EvergreenError, match="Another worker"):
            claim(settings, WORKER)
        assert end_orphans(settings)
        assert orphan.wait(10) == -signal.SIGTERM


def test_taken_ports_give_way_to_free_ones(tmp_path: Path) -> None:
    """A port that another listens on is not chosen, one that is free is."""
    with socket.socket() as taken, socket.socket() as free:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        free.bind(("127.0.0.1", 0))
        wanted = Ports(prefect=taken.getsockname()[1], mlflow=free.getsockname()[1])
        free.close()
        found = _choose_ports(wanted)
    assert found.prefect != wanted.prefect
    assert found.mlflow == wanted.mlflow


def test_the_cause_is_found_in_a_log_of_either_form(tmp_path: Path) -> None:
    """The last error, or the last line; of a line of JSON its message, with the type of its exception."""
    log = tmp_path / "part.log"
    assert _read_cause(log) == "it has no log."
    error = {"message": "The process ends with an error.", "exception": {"type": "OSError", "traceback": "..."}}
    for lines, cause in (
        (["OSError: no route", "bye"], "OSError: no route"),
        (['{"message": "starting"}', json.dumps(error), '{"message": "bye"}'], f"OSError: {error['message']}"),
        (["[1]", '{"message": "bye"}'], "bye"),
    ):
        log.write_text("\n".join(lines))
        assert _read_cause(log) == cause


@pytest.mark.slow
def test_a_database_that_is_not_there_is_told_as_the_cause(tmp_path: Path) -> None:
    """The line names the error in the part's log, not its farewell, and no password; nothing is left running."""
    home = home_in(tmp_path / "home", prefect_database="postgresql+asyncpg://nobody:s3cret@127.0.0.1:9/x")
    done = subprocess.run(
        home.words("up", "--detach"),
        env=home.surroundings,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    home.end()
    assert done.returncode == 2
    assert "Error: " in done.stderr
    assert "s3cret" not in done.stdout + done.stderr
    assert not is_listening(home.settings)
