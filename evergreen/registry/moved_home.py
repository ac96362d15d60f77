"""A state folder that was moved, copied or restored elsewhere: MLflow stores where its files are as absolute paths.

They are rewritten in the database, on request. Resolving them at each reading would not do: MLflow itself writes new
runs where the experiment's stored path says, and serves them from there. Nor is it done unasked: where one folder is
mounted at two places, each side would take it from the other.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

from evergreen import naming
from evergreen.errors import RegistryError
from evergreen.registry.database import explained
from evergreen.settings import Settings
from evergreen.storage.locks import machine_locks

_WAIT_SECONDS = 10
_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Where MLflow stores the place of files, as a URI."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The stored places of one former home that now name this one: `number` of them, from `old` to `new`."""

    old: Path
    new: Path
    number: int


def require_own_places(settings: Settings) -> None:
    """Refuse a database that looks for the home's files where the home is no more.

    Raises:
        RegistryError: the home was moved, copied or restored; one line names both places.
    """
    for prefix in _foreign_prefixes(settings):
        old, new = _folder(prefix).parent, settings.root
        raise RegistryError(
            f"The model registry of {new} looks for its files under {old}: the folder was moved, copied or restored.",
            f"Let it look under {new}: evergreen doctor --fix"
            + (f" - or use the old place: EVERGREEN_HOME={old}" if old.is_dir() else ""),
        )


def rewrite_places(settings: Settings) -> tuple[Rewritten, ...]:
    """Let the database look for files in this home instead of the one that it was moved or copied from.

    One transaction for each former home, under the lock of whoever opens the registry. No file is touched.

    Raises:
        BusyError: another process opens the registry.
        RegistryError: the database cannot be written.
    """
    now, new = datetime.now(UTC), settings.artifact_folder.as_uri()
    done = list[Rewritten]()
    with machine_locks(settings).hold("registry", "opening", wait=_WAIT_SECONDS, now=now), _open(settings) as database:
        if database is None:
            return ()
        for prefix in _prefixes(database, settings):
            with database:
                number = sum(_rewrite(database, *column, prefix, new) for column in _COLUMNS)
            done.append(Rewritten(_folder(prefix).parent, settings.root, number))
    return tuple(done)


def _rewrite(database: sqlite3.Connection, table: str, column: str, old: str, new: str) -> int:
    change = f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?"  # noqa: S608
    return database.execute(change, (new, len(old) + 1, len(old) + 1, f"{old}/")).rowcount


def _foreign_prefixes(settings: Settings) -> tuple[str, ...]:
    with _open(settings) as database:
        return () if database is None else _prefixes(database, settings)


def _prefixes(database: sqlite3.Connection, settings: Settings) -> tuple[str, ...]:
    """The artifact folders of other homes that experiments name, as URIs.

    An experiment that a person keeps elsewhere is left alone: its name is not below `artifacts`, or its folder is there
    and this home has none of the name.
    """
    try:
        experiments = database.execute("SELECT name, artifact_location FROM experiments").fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        # MLflow has not made its tables yet.
        return ()
    found = []
    for name, location in experiments:
        if naming.model_of(settings.environment, name) is None:
            # Another environment's, whose folder is not this one's to know.
            continue
        own = f"/{settings.artifact_folder.name}/{name}"
        if not str(location).startswith("file:") or not str(location).endswith(own):
            continue
        folder = _folder(location)
        here = settings.artifact_folder / name
        if folder.parent.resolve() != settings.artifact_folder.resolve() and (here.is_dir() or not folder.exists()):
            found.append(location.removesuffix(f"/{name}"))
    return tuple(dict.fromkeys(found))


def _database(settings: Settings) -> Path | None:
    """The database's file; None where it is no SQLite file of this home."""
    scheme, _, rest = settings.tracking.partition(":///")
    path = Path(rest.partition("?")[0])
    return path if scheme == "sqlite" and path.resolve().is_relative_to(settings.root) else None


@contextlib.contextmanager
def _open(settings: Settings) -> Iterator[sqlite3.Connection | None]:
    """The registry's database; None where it is no SQLite file of this home, or not there yet."""
    path = _database(settings)
    if path is None or not path.is_file():
        yield None
        return
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=_WAIT_SECONDS)) as database:
            yield database
    except sqlite3.DatabaseError as error:
        raise explained(settings.tracking, error) from None


def _folder(uri: str) -> Path:
    return Path(url2pathname(urlparse(uri).path))
