"""The registry's database before MLflow opens it, and what is meant when it complains.

MLflow retries a database that does not answer for minutes; a bounded look beforehand says so in seconds. A password in
the URI is never shown, also not where a driver repeats the URI in its message.
"""

from __future__ import annotations

import contextlib
import sqlite3
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import unquote, urlsplit

from evergreen.errors import RegistryError

_WAIT_SECONDS = 10
_SETTING = "EVERGREEN_TRACKING_URI"

# Words in a message, what they mean, what to do. The first that fits counts.
_MEANINGS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("locked",), "is locked by another program", "Wait until it is done, then run it again."),
    (
        ("out-of-date database schema", "Can't locate revision"),
        "has the schema of another MLflow version",
        "Back it up, then run: mlflow db upgrade URI - or use the MLflow that made it.",
    ),
    (
        ("No space left", "disk is full", "File too large", "Disk quota"),
        "cannot be written: the disk is full",
        "Free space, then run it again.",
    ),
    (("readonly database", "Permission denied"), "cannot be written", "Check the owner and mode of its files."),
    (
        ("not a database", "malformed", "unable to open database file"),
        "cannot be opened: it is not an SQLite database, or a damaged one",
        "Restore it from a backup, or move it away to start anew.",
    ),
    (
        ("password authentication failed", "no password supplied", "Access denied"),
        "refuses this user and password",
        f"Check them in {_SETTING}.",
    ),
    (
        ("refused", "resolve", "Name or service", "timed out", "timeout", "Max retries exceeded", "unreachable"),
        "cannot be reached",
        f"Start its server, or check the address in {_SETTING}.",
    ),
    (
        ("No module named", "Can't load plugin"),
        "needs a driver that is not installed",
        'Install it, such as pip install "psycopg[binary]" for postgresql+psycopg://...',
    ),
)


def masked(uri: str) -> str:
    """A URI as it may be shown."""
    return _without_secrets(uri, uri)


def explained(uri: str, error: Exception) -> RegistryError:
    """An error of MLflow, of the database or of the disk as one line."""
    text = str(error)
    for words, what, fix in _MEANINGS:
        if any(word in text for word in words):
            return RegistryError(f"The model registry {masked(uri)} {what}.", fix)
    line = (text.splitlines() or [""])[0][:300]
    said = _without_secrets(line, uri).rstrip(". ") or type(error).__name__
    return RegistryError(f"The model registry {masked(uri)} failed: {said}.", f"Check {_SETTING} and the database.")


def probe(uri: str) -> None:
    """Ask whether the database is there and can be written, bounded in time.

    An SQLite file that is not there yet is fine: MLflow makes it.

    Raises:
        RegistryError: it is not; one line says why.
    """
    try:
        scheme = urlsplit(uri).scheme.partition("+")[0]
        if scheme == "sqlite":
            _probe_file(uri)
        elif scheme in ("http", "https"):
            _probe_server(uri)
        elif scheme in ("postgresql", "mysql", "mssql"):
            _probe_database(uri)
        else:
            raise RegistryError(
                f"{_SETTING}: {masked(uri)!r} is not a database that MLflow can use.",
                "Such as sqlite:////folder/mlflow.db or postgresql+psycopg://user:password@host/name",
            )
    except (OSError, ValueError, sqlite3.DatabaseError, ImportError) as error:
        raise explained(uri, error) from None


def _probe_file(uri: str) -> None:
    path = Path(uri.removeprefix("sqlite:///").partition("?")[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        return
    with contextlib.closing(sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")


def _probe_server(uri: str) -> None:
    parts = urlsplit(uri)
    health = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}/health"
    # A server that answers at all is there; what it thinks of the user, MLflow asks next.
    with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(health, timeout=_WAIT_SECONDS):  # noqa: S310
        pass


def _probe_database(uri: str) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    option = "timeout" if uri.startswith("mssql") else "connect_timeout"
    try:
        engine = create_engine(uri, connect_args={option: _WAIT_SECONDS})
        try:
            engine.connect().close()
        finally:
            engine.dispose()
    except SQLAlchemyError as error:
        raise explained(uri, error) from None


def _without_secrets(text: str, uri: str) -> str:
    """`text` with the URI's password blotted out, as it is written there and as it is meant."""
    user = uri.partition("://")[2].rpartition("@")[0]
    secret = user.partition(":")[2]
    for word in (secret, unquote(secret)):
        if word:
            text = text.replace(word, "***")
    return text
