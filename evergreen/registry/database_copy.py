"""A copy of the registry's database as it was at one moment, and putting one back.

SQLite copies a file under its own lock, while others use it. PostgreSQL's own programs write and read a dump; what is
in it is read in the very transaction that they dump. Another environment's entries never go into a copy.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.errors import BusyError, EvergreenError, RegistryError
from evergreen.registry.contents import Contents, read_contents
from evergreen.registry.database import explained, masked
from evergreen.registry.moved_home import database_file, rewrite_prefix
from evergreen.registry.own_entries import drop_others
from evergreen.settings import Settings
from evergreen.sources.sql_errors import REGISTRY, open_engine, parse_url
from evergreen.storage.credentials import without_secrets

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection

_WAIT_SECONDS = 30
_EXAMPLE = "postgresql+psycopg://user:password@host/name"
_DIALECT = "postgresql"


def is_postgres(settings: Settings) -> bool:
    """Whether the registry is a PostgreSQL database.

    Raises:
        RegistryError: it is neither that nor an SQLite file, so that it cannot be copied here.
    """
    uri = settings.tracking
    if uri.startswith(("http:", "https:")):
        raise RegistryError(
            f"The model registry is behind the MLflow server {masked(uri)}, which has its database and its files.",
            "Run it where that database is, with EVERGREEN_TRACKING_URI set to the database's own address.",
        )
    if uri.startswith(_DIALECT):
        return True
    if not uri.startswith("sqlite:"):
        raise RegistryError(
            f"The model registry {masked(uri)} is neither SQLite nor PostgreSQL: it cannot be copied here.",
            "Back it up with the database's own programs while nothing runs, and the rest with EVERGREEN_HOME.",
        )
    return False


def sqlite_file(settings: Settings) -> Path:
    """The file of a registry that is an SQLite database, whether it is there or not."""
    return Path(settings.tracking.removeprefix("sqlite:///").partition("?")[0]).absolute()


def copy_sqlite(settings: Settings, target: Path) -> Contents:
    """Copy the database as it is at one moment to a file; returns what was in it.

    A database that lies outside of the home may be shared: where it has entries of others, only this environment's are
    copied, and nothing of what belongs to the server itself.

    Raises:
        RegistryError: it cannot be read.
        BusyError: another program has locked it for half a minute.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    busy = 0

    def give_up(_status: int, _remaining: int, _total: int) -> None:
        nonlocal busy
        busy += 1
        if busy > _WAIT_SECONDS * 10:
            raise BusyError(
                f"The model registry {masked(settings.tracking)} is locked by another program.", "Run it again."
            )

    source = sqlite_file(settings)
    with (
        _explained(settings),
        contextlib.closing(sqlite3.connect(source, timeout=_WAIT_SECONDS)) as database,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        # All pages in one step, under one lock: nothing is written between the first and the last.
        database.backup(copy, pages=-1, sleep=0.1, progress=give_up)
    with contextlib.closing(sqlite3.connect(target)) as copy, _explained(settings):
        contents = read_sqlite(copy, settings.environment)
        if contents.others and database_file(settings) is None:
            drop_others(copy, settings.environment, contents)
    return contents


def read_sqlite(database: sqlite3.Connection, environment: str) -> Contents:
    """What is in an SQLite database; nothing where it has no tables of MLflow's."""
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
        return Contents()
    return read_contents(lambda query: database.execute(query).fetchall(), environment)


def read_sqlite_file(path: Path, environment: str) -> Contents:
    """What is in the SQLite file at a path; nothing where there is none.

    Raises:
        RegistryError: it is no database, or cannot be read.
    """
    if not path.is_file():
        return Contents()
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=_WAIT_SECONDS)) as database:
            return read_sqlite(database, environment)
    except sqlite3.DatabaseError as error:
        raise explained(f"sqlite:///{path}", error) from None


def rewrite_sqlite(path: Path, places: Mapping[str, str]) -> int:
    """Let an SQLite file name the new place of each old one, both URIs; returns how many entries were changed."""
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        return sum(rewrite_prefix(database.execute, old, new) for old, new in places.items())


