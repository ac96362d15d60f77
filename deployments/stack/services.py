"""The services of the local stack; `python -m deployments.stack.services SERVICE` becomes one of them.

A service gets its environment here, in its own process: a database's password is never on a command line or in a file,
and each service knows only its own.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from deployments.stack.process_group import end, members
from evergreen import logs
from evergreen.errors import EvergreenError
from evergreen.naming import work_pool, worker
from evergreen.settings import PROJECT, Settings, load_settings
from evergreen.storage.atomic_write import write_text
from evergreen.storage.locks import try_lock
from evergreen.surroundings import prepare_environment

SERVER, MLFLOW, PAGES, SERVING, STREAMS, WORKER = SERVICES = (
    "prefect-server",
    "mlflow",
    "pages",
    "serving",
    "streams",
    "worker",
)
HOST = "127.0.0.1"
PAGES_PORT = 4300
SERVING_PORT = 8000
_LEAST_RUNS = 4
"""A retraining and a backtest may take hours; what runs every minute and every five minutes has to fit in beside."""
_MLFLOW_LOGS = Path(__file__).with_name("mlflow_logs.yaml")
_RUN_DAYS = 30
"""How long Prefect keeps ended runs, their tasks, logs and artifacts: as long as `evergreen clean` keeps all it deletes
at all. What a run decided is in the ledger and stays."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports on loopback where the user interfaces listen.

    `server` is the API of a Prefect server elsewhere, of which this home has nothing but a worker; else it is empty.
    """

    prefect: int
    mlflow: int
    pages: int = PAGES_PORT
    serving: int = SERVING_PORT
    server: str = ""

    @property
    def api(self) -> str:
        """The address of Prefect's API."""
        return self.server or f"http://{HOST}:{self.prefect}/api"

    @property
    def prefect_ui(self) -> str:
        """The address of Prefect's user interface."""
        return self.api.removesuffix("/api")

    @property
    def mlflow_ui(self) -> str:
        """The address of MLflow's user interface."""
        return f"http://{HOST}:{self.mlflow}"

    @property
    def pages_ui(self) -> str:
        """The address of the pages of the models."""
        return f"http://{HOST}:{self.pages}"

    @property
    def predictions(self) -> str:
        """The address where predictions are asked for."""
        return f"http://{HOST}:{self.serving}"


