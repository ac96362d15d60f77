"""Make Prefect store its state in EVERGREEN_HOME. Call it before Prefect is first imported."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from deployments.stack.services import HOST, Ports, read_ports, shared_environment
from deployments.stack.supervisor import is_listening
from evergreen.errors import EvergreenError
from evergreen.settings import Settings
from evergreen.storage.schema_revision import describe_newer, sqlite_revision
from evergreen.surroundings import make_home

_DATABASE = ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL")


def use(settings: Settings) -> None:
    """Set Prefect's environment, except what the user has set. The server is this home's stack, if it is up."""
    defaults = shared_environment(settings) | {
        # A temporary server takes up to half a minute on a busy laptop.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        # The terminal shows Evergreen's own lines; the Prefect UI shows Prefect's.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    }
    if not has_server() and (ports := _running_stack(settings)) is not None:
        defaults |= {"PREFECT_API_URL": ports.api, "EVERGREEN_PAGES": settings.pages or ports.pages_ui}
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    try:
        make_home(settings.root)
        Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EvergreenError(
            f"The folder {os.environ['PREFECT_HOME']} cannot be created: {error.strerror}.",
            "Set EVERGREEN_HOME to a folder of yours.",
        ) from None


def _running_stack(settings: Settings) -> Ports | None:
    """The ports of this home's stack; None unless it is up and its server answers. This takes a millisecond."""
    ports = read_ports(settings)
    if ports is None or not is_listening(settings):
        return None
    try:
        socket.create_connection((HOST, ports.prefect), timeout=1).close()
    except OSError:
        return None
    return ports


def require_known_database(settings: Settings, *, stack: bool = False) -> None:
    """Refuse an SQLite database that a newer Prefect has used. A server on it ends with a traceback, or hangs.

    Args:
        settings: where the database is by default.
        stack: it is the database of `evergreen up`; otherwise that of a command's temporary server, if it needs one.

    Raises:
        EvergreenError: this Prefect does not know its schema.
    """
    if not stack and has_server():
        return
    url = next((os.environ[name] for name in _DATABASE if os.environ.get(name)), "")
    if stack and not url:
        url = settings.prefect_database.get_secret_value()
    if url and not url.startswith("sqlite"):
        return
    home = Path(os.environ.get("PREFECT_HOME") or settings.prefect_home)
    path = Path(url.partition(":///")[2].partition("?")[0]) if url else home / "prefect.db"
    newer = describe_newer(sqlite_revision(path), "prefect", "server/database/_migrations/versions/sqlite")
    if newer is not None:
        raise EvergreenError(f"Prefect's database {path} {newer[0]}.", newer[1])


def has_server() -> bool:
    """Whether a server is set; without one, each process starts a temporary one."""
    return bool(os.environ.get("PREFECT_API_URL"))
