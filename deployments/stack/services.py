"""The parts of the local stack, each of which `python -m deployments.stack.services PART` becomes.

What a part needs is put into its environment here, in the part's own process: a database's password is never on a
command line or in a file, and each part knows only its own.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from deployments.manifest.work_pool import POOL
from deployments.stack.process_group import end, members
from evergreen.errors import EvergreenError
from evergreen.settings import PROJECT, Settings, load_settings
from evergreen.storage.atomic_write import write_text
from evergreen.storage.locks import try_lock

SERVER, MLFLOW, PAGES, WORKER = PARTS = ("prefect-server", "mlflow", "pages", "worker")
HOST = "127.0.0.1"
WORKER_NAME = "evergreen-up"
PAGES_PORT = 4300


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the user interfaces listen, on loopback."""

    prefect: int
    mlflow: int
    pages: int = PAGES_PORT

    @property
    def api(self) -> str:
        """Prefect's API."""
        return f"http://{HOST}:{self.prefect}/api"

    @property
    def prefect_ui(self) -> str:
        """For a browser."""
        return f"http://{HOST}:{self.prefect}"

    @property
    def mlflow_ui(self) -> str:
        """For a browser."""
        return f"http://{HOST}:{self.mlflow}"

    @property
    def pages_ui(self) -> str:
        """For a browser."""
        return f"http://{HOST}:{self.pages}"


def folder(settings: Settings) -> Path:
    """What the stack remembers: its ports, its logs, who runs."""
    return settings.root / "stack"


def read_ports(settings: Settings) -> Ports | None:
    """The ports that were used last; None before there were any."""
    try:
        return Ports(**json.loads((folder(settings) / "ports.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def write_ports(settings: Settings, ports: Ports) -> None:
    """Remember the ports."""
    write_text(folder(settings) / "ports.json", json.dumps(asdict(ports)))


def shared_environment(settings: Settings) -> dict[str, str]:
    """What every part, and every command that has no other server, is told; what a user has set stands."""
    return {
        "PREFECT_HOME": str(settings.root / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # The spinner is told of every fit of a search; the UI's log is for what was decided.
        "PREFECT_LOGGING_HANDLERS_API_LEVEL": "INFO",
    }


def environment(part: str, settings: Settings, ports: Ports) -> dict[str, str]:
    """What a part is told beyond what it inherits; only where this home and its server are stands above what is set."""
    own = {SERVER: _server, MLFLOW: _mlflow, PAGES: _pages, WORKER: _worker}[part](settings)
    # The folder of this Python comes first: the pool's `python -m prefect.engine` means this one.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    home = {"EVERGREEN_HOME": str(settings.root), "PREFECT_API_URL": ports.api, "PATH": path}
    home["EVERGREEN_PAGES"] = settings.pages or ports.pages_ui
    kept = {name: value for name, value in (shared_environment(settings) | own).items() if name not in os.environ}
    return kept | home


def _server(settings: Settings) -> dict[str, str]:
    told = {
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    }
    if database := settings.prefect_database.get_secret_value():
        told["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database
    if redis := settings.redis.get_secret_value():
        told |= {
            "PREFECT_SERVER_EVENTS_MESSAGING_BROKER": "prefect_redis.messaging",
            "PREFECT_SERVER_EVENTS_MESSAGING_CACHE": "prefect_redis.messaging",
            "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
            "PREFECT_SERVER_WORKER_CHANNEL_CLEANUP_QUEUE_STORAGE": "prefect_redis.cleanup_queue",
            "PREFECT_REDIS_MESSAGING_URL": redis,
            # An emitter that stays connected would otherwise wait ten seconds, or for its fifth event.
            "PREFECT_REDIS_MESSAGING_PUBLISHER_PUBLISH_EVERY": "1",
            "PREFECT_SERVER_DOCKET_URL": redis,
        }
    return told


def _mlflow(settings: Settings) -> dict[str, str]:
    return {
        "MLFLOW_BACKEND_STORE_URI": settings.tracking,
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": settings.artifacts.as_uri(),
        # Runners of LLM judges: five more processes that poll, and nothing here asks for them.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }


def _pages(_settings: Settings) -> dict[str, str]:
    return {}


def _worker(_settings: Settings) -> dict[str, str]:
    return {
        "PREFECT_WORKER_QUERY_SECONDS": "0.5",
        # The server is the one that was started with it: a request less at the start of every run.
        "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
    }


def command(part: str, ports: Ports) -> list[str]:
    """The words of a part's command; nothing secret is among them."""
    python = [sys.executable, "-m"]
    return {
        SERVER: [*python, "deployments.stack.prefect_server", "--host", HOST, "--port", str(ports.prefect)],
        MLFLOW: [*python, "mlflow", "server", "--host", HOST, "--port", str(ports.mlflow), "--workers", "1"],
        PAGES: [*python, "deployments.cli.main", "page", "--serve", "--port", str(ports.pages)],
        WORKER: [*python, "prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", WORKER_NAME],
    }[part]


def claim(settings: Settings, part: str) -> None:
    """Hold the part's lock for as long as this process lives, whatever program it becomes.

    Raises:
        EvergreenError: another process is this part already.
    """
    handle = os.open(folder(settings) / f"{part}.pid", os.O_RDWR | os.O_CREAT, 0o600)
    for _ in range(20):
        # A look by `holder` takes the lock for an instant.
        if try_lock(handle):
            break
        time.sleep(0.05)
    else:
        raise EvergreenError(f"Another {part} of {settings.root} is running.", "Run: evergreen down")
    left = int(os.read(handle, 32) or 0)
    if left and part != WORKER:
        # A process that was killed leaves its children behind, and one of them its port. The worker's are flow runs,
        # which may well come to their end.
        end(members(os.getsid(0), group=left))
    os.lseek(handle, 0, os.SEEK_SET)
    os.ftruncate(handle, 0)
    os.write(handle, str(os.getpid()).encode())
    os.set_inheritable(handle, True)


def holder(settings: Settings, part: str) -> int | None:
    """The process id of a running part, None where it does not run: a number without its lock means nothing."""
    try:
        with (folder(settings) / f"{part}.pid").open() as file:
            if not try_lock(file.fileno(), shared=True):
                return int(file.read() or 0) or None
    except OSError:
        pass
    return None


def main(part: str) -> None:
    """Become a part."""
    settings = load_settings()
    ports = read_ports(settings)
    if ports is None:
        raise EvergreenError("The stack has no ports yet.", "Run: evergreen up")
    claim(settings, part)
    os.environ.update(environment(part, settings, ports))
    if part == MLFLOW:
        from evergreen.registry.client import Registry

        # Makes the database under our own lock: two that make it at once leave it half made.
        Registry(settings).client  # noqa: B018
    os.chdir(PROJECT)
    words = command(part, ports)
    sys.stdout.flush()
    os.execv(words[0], words)  # noqa: S606


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except EvergreenError as error:
        sys.exit(str(error))