def read_ports(settings: Settings) -> Ports | None:
    """The ports that were used last; None if there were none yet."""
    try:
        return Ports(**json.loads((settings.stack / "ports.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def write_ports(settings: Settings, ports: Ports) -> None:
    """Store the ports for the next start."""
    write_text(settings.stack / "ports.json", json.dumps(asdict(ports)))


def shared_environment(settings: Settings) -> dict[str, str]:
    """The environment of every service, and of every command that has no other server, before what a user has set."""
    lines = logs.PREFECT if settings.logs == "json" else {}
    return {
        **lines,
        "PREFECT_HOME": str(settings.prefect_home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # The debug lines of a run are for the spinner of the terminal, not for the log in the UI.
        "PREFECT_LOGGING_HANDLERS_API_LEVEL": "INFO",
    }


def own_login(environ: Mapping[str, str]) -> dict[str, str]:
    """The login of our own server for its clients, which read another variable than the server does.

    It is for no other server.
    """
    login = environ.get("PREFECT_SERVER_API_AUTH_STRING")
    return {"PREFECT_API_AUTH_STRING": login} if login else {}


def environment(service: str, settings: Settings, ports: Ports) -> dict[str, str]:
    """What a service gets beyond what it inherits. Only the home and its server override what a user has set."""
    make = {SERVER: _server, MLFLOW: _mlflow, PAGES: _pages, SERVING: _serving, STREAMS: _streams, WORKER: _worker}
    # How often a server elsewhere is asked, and what it expects of its clients, is not ours to say.
    own = {} if ports.server else make[service](settings) | own_login(os.environ)
    # The folder of this Python comes first, so that `python -m prefect.engine` of the work pool is this one.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    home = {"EVERGREEN_HOME": str(settings.root), "PREFECT_API_URL": ports.api, "PATH": path}
    if not ports.server:
        home["EVERGREEN_PAGES"] = settings.pages or ports.pages_ui
    if service == WORKER:
        # Its runs have this Python and this project, whoever deployed what they run.
        paths = [str(PROJECT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        home |= {"EVERGREEN_BIN": str(Path(sys.executable).parent), "PYTHONPATH": os.pathsep.join(paths)}
    if service == MLFLOW:
        home |= {"MLFLOW_BACKEND_STORE_URI": settings.tracking}
        home |= {"MLFLOW_DEFAULT_ARTIFACT_ROOT": settings.artifact_uri or settings.artifact_folder.as_uri()}
    unset = shared_environment(settings) | own
    return {name: value for name, value in unset.items() if name not in os.environ} | home


def _server(settings: Settings) -> dict[str, str]:
    variables = {
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        # Prefect deletes events by itself, and runs only if it is told to; its own period for them is 90 days.
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(_RUN_DAYS * 86_400),
        # In the server's memory, as Prefect ships, a restart forgets who holds a slot: a run that asks to keep its own,
        # as it does when it begins, is then ended.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    }
    if not os.access(_prefect_folder() / "server", os.W_OK):
        # Prefect copies its user interface there at the first start, and shows none where it cannot.
        variables["PREFECT_UI_STATIC_DIRECTORY"] = str(settings.stack / "ui")
    if database := settings.prefect_database.get_secret_value():
        variables["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database
    if redis := settings.redis.get_secret_value():
        variables |= {
            "PREFECT_SERVER_EVENTS_MESSAGING_BROKER": "prefect_redis.messaging",
            "PREFECT_SERVER_EVENTS_MESSAGING_CACHE": "prefect_redis.messaging",
            "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
            "PREFECT_SERVER_WORKER_CHANNEL_CLEANUP_QUEUE_STORAGE": "prefect_redis.cleanup_queue",
            "PREFECT_REDIS_MESSAGING_URL": redis,
            # Otherwise the queue is looked for at localhost:6379, whatever the others use.
            "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_URL": redis,
            # Otherwise an emitter that stays connected waits ten seconds, or for its fifth event.
            "PREFECT_REDIS_MESSAGING_PUBLISHER_PUBLISH_EVERY": "1",
            "PREFECT_SERVER_DOCKET_URL": redis,
        }
    return variables


def _prefect_folder() -> Path:
    """Where Prefect is installed; found without importing it, which takes a second."""
    spec = find_spec("prefect")
    return Path(str(spec.origin)).parent if spec else Path()


def _mlflow(settings: Settings) -> dict[str, str]:
    variables = {
        # Without it MLflow starts five processes for LLM judges, which nothing here uses.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    if settings.logs == "json":
        variables |= {
            "MLFLOW_UVICORN_OPTS": f"--log-config {shlex.quote(str(_MLFLOW_LOGS))}",
            # MLflow's own handler would write text.
            "MLFLOW_CONFIGURE_LOGGING": "false",
        }
    return variables


def _pages(_settings: Settings) -> dict[str, str]:
    return {}


def _serving(_settings: Settings) -> dict[str, str]:
    return {}


def _streams(_settings: Settings) -> dict[str, str]:
    return {}


def _worker(_settings: Settings) -> dict[str, str]:
    return {
        "PREFECT_WORKER_QUERY_SECONDS": "0.5",
        # The worker and the server have the same version; this saves a request at the start of every run.
        "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
    }


def worker_name(settings: Settings) -> str:
    """The name of this home's worker on this machine."""
    return worker(settings.environment, platform.node(), settings.root)


def command(service: str, settings: Settings, ports: Ports) -> list[str]:
    """The command line of a service; it contains no secret."""
    python = [sys.executable, "-m"]
    return {
        SERVER: [*python, "deployments.stack.prefect_server", "--host", HOST, "--port", str(ports.prefect)],
        MLFLOW: [
            *python,
            "deployments.stack.mlflow_server",
            *("--host", HOST, "--port", str(ports.mlflow), "--workers", "1"),
        ],
        PAGES: [*python, "deployments.cli", "page", "--serve", "--port", str(ports.pages)],
        SERVING: [*python, "deployments.cli", "serve", "--port", str(ports.serving)],
        STREAMS: [*python, "deployments.cli", "stream"],
        WORKER: [
            *python,
            "deployments.stack.worker",
            *("--pool", work_pool(settings.environment), "--type", "process", "--name", worker_name(settings)),
            *("--limit", str(settings.parallel_runs or max(_LEAST_RUNS, os.cpu_count() or 1))),
        ],
    }[service]


def claim(settings: Settings, service: str) -> None:
    """Hold the service's lock as long as this process lives, whatever program it becomes.

    Raises:
        EvergreenError: another process holds it.
    """
    handle = os.open(settings.stack / f"{service}.pid", os.O_RDWR | os.O_CREAT, 0o600)
    for _ in range(20):
        # `holder` takes the lock for an instant.
        if try_lock(handle):
            break
        time.sleep(0.05)
    else:
        raise EvergreenError(f"Another {service} of {settings.root} is running.", "Run: evergreen down")
    previous = int(os.read(handle, 32) or 0)
    if previous and service != WORKER:
        # A killed process leaves its children behind, and one of them may hold the port. Those of the worker are flow
        # runs, which may still complete.
        end(members(os.getsid(0), group=previous))
    os.lseek(handle, 0, os.SEEK_SET)
    os.ftruncate(handle, 0)
    os.write(handle, str(os.getpid()).encode())
    os.set_inheritable(handle, True)


def holder(settings: Settings, service: str) -> int | None:
    """The process id of a running service; None if it does not run. A stored id without its lock means nothing."""
    try:
        with (settings.stack / f"{service}.pid").open() as file:
            if not try_lock(file.fileno(), shared=True):
                return int(file.read() or 0) or None
    except OSError:
        pass
    return None


def main(service: str) -> None:
    """Become a service."""
    settings = load_settings()
    ports = read_ports(settings)
    if ports is None:
        raise EvergreenError("The stack has no ports yet.", "Run: evergreen up")
    claim(settings, service)
    prepare_environment(os.environ)
    if service == MLFLOW:
        from evergreen.registry.client import Registry

        # Create the database under our own lock: two processes that create it at once leave it incomplete.
        Registry(settings).client  # noqa: B018
    os.environ.update(environment(service, settings, ports))
    os.chdir(PROJECT)
    arguments = command(service, settings, ports)
    sys.stdout.flush()
    os.execv(arguments[0], arguments)  # noqa: S606


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except EvergreenError as error:
        sys.exit(str(error))
