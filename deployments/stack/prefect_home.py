"""Make Prefect store its state in EVERGREEN_HOME. Call it before Prefect is first imported."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from deployments.stack import temporary_server
from deployments.stack.services import HOST, Ports, own_login, read_ports, shared_environment
from deployments.stack.supervisor import is_listening
from evergreen.errors import EvergreenError
from evergreen.settings import Settings
from evergreen.storage.database_template import place
from evergreen.storage.schema_revision import PREFECT, describe_newer, is_newest, sqlite_revision
from evergreen.surroundings import make_home

_DATABASE = ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL")


def use(settings: Settings) -> None:
    """Set Prefect's environment, except what the user has set. The server is this home's stack, if it is up."""
    defaults = shared_environment(settings) | {
        # A temporary server takes up to half a minute on a busy laptop.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    }
    if settings.logs == "text":
        # The terminal shows Evergreen's own lines; the Prefect UI shows Prefect's.
        defaults["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    if not has_server():
        ports = _running_stack(settings)
        if ports is None or not ports.server:
            defaults |= own_login(os.environ)
        if ports is not None:
            pages = settings.pages or ("" if ports.server else ports.pages_ui)
            defaults |= {"PREFECT_API_URL": ports.api, "EVERGREEN_PAGES": pages}
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
    if ports.server:
        return ports
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
    path = _database_file(settings, stack=stack)
    newer = describe_newer(sqlite_revision(path), PREFECT) if path else None
    if newer is not None:
        raise EvergreenError(f"Prefect's database {path} {newer[0]}.", newer[1])


def place_database(settings: Settings, *, stack: bool = False) -> bool:
    """Give a fresh home a database that needs no migrations; whether its schema is the newest one now.

    Args:
        settings: as in `require_known_database`.
        stack: likewise.
    """
    path = _database_file(settings, stack=stack)
    if path is None:
        return False
    if path == _home(settings) / "prefect.db":
        with contextlib.suppress(OSError):
            # What is wrong with the folder, the server says.
            path.parent.mkdir(parents=True, exist_ok=True)
            place(PREFECT, path)
    return is_newest(sqlite_revision(path), PREFECT)


def start_server(settings: Settings) -> None:
    """Start a temporary server for this command, unless one is set; it comes up while the libraries are loaded."""
    if has_server() or _is_set_in_a_file(settings):
        return
    temporary_server.start(_home(settings), migrated=place_database(settings))


def _is_set_in_a_file(settings: Settings) -> bool:
    """Whether a profile or a configuration file of Prefect's may name a server: then Prefect decides, as ever."""
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH") or _home(settings) / "profiles.toml")
    for path in (profiles, Path(".env"), Path("prefect.toml"), Path("pyproject.toml")):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            text = path.read_text(encoding="utf-8").lower()
            if "prefect_api_url" in text or (path.name == "prefect.toml" and "url" in text) or "[tool.prefect" in text:
                return True
    return False


def _home(settings: Settings) -> Path:
    return Path(os.environ.get("PREFECT_HOME") or settings.prefect_home)


def _database_file(settings: Settings, *, stack: bool) -> Path | None:
    """The SQLite file of a server; None where its database is another one."""
    url = next((os.environ[name] for name in _DATABASE if os.environ.get(name)), "")
    if stack and not url:
        url = settings.prefect_database.get_secret_value()
    if url and not url.startswith("sqlite"):
        return None
    return Path(url.partition(":///")[2].partition("?")[0]) if url else _home(settings) / "prefect.db"


def has_server() -> bool:
    """Whether a server is set; without one, each process starts a temporary one."""
    return bool(os.environ.get("PREFECT_API_URL"))
