"""supervisord: starts the parts, starts them again when they die, rotates their logs, ends them.

Asked over a socket in the file system that only its owner can open. What is in its file is the same for everybody: all
that differs comes through its environment, so that no path has to be escaped and nothing secret is written down.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.stack.process_group import alive, end, group_of, members
from deployments.stack.services import MLFLOW, PAGES, PARTS, SERVER, WORKER, folder, holder
from evergreen.errors import EvergreenError
from evergreen.settings import PROJECT, Settings

# A path of a socket has 104 to 108 bytes; supervisord makes it under this name, a dot and its process id first.
_SOCKET_BYTES = 90
_STOP_SECONDS = 60

_DAEMON = """\
[unix_http_server]
file = %(ENV_EVERGREEN_STACK_SOCKET)s
chmod = 0600

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisord]
logfile = %(ENV_EVERGREEN_STACK)s/logs/supervisord.log
logfile_maxbytes = 5MB
logfile_backups = 1
pidfile = %(ENV_EVERGREEN_STACK)s/supervisord.pid
childlogdir = %(ENV_EVERGREEN_STACK)s/logs
umask = {umask:03o}
"""

# Those with a higher priority are started later and ended earlier: the worker, while the server still hears of it.
_PART = """
[program:{part}]
command = %(ENV_EVERGREEN_STACK_PYTHON)s -m deployments.stack.services {part}
directory = %(ENV_EVERGREEN_STACK_PROJECT)s
priority = {priority}
autostart = false
autorestart = true
startsecs = 1
startretries = 1000000
stopsignal = TERM
stopwaitsecs = {patience}
stopasgroup = true
killasgroup = true
redirect_stderr = true
stdout_logfile = %(ENV_EVERGREEN_STACK)s/logs/{part}.log
stdout_logfile_maxbytes = 10MB
stdout_logfile_backups = 2
"""
_PATIENCE = {SERVER: 10, MLFLOW: 5, PAGES: 5, WORKER: 15}


@dataclass(frozen=True, slots=True)
class Process:
    """A part as supervisord sees it; `state` is one of its words, such as RUNNING."""

    part: str
    state: str
    pid: int

    @property
    def failed(self) -> bool:
        """Whether it ended by itself."""
        return self.state in ("BACKOFF", "EXITED", "FATAL")


def socket_path(settings: Settings) -> Path:
    """Where supervisord listens: in the state folder, or under a short name where that path is too long."""
    place = folder(settings) / "supervisor.sock"
    if len(os.fsencode(place)) <= _SOCKET_BYTES:
        return place
    name = hashlib.sha256(os.fsencode(settings.root)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"evergreen-{os.getuid()}" / f"{name}.sock"


def listening(settings: Settings) -> bool:
    """Whether this home's supervisord is there; takes no longer than a millisecond."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(socket_path(settings)))
        except OSError:
            return False
    return True


class Supervisor:
    """One home's supervisord."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def launch(self) -> None:
        """Start it as a daemon; it starts no part by itself.

        Raises:
            EvergreenError: it does not come up.
        """
        place = folder(self.settings)
        (place / "logs").mkdir(parents=True, exist_ok=True, mode=0o700)
        place.chmod(0o700)
        _own(socket_path(self.settings).parent)
        umask = os.umask(0o077)
        os.umask(umask)
        configuration = place / "supervisord.conf"
        parts = (_PART.format(part=part, priority=10 * n, patience=_PATIENCE[part]) for n, part in enumerate(PARTS, 1))
        configuration.write_text("".join([_DAEMON.format(umask=umask), *parts]))
        configuration.chmod(0o600)
        words = [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)]
        started = subprocess.run(
            words, env=self._environment(), cwd=PROJECT, capture_output=True, text=True, check=False
        )
        deadline = time.monotonic() + 15
        while started.returncode == 0 and time.monotonic() < deadline:
            if listening(self.settings):
                return
            time.sleep(0.05)
        said = (started.stderr or started.stdout).strip().splitlines()
        log = place / "logs" / "supervisord.log"
        raise EvergreenError(f"supervisord did not start: {said[-1] if said else 'it says nothing'}.", f"See {log}.")

    def start(self, part: str) -> None:
        """Start a part that does not run; does not wait for it."""
        from xmlrpc.client import Fault

        # It runs already.
        with self._ask() as ask, contextlib.suppress(Fault):
            ask.startProcess(part, False)

    def look(self, part: str) -> Process:
        """How a part is."""
        with self._ask() as ask:
            told = ask.getProcessInfo(part)
        return Process(part, str(told["statename"]), int(told["pid"]))

    def end_worker(self) -> None:
        """End the worker and every flow run it has started, also those of a worker that was killed."""
        from xmlrpc.client import Fault

        kept = {self.look(part).pid for part in (SERVER, MLFLOW, PAGES)}
        with self._ask() as ask:
            number = int(ask.getPID())
            # It does not run.
            with contextlib.suppress(Fault):
                ask.stopProcess(WORKER, True)
        end([one for one in members(number) if one != number and group_of(one) not in kept])

    def shut_down(self) -> None:
        """End every part, the worker first, and supervisord itself; whatever is left of its session too."""
        from xmlrpc.client import Fault

        with self._ask() as ask:
            number = int(ask.getPID())
            # It is shutting down already.
            with contextlib.suppress(Fault):
                ask.shutdown()
        deadline = time.monotonic() + _STOP_SECONDS
        while alive(number) and time.monotonic() < deadline:
            time.sleep(0.05)
        end(members(number))

    def _environment(self) -> dict[str, str]:
        told = {
            "EVERGREEN_HOME": str(self.settings.root),
            "EVERGREEN_STACK": str(folder(self.settings)),
            "EVERGREEN_STACK_SOCKET": str(socket_path(self.settings)),
            "EVERGREEN_STACK_PYTHON": shlex.quote(sys.executable),
            "EVERGREEN_STACK_PROJECT": str(PROJECT),
        }
        return os.environ | told

    @contextlib.contextmanager
    def _ask(self) -> Iterator[Any]:
        from xmlrpc.client import ServerProxy

        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(None, None, f"unix://{socket_path(self.settings)}")
        try:
            yield ServerProxy("http://localhost", transport).supervisor
        finally:
            transport.close()


def end_orphans(settings: Settings) -> bool:
    """End what a supervisord that was killed has left behind; says whether there was anything."""
    running = [number for part in PARTS if (number := holder(settings, part))]
    for session in {os.getsid(number) for number in running}:
        end(members(session))
    return bool(running)


def _own(place: Path) -> None:
    """A folder that nobody else can have laid out for us."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if place.stat().st_uid != os.getuid():
        raise EvergreenError(f"{place} belongs to another user.", "Set EVERGREEN_HOME to a shorter path.")
