"""Start and stop the local stack: Prefect server, MLflow, pages, server of predictions and worker on this machine.

`up` starts what is missing and waits until every service is healthy, so it also repairs a stack of which a service has
died. Whether something runs is known from locks and sockets, which vanish with their processes, and never from a file.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.stack import prefect_home
from deployments.stack.health import answers, is_online, is_ours, mark_crashed
from deployments.stack.prefect_home import place_database, require_known_database
from deployments.stack.services import (
    HOST,
    MLFLOW,
    PAGES,
    SERVER,
    SERVICES,
    SERVING,
    STREAMS,
    WORKER,
    Ports,
    own_login,
    read_ports,
    write_ports,
)
from deployments.stack.supervisor import Supervisor, end_orphans, is_listening
from evergreen import naming
from evergreen.actor import login_name
from evergreen.errors import EvergreenError
from evergreen.registry.database import probe
from evergreen.registry.moved_home import require_own_places
from evergreen.settings import Settings
from evergreen.storage.locks import hold_file
from evergreen.surroundings import make_home
from serving.options import is_asked_for
from serving.streams.options import is_asked_for as is_stream_asked_for

_HEALTHY_SECONDS = 120
_POLL_SECONDS = 0.1
_ERROR = re.compile(r"[A-Za-z_.]+(Error|Exception): ")
DEFAULT_PORTS = Ports(prefect=4200, mlflow=5000)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack that is up.

    Attributes:
        ports: where it listens.
        logs: the folder of its logs.
        mlflow: whether MLflow is one of its services.
        serving: whether a model asks to be served.
        started: whether it was not up before.
        seconds: how long it took.
    """

    ports: Ports
    logs: Path
    mlflow: bool
    serving: bool
    started: bool
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        return {
            "up": True,
            "started": self.started,
            "prefect": self.ports.prefect_ui,
            "api": self.ports.api,
            "mlflow": self.ports.mlflow_ui if self.mlflow else None,
            "pages": self.ports.pages_ui,
            "serving": self.ports.predictions if self.serving else None,
            "logs": str(self.logs),
            "seconds": round(self.seconds, 1),
        }


def up(settings: Settings, say: Say) -> Stack:
    """Start every service that does not run and wait until all are healthy; `say` gets a line for each.

    Raises:
        EvergreenError: a service does not become healthy, and everything that was started is stopped again; or the
            stack that runs is one of an earlier version.
    """
    began = time.monotonic()
    folder = settings.stack
    make_home(folder)
    with hold_file(folder / "up.lock"):
        supervisor = Supervisor(settings)
        ports, running = read_ports(settings), is_listening(settings)
        if running and supervisor.is_outdated():
            raise EvergreenError(
                "The stack that is up was started by an earlier version of Evergreen.",
                "Run: evergreen down, then: evergreen up",
            )
        if ports and running and ports.server:
            raise EvergreenError(
                f"What is up is a worker of the Prefect server at {ports.server}.",
                "Run: evergreen down, then: evergreen up",
            )
        if ports and running and _is_complete(settings, supervisor, ports):
            return _stack(settings, ports, began, started=False)
        try:
            ports = _start_services(settings, supervisor, say)
        except BaseException:
            if not running and is_listening(settings):
                supervisor.shut_down()
            raise
        return _stack(settings, ports, began, started=True)


def _stack(settings: Settings, ports: Ports, began: float, *, started: bool) -> Stack:
    seconds = time.monotonic() - began
    logs, mlflow, serving = settings.stack / "logs", _has_mlflow(settings), is_asked_for(settings)
    return Stack(ports=ports, logs=logs, mlflow=mlflow, serving=serving, started=started, seconds=seconds)


def down(settings: Settings) -> bool:
    """Stop what `up` started; returns whether there was anything.

    A run in progress is ended and marked as crashed, so that its slot is free and its decision can be answered again.
    """
    running = is_listening(settings)
    if running:
        supervisor = Supervisor(settings)
        supervisor.stop_worker()
        if (ports := read_ports(settings)) and not ports.server and is_ours(settings, ports):
            mark_crashed(settings, ports)
        supervisor.shut_down()
    return end_orphans(settings) or running


def be_interruptible() -> None:
    """Make Ctrl-C, a plain kill and a closed terminal all raise KeyboardInterrupt in this process."""
    # A shell that starts a command in the background makes it ignore Ctrl-C.
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.default_int_handler)


def wait_until_down(settings: Settings) -> None:
    """Return when the stack has stopped."""
    while is_listening(settings):
        time.sleep(1)


