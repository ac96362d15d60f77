"""supervisord: starts the services, restarts them when they die, rotates their logs, stops them.

It is controlled over a socket in the file system that only its owner can open. Its configuration file is the same for
every installation. What differs comes from its environment, so that no path has to be escaped and no secret is stored.
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

from deployments.stack.process_group import end, group_of, is_alive, members
from deployments.stack.services import MLFLOW, PAGES, SERVER, SERVICES, SERVING, STREAMS, WORKER, holder
from evergreen import naming
from evergreen.errors import EvergreenError
from evergreen.settings import PROJECT, Settings

# A socket's path may have 104 to 108 bytes; supervisord first creates it with a dot and its process id appended.
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

# A service with a higher priority starts later and stops earlier: the worker stops while the server still runs.
_PROGRAM = """
[program:{service}]
command = %(ENV_EVERGREEN_STACK_PYTHON)s -m {module} {service}
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
stdout_logfile = %(ENV_EVERGREEN_STACK)s/logs/{service}.log
stdout_logfile_maxbytes = 10MB
stdout_logfile_backups = 2
"""
_SERVICES_MODULE = "deployments.stack.services"
_PATIENCE = {SERVER: 10, MLFLOW: 5, PAGES: 5, SERVING: 35, STREAMS: 35, WORKER: 15}


@dataclass(frozen=True, slots=True)
class Process:
    """A service as supervisord sees it; `state` is one of its words, such as RUNNING."""

    service: str
    state: str
    pid: int

    @property
    def failed(self) -> bool:
        """Whether the service has ended without being stopped."""
        return self.state in ("BACKOFF", "EXITED", "FATAL")


def socket_path(settings: Settings) -> Path:
    """The socket of supervisord: in the state folder, or under a short name if that path is too long."""
    path = settings.stack / "supervisor.sock"
    if len(os.fsencode(path)) <= _SOCKET_BYTES:
        return path
    name = hashlib.sha256(os.fsencode(settings.root)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / naming.socket_folder(os.getuid()) / f"{name}.sock"


def is_listening(settings: Settings) -> bool:
    """Whether this home's supervisord runs; takes no longer than a millisecond."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(socket_path(settings)))
        except OSError:
            return False
    return True


class Supervisor:
    """The supervisord of one home."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def launch(self) -> None:
        """Start it as a daemon; it starts no service by itself.

        Raises:
            EvergreenError: it does not start.
        """
        folder = self.settings.stack
        (folder / "logs").mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        _make_own_folder(socket_path(self.settings).parent)
        self._configuration.write_text(_configuration_text())
        self._configuration.chmod(0o600)
        arguments = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._configuration)]
        result = subprocess.run(
            arguments, env=self._environment(), cwd=PROJECT, capture_output=True, text=True, check=False
        )
        deadline = time.monotonic() + 15
        while result.returncode == 0 and time.monotonic() < deadline:
            if is_listening(self.settings):
                return
            time.sleep(0.05)
        lines = (result.stderr or result.stdout).strip().splitlines()
        log = folder / "logs" / "supervisord.log"
        raise EvergreenError(f"supervisord did not start: {lines[-1] if lines else 'no message'}.", f"See {log}.")

    def is_outdated(self) -> bool:
        """Whether a version of Evergreen that had other modules or services started it: it could not start them."""
        with contextlib.suppress(OSError):
            text = self._configuration.read_text()
            return any(f"-m {_SERVICES_MODULE} {service}\n" not in text for service in SERVICES)
        return False

    def start(self, service: str) -> None:
        """Start a service that does not run; does not wait for it."""
        from xmlrpc.client import Fault

        # A fault means that it runs already.
        with self._connect() as rpc, contextlib.suppress(Fault):
            rpc.startProcess(service, False)

    def inspect(self, service: str) -> Process:
        """The state of a service."""
        with self._connect() as rpc:
            info = rpc.getProcessInfo(service)
        return Process(service, str(info["statename"]), int(info["pid"]))

    def stop_worker(self) -> None:
        """Stop the worker, and end every flow run that it or a killed worker has started."""
        from xmlrpc.client import Fault

        groups = {self.inspect(service).pid for service in (SERVER, MLFLOW, PAGES, SERVING, STREAMS)}
        with self._connect() as rpc:
            daemon = int(rpc.getPID())
            # A fault means that it does not run.
            with contextlib.suppress(Fault):
                rpc.stopProcess(WORKER, True)
        end([process for process in members(daemon) if process != daemon and group_of(process) not in groups])

    def shut_down(self) -> None:
        """Stop every service, the worker first, and supervisord itself; then end what is left of its session."""
        from xmlrpc.client import Fault

        with self._connect() as rpc:
            daemon = int(rpc.getPID())
            # A fault means that it is shutting down already.
            with contextlib.suppress(Fault):
                rpc.shutdown()
        deadline = time.monotonic() + _STOP_SECONDS
        while is_alive(daemon) and time.monotonic() < deadline:
            time.sleep(0.05)
        end(members(daemon))

    @property
    def _configuration(self) -> Path:
        return self.settings.stack / "supervisord.conf"

    def _environment(self) -> dict[str, str]:
        variables = {
            "EVERGREEN_HOME": str(self.settings.home_folder),
            "EVERGREEN_STACK": str(self.settings.stack),
            "EVERGREEN_STACK_SOCKET": str(socket_path(self.settings)),
            "EVERGREEN_STACK_PYTHON": shlex.quote(sys.executable),
            "EVERGREEN_STACK_PROJECT": str(PROJECT),
        }
        return os.environ | variables

    @contextlib.contextmanager
    def _connect(self) -> Iterator[Any]:
        from xmlrpc.client import ServerProxy

        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(None, None, f"unix://{socket_path(self.settings)}")
        try:
            yield ServerProxy("http://localhost", transport).supervisor
        finally:
            transport.close()


def end_orphans(settings: Settings) -> bool:
    """End what a killed supervisord has left behind; returns whether there was anything."""
    running = [process for service in SERVICES if (process := holder(settings, service))]
    for session in {os.getsid(process) for process in running}:
        end(members(session))
    return bool(running)


def _configuration_text() -> str:
    umask = os.umask(0o077)
    os.umask(umask)
    programs = [
        _PROGRAM.format(service=service, module=_SERVICES_MODULE, priority=10 * number, patience=_PATIENCE[service])
        for number, service in enumerate(SERVICES, 1)
    ]
    return "".join([_DAEMON.format(umask=umask), *programs])


def _make_own_folder(folder: Path) -> None:
    """Create a folder, and refuse one that another user has created."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise EvergreenError(f"{folder} belongs to another user.", "Set EVERGREEN_HOME to a shorter path.")
