"""A state folder that was moved, copied or restored elsewhere: MLflow stores where its files are as absolute paths.

They are rewritten in the database, on request. Resolving them at each reading would not do: MLflow itself writes new
runs where the experiment's stored path says, and serves them from there. Nor is it done unasked: where one folder is
mounted at two places, each side would take it from the other.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from evergreen import naming
from evergreen.errors import RegistryError
from evergreen.registry.contents import PLACES
from evergreen.registry.database import explained
from evergreen.settings import Settings
from evergreen.storage.locks import machine_locks

_WAIT_SECONDS = 10


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
        home = old.parent if settings.environment else old
        raise RegistryError(
            f"The model registry of {new} looks for its files under {old}: the folder was moved, copied or restored.",
            f"Let it look under {new}: evergreen doctor --fix"
            + (f" - or use the old place: EVERGREEN_HOME={home}" if old.is_dir() else ""),
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
                number = rewrite_prefix(database.execute, prefix, new)
            done.append(Rewritten(_folder(prefix).parent, settings.root, number))
    return tuple(done)


def rewrite_prefix(execute: Callable[[str, Mapping[str, Any]], Any], old: str, new: str) -> int:
    """Let every place below one folder, or at it, name another one; both are URIs. Returns how many were changed.

    `execute` runs a statement with its parameters, by name, and returns what has the number of changed rows.
    """
    words = {"old": old, "new": new, "length": len(old), "below": f"{old}/"}
    return sum(
        execute(
            f"UPDATE {table} SET {column} = :new || substr({column}, :length + 1) "  # noqa: S608
            f"WHERE {column} = :old OR substr({column}, 1, :length + 1) = :below",
            words,
        ).rowcount
        for table, column in PLACES
    )


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


def database_file(settings: Settings) -> Path | None:
    """The database's file; None where it is no SQLite file of this home."""
    scheme, _, rest = settings.tracking.partition(":///")
    path = Path(rest.partition("?")[0])
    return path if scheme == "sqlite" and path.resolve().is_relative_to(settings.root) else None


@contextlib.contextmanager
def _open(settings: Settings) -> Iterator[sqlite3.Connection | None]:
    """The registry's database; None where it is no SQLite file of this home, or not there yet."""
    path = database_file(settings)
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