def _start_services(settings: Settings, supervisor: Supervisor, say: Say) -> Ports:
    if _has_mlflow(settings):
        probe(settings.tracking)
        require_own_places(settings)
    require_known_database(settings, stack=True)
    place_database(settings, stack=True)
    with _lock_port_choice():
        fresh = not is_listening(settings)
        ports = read_ports(settings) or DEFAULT_PORTS
        if fresh:
            end_orphans(settings)
            ports = _choose_ports(ports)
            write_ports(settings, ports)
            supervisor.launch()
        _start_servers(settings, supervisor, ports, say)
    # Commands go to the server that a user has named; what is deployed here is for this one.
    os.environ.update({"PREFECT_API_URL": ports.api} | own_login(os.environ))
    prefect_home.use(settings)
    _deploy(settings, say)
    if fresh:
        # After a power cut there are runs that no process runs any more.
        mark_crashed(settings, ports)
    started = time.time()
    supervisor.start(WORKER)
    wait_until_healthy(supervisor, WORKER, lambda: is_online(settings, ports, started), say)
    return ports


def _start_servers(settings: Settings, supervisor: Supervisor, ports: Ports, say: Say) -> None:
    healthy: dict[str, Callable[[], bool]] = {SERVER: lambda: is_ours(settings, ports)}
    if _has_mlflow(settings):
        healthy[MLFLOW] = lambda: answers(f"{ports.mlflow_ui}/health")
    healthy[PAGES] = lambda: answers(f"{ports.pages_ui}/health")
    if is_asked_for(settings):
        # Alive, not ready: a model that has no champion yet is served as soon as it has one.
        healthy[SERVING] = lambda: answers(f"{ports.predictions}/v2/health/live")
    if is_stream_asked_for(settings):
        # It waits for its broker and for a champion by itself.
        healthy[STREAMS] = lambda: supervisor.inspect(STREAMS).state == "RUNNING"
    for service in healthy:
        supervisor.start(service)
    for service, is_healthy in healthy.items():
        wait_until_healthy(supervisor, service, is_healthy, say)


def _is_complete(settings: Settings, supervisor: Supervisor, ports: Ports) -> bool:
    optional = {
        MLFLOW: _has_mlflow(settings),
        SERVING: is_asked_for(settings),
        STREAMS: is_stream_asked_for(settings),
    }
    services = [service for service in SERVICES if optional.get(service, True)]
    if any(supervisor.inspect(service).state != "RUNNING" for service in services):
        return False
    return is_ours(settings, ports) and is_online(settings, ports, 0)


def _has_mlflow(settings: Settings) -> bool:
    """Whether MLflow is one of our services: if a tracking server is set, it runs elsewhere."""
    return not settings.tracking.startswith(("http://", "https://"))


def _deploy(settings: Settings, say: Say) -> None:
    """Bring prefect.yaml and the automations to the server; what a person paused or switched off stays so."""
    from deployments.automations import sync
    from deployments.manifest import apply

    began = time.monotonic()
    apply.apply(settings.environment)
    sync.sync(settings)
    say(f"deployments and automations, {time.monotonic() - began:.1f} s")


def wait_until_healthy(supervisor: Supervisor, service: str, is_healthy: Callable[[], bool], say: Say) -> None:
    """Wait until a service is healthy; give up as soon as it ends by itself."""
    began = time.monotonic()
    while not is_healthy():
        process = supervisor.inspect(service)
        late = time.monotonic() - began > _HEALTHY_SECONDS
        if process.failed or late:
            log = supervisor.settings.stack / "logs" / f"{service}.log"
            what = f"was not healthy within {_HEALTHY_SECONDS} s" if late else "ended by itself"
            raise EvergreenError(f"{service} {what}: {_read_cause(log)}", f"See {log}")
        time.sleep(_POLL_SECONDS)
    say(f"{service}, {time.monotonic() - began:.1f} s")


def _read_cause(log: Path) -> str:
    """The last error in a log, or else its last line."""
    with contextlib.suppress(OSError):
        lines = [_as_text(line) for line in log.read_text(errors="replace").strip().splitlines()]
        errors = [line for line in lines if _ERROR.match(line)]
        return (errors or lines)[-1][:300] if lines else "its log is empty."
    return "it has no log."


def _as_text(line: str) -> str:
    """A line of a log as a person reads it; a line of JSON by its message and its exception."""
    try:
        told = json.loads(line)
        error = told.get("exception")
        return f"{error['type']}: {error.get('message', told['message'])}" if error else str(told["message"])
    except (ValueError, AttributeError, KeyError, TypeError):
        return line


@contextlib.contextmanager
def _lock_port_choice() -> Iterator[None]:
    """Let one stack of a user at a time choose its ports, until it listens: two at once would choose the same ones."""
    with hold_file(Path(tempfile.gettempdir()) / naming.ports_lock(login_name() or str(os.getuid()))):
        yield


def _choose_ports(wanted: Ports) -> Ports:
    """The wanted ports where they are free, others where they are not."""
    prefect, mlflow, pages, serving = map(_free_port, (wanted.prefect, wanted.mlflow, wanted.pages, wanted.serving))
    return Ports(prefect, mlflow, pages, serving)


def _free_port(wanted: int) -> int:
    for number in (wanted, 0):
        with socket.socket() as probe:
            # As the servers do it: a port that was closed a moment ago is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, number))
                port: int = probe.getsockname()[1]
                return port
    raise EvergreenError(f"No port is free on {HOST}.", "Stop a program that listens there.")
