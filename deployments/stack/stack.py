"""The local stack: Prefect server, MLflow, pages and a worker on this machine, brought up, waited for and ended.

`up` goes from whatever there is to all of it being healthy, so that it also mends a stack of which a part is missing.
What runs is known by locks and sockets, which vanish with their processes, never by a file that says so.
"""

from __future__ import annotations

import contextlib
import getpass
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
from deployments.stack.health import answers, is_ours, mark_ended, online
from deployments.stack.services import HOST, MLFLOW, PAGES, SERVER, WORKER, Ports, folder, read_ports, write_ports
from deployments.stack.supervisor import Supervisor, end_orphans, listening
from evergreen.errors import EvergreenError
from evergreen.registry.database import probe
from evergreen.settings import Settings
from evergreen.storage.locks import hold_file

_HEALTHY_SECONDS = 120
_ASK_SECONDS = 0.1
_ERROR = re.compile(r"[A-Za-z_.]+(Error|Exception): ")
_FAVOURITES = Ports(prefect=4200, mlflow=5000)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack that is up."""

    ports: Ports
    logs: Path
    mlflow: bool
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
            "logs": str(self.logs),
            "seconds": round(self.seconds, 1),
        }


def up(settings: Settings, say: Say) -> Stack:
    """Bring everything up and wait until it is healthy; `say` is told of each part.

    Raises:
        EvergreenError: a part does not come up; everything that was started is ended again.
    """
    began = time.monotonic()
    place = folder(settings)
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    with hold_file(place / "up.lock"):
        supervisor = Supervisor(settings)
        ports = read_ports(settings)
        if ports and listening(settings) and _complete(settings, supervisor, ports):
            return Stack(ports, place / "logs", _has_mlflow(settings), False, time.monotonic() - began)
        fresh = not listening(settings)
        try:
            ports = _bring_up(settings, supervisor, say)
        except BaseException:
            if fresh and listening(settings):
                supervisor.shut_down()
            raise
        return Stack(ports, place / "logs", _has_mlflow(settings), True, time.monotonic() - began)


def down(settings: Settings) -> bool:
    """End what `up` started; says whether there was anything.

    A run in progress is ended and marked as crashed, so that its slot is free and its decision can be answered anew.
    """
    running = listening(settings)
    if running:
        supervisor = Supervisor(settings)
        supervisor.end_worker()
        if (ports := read_ports(settings)) and is_ours(settings, ports):
            mark_ended(ports)
        supervisor.shut_down()
    return end_orphans(settings) or running


def be_interruptible() -> None:
    """Let Ctrl-C, a plain kill and a closed terminal end this process alike, by KeyboardInterrupt."""
    # A shell that puts a command into the background lets it ignore the first.
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.default_int_handler)


def stay(settings: Settings) -> None:
    """Return when the stack has ended."""
    while listening(settings):
        time.sleep(1)


def _bring_up(settings: Settings, supervisor: Supervisor, say: Say) -> Ports:
    if _has_mlflow(settings):
        probe(settings.tracking)
    with _choosing_ports():
        fresh = not listening(settings)
        if not fresh:
            ports = read_ports(settings) or _FAVOURITES
        else:
            end_orphans(settings)
            ports = _free(read_ports(settings) or _FAVOURITES)
            write_ports(settings, ports)
            supervisor.launch()
        supervisor.start(SERVER)
        supervisor.start(PAGES)
        if _has_mlflow(settings):
            supervisor.start(MLFLOW)
        _wait(supervisor, SERVER, lambda: is_ours(settings, ports), say)
        if _has_mlflow(settings):
            _wait(supervisor, MLFLOW, lambda: answers(f"{ports.mlflow_ui}/health"), say)
        _wait(supervisor, PAGES, lambda: answers(f"{ports.pages_ui}/health"), say)
    # Commands go to the server that a user has named; what is brought up here is for this one.
    os.environ["PREFECT_API_URL"] = ports.api
    prefect_home.use(settings)
    _deploy(settings, say)
    if fresh:
        # After a power cut there are runs that nobody runs any more.
        mark_ended(ports)
    begun = time.time()
    supervisor.start(WORKER)
    _wait(supervisor, WORKER, lambda: online(ports, begun), say)
    return ports


def _complete(settings: Settings, supervisor: Supervisor, ports: Ports) -> bool:
    parts = (SERVER, MLFLOW, PAGES, WORKER) if _has_mlflow(settings) else (SERVER, PAGES, WORKER)
    if any(supervisor.look(part).state != "RUNNING" for part in parts):
        return False
    return is_ours(settings, ports) and online(ports, 0)


def _has_mlflow(settings: Settings) -> bool:
    """Whether MLflow's UI is ours to start: where a tracking server is named, it is there already."""
    return not settings.tracking.startswith(("http://", "https://"))


def _deploy(settings: Settings, say: Say) -> None:
    """Bring prefect.yaml and the automations to the server; what a person paused or switched off stays so."""
    from deployments.automations import sync
    from deployments.manifest import apply

    began = time.monotonic()
    apply.apply()
    sync.sync(settings)
    say(f"deployments and automations, {time.monotonic() - began:.1f} s")


def _wait(supervisor: Supervisor, part: str, healthy: Callable[[], bool], say: Say) -> None:
    """Wait for a part's health; give up as soon as it ends by itself."""
    began = time.monotonic()
    while not healthy():
        process = supervisor.look(part)
        late = time.monotonic() - began > _HEALTHY_SECONDS
        if process.failed or late:
            log = folder(supervisor.settings) / "logs" / f"{part}.log"
            what = f"was not healthy within {_HEALTHY_SECONDS} s" if late else "ended by itself"
            raise EvergreenError(f"{part} {what}: {_cause(log)}", f"See {log}")
        time.sleep(_ASK_SECONDS)
    say(f"{part}, {time.monotonic() - began:.1f} s")


def _cause(log: Path) -> str:
    """The last error in a log, else its last line."""
    with contextlib.suppress(OSError):
        lines = log.read_text(errors="replace").strip().splitlines()
        errors = [line for line in lines if _ERROR.match(line)]
        return (errors or lines)[-1][:300] if lines else "its log is empty."
    return "it has no log."


@contextlib.contextmanager
def _choosing_ports() -> Iterator[None]:
    """One stack of a user at a time, until it listens: two that start together would choose the same ports."""
    with hold_file(Path(tempfile.gettempdir()) / f"evergreen-ports-{getpass.getuser()}.lock"):
        yield


def _free(wanted: Ports) -> Ports:
    """The wanted ports where they are free, others where they are not."""
    return Ports(prefect=_port(wanted.prefect), mlflow=_port(wanted.mlflow), pages=_port(wanted.pages))


def _port(wanted: int) -> int:
    for number in (wanted, 0):
        with socket.socket() as probe:
            # As the servers do: a port that was closed a moment ago is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, number))
                found: int = probe.getsockname()[1]
                return found
    raise EvergreenError(f"No port is free on {HOST}.", "Stop something that listens there.")