def dump_postgres(settings: Settings, target: Path) -> Contents:
    """Dump the schema that MLflow uses to a file, as it is at one moment; returns what is in it.

    Raises:
        RegistryError: pg_dump is not installed or fails, or the database has entries of another environment, which
            cannot be left out of a dump.
    """
    from sqlalchemy import text

    _require_program("pg_dump")
    target.parent.mkdir(parents=True, exist_ok=True)
    with _connect(settings) as connection, _explained(settings):
        contents = _read_postgres(connection, settings.environment)
        if contents.others:
            raise RegistryError(
                f"The model registry {masked(settings.tracking)} has entries of others as well: "
                f"{', '.join(contents.others[:5])}. A dump of PostgreSQL holds all of them.",
                "Give each environment a database of its own, or back up the whole database with pg_dump by hand.",
            )
        snapshot = connection.execute(text("SELECT pg_export_snapshot()")).scalar()
        schema = connection.execute(text("SELECT current_schema()")).scalar()
        words = ["--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}", f"--schema={schema}"]
        _run(settings, "pg_dump", *words, f"--file={target}")
        return contents


def restore_postgres(settings: Settings, dump: Path, places: Mapping[str, str]) -> int:
    """Read a dump into a database without tables of MLflow's, and let it name the new place of each old one.

    Returns how many entries were changed. What fails leaves the database as it was.

    Raises:
        RegistryError: pg_restore is not installed or fails.
    """
    from sqlalchemy import text

    _require_program("pg_restore")
    with _connect(settings) as connection:
        schema = connection.execute(text("SELECT current_schema()")).scalar()
    words = ["--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error", f"--schema={schema}"]
    _run(settings, "pg_restore", *words, f"--dbname={_address(_url(settings))}", str(dump), named=False)
    with _connect(settings) as connection:
        if _read_postgres(connection, settings.environment).revision is None:
            raise RegistryError(
                f"The backup's tables are of another schema than {schema!r}, which EVERGREEN_TRACKING_URI has.",
                "Let it name the schema that MLflow had (options=-csearch_path=NAME), in an empty database.",
            )

        def execute(change: str, words: Mapping[str, Any]) -> Any:
            return connection.execute(text(change), words)

        changed = sum(rewrite_prefix(execute, old, new) for old, new in places.items())
        connection.commit()
    return changed


def read_registry(settings: Settings) -> Contents:
    """What is in the registry now; nothing where it has no tables of MLflow's.

    Raises:
        RegistryError: it cannot be read.
    """
    if not is_postgres(settings):
        return read_sqlite_file(sqlite_file(settings), settings.environment)
    with _connect(settings) as connection:
        return _read_postgres(connection, settings.environment)


def _read_postgres(connection: Connection, environment: str) -> Contents:
    from sqlalchemy import inspect, text

    if not inspect(connection).has_table("alembic_version"):
        return Contents()
    return read_contents(lambda query: [tuple(row) for row in connection.execute(text(query))], environment)


@contextlib.contextmanager
def _connect(settings: Settings) -> Iterator[Connection]:
    """A transaction that sees one moment of the database, whatever others write."""
    place = f"The model registry {masked(settings.tracking)}"
    with (
        open_engine(_url(settings), place, REGISTRY, seconds=_WAIT_SECONDS) as engine,
        engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection,
    ):
        yield connection


def _url(settings: Settings) -> URL:
    return parse_url(settings.tracking, REGISTRY, _EXAMPLE)


def _address(url: URL) -> str:
    """As PostgreSQL's own programs read it, without the password: other users of the machine see their words."""
    return url.set(drivername=_DIALECT, password=None).render_as_string(hide_password=False)


def _require_program(name: str) -> None:
    if shutil.which(name) is None:
        raise RegistryError(
            f"The model registry is a PostgreSQL database, and {name} is not installed here.",
            "Install PostgreSQL's client programs, such as the package postgresql-client, of the server's version or "
            "a newer one; then run it again.",
        )


def _run(settings: Settings, program: str, *words: str, named: bool = True) -> None:
    """Run one of PostgreSQL's programs, with the password in its environment; `named` adds the database."""
    url = _url(settings)
    environment = {**os.environ, **({"PGPASSWORD": str(url.password)} if url.password else {})}
    more = [f"--dbname={_address(url)}"] if named else []
    done = subprocess.run([program, *words, *more], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["it says nothing"]
        said = without_secrets(lines[0], settings.tracking)[:300].rstrip(". ")
        raise RegistryError(
            f"{program} failed for the model registry {masked(settings.tracking)}: {said}.",
            "Check that it is of the server's version or newer, and what the user may do.",
        )


@contextlib.contextmanager
def _explained(settings: Settings) -> Iterator[None]:
    try:
        yield
    except EvergreenError:
        raise
    except (sqlite3.Error, OSError) as error:
        raise explained(settings.tracking, error) from None
