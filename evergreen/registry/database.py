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
from urllib.parse import urlsplit

from evergreen.errors import EvergreenError, RegistryError
from evergreen.sources import sql_errors
from evergreen.sources.sql_errors import REGISTRY, open_engine, parse_url
from evergreen.storage import database_template
from evergreen.storage.credentials import without_secrets
from evergreen.storage.schema_revision import MLFLOW, QUERY, describe_newer, sqlite_revision

_WAIT_SECONDS = 10
_SETTING = REGISTRY.setting
_EXAMPLE = "postgresql+psycopg://user:password@host/name"


def masked(uri: str) -> str:
    """A URI as it may be shown."""
    return without_secrets(uri, uri)


def _place(uri: str) -> str:
    return f"The model registry {masked(uri)}"


def explained(uri: str, error: Exception) -> EvergreenError:
    """An error of MLflow, of the database or of the disk as one line."""
    line = (str(error).splitlines() or [""])[0][:300]
    message = without_secrets(line, uri).rstrip(". ") or type(error).__name__
    return sql_errors.explain_database_error(error, _place(uri), REGISTRY, f"failed: {message}")


def probe(uri: str) -> None:
    """Ask whether the database is there and can be written, bounded in time.

    An SQLite file that is not there yet is fine: MLflow makes it.

    Raises:
        RegistryError: it is not, or a newer MLflow has used it; one line says why.
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
                f"Such as sqlite:////folder/mlflow.db or {_EXAMPLE}",
            )
    except (OSError, ValueError, sqlite3.DatabaseError, ImportError) as error:
        raise explained(uri, error) from None


def _probe_file(uri: str) -> None:
    path = Path(uri.removeprefix("sqlite:///").partition("?")[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        if path.is_absolute():
            database_template.place(MLFLOW, path)
        return
    with contextlib.closing(sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    _require_known(sqlite_revision(path), uri)


def _probe_server(uri: str) -> None:
    parts = urlsplit(uri)
    health = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}/health"
    # A server that answers at all is there; what it thinks of the user, MLflow asks next.
    with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(health, timeout=_WAIT_SECONDS):  # noqa: S310
        pass


def _probe_database(uri: str) -> None:
    from sqlalchemy import inspect, text

    url = parse_url(uri, REGISTRY, _EXAMPLE)
    with open_engine(url, _place(uri), REGISTRY, seconds=_WAIT_SECONDS) as engine, engine.connect() as connection:
        fresh = not inspect(connection).has_table("alembic_version")
        found = None if fresh else connection.execute(text(QUERY)).scalar()
    _require_known(found, uri)


def _require_known(found: str | None, uri: str) -> None:
    newer = describe_newer(found, MLFLOW)
    if newer is not None:
        raise RegistryError(f"{_place(uri)} {newer[0]}.", newer[1])
