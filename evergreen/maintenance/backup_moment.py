"""One moment of tables and registry, taken while others write.

The versions of all tables are looked at, then the registry is copied, then the versions are looked at again. Where none
has changed, the copy of the registry and all of these versions stood side by side at the moment of the copy: it is the
state that a run killed at that moment leaves, which the next run knows how to go on from. Where one has changed, it is
done again. Nobody waits for it, and nothing is written to what is copied.

What is predicted and asked online is written without a pause. It names versions and is named by decisions, so that its
tables are looked at in between, before the registry: whatever they name is in it, and whatever a decision counted is in
them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from evergreen import naming
from evergreen.errors import BusyError
from evergreen.registry.contents import Contents
from evergreen.registry.database_copy import copy_sqlite, dump_postgres, is_postgres, sqlite_file
from evergreen.settings import Settings
from evergreen.storage.delta_log import LOG, newest_version
from evergreen.storage.file_tree import FileTree

_SERVED = frozenset({"predictions", "comparisons", "requests"})
"""Tables that are written as long as somebody asks."""
_PASSING = frozenset({"leases"})
"""Tables of what is true only while a process lives."""
_PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Moment:
    """Tables and registry as they stood side by side.

    Attributes:
        tables: the version of each table, by its folder below the lake.
        registry: `sqlite`, `postgresql`, or empty where there is none yet.
        contents: what is in the registry.
    """

    tables: dict[str, int]
    registry: str
    contents: Contents


def take_moment(
    settings: Settings, lake: FileTree, folder: Path, *, wait: float, sleep: Callable[[float], None] = time.sleep
) -> Moment:
    """Copy the registry into a backup's folder, at a moment at which no table is written.

    Args:
        settings: whose tables and registry.
        lake: its tables.
        folder: of the backup.
        wait: how many seconds to try.
        sleep: pauses between two tries.

    Raises:
        BusyError: the tables were written without a pause for that long.
        RegistryError: the registry cannot be copied.
    """
    deadline = time.monotonic() + wait
    while True:
        before = _versions(lake, _is_of_loop)
        served = _versions(lake, lambda name: name in _SERVED)
        registry, contents = _copy_registry(settings, folder)
        if before == _versions(lake, _is_of_loop):
            return Moment(dict(sorted({**before, **served}.items())), registry, contents)
        if time.monotonic() >= deadline:
            raise BusyError(
                f"The tables in {lake.name} were written without a pause for {wait:.0f} seconds.",
                "Run it again when fewer models are trained at the same time; nothing was kept of this backup.",
            )
        sleep(_PAUSE_SECONDS)


def _versions(lake: FileTree, wanted: Callable[[str], bool]) -> dict[str, int]:
    found = {}
    for folder in lake.children():
        # Of the environment without a name, what others have lies beside its models.
        for name in () if naming.is_place(folder) else lake.children(folder):
            table = f"{folder}/{name}"
            if name != LOG and wanted(name) and (version := newest_version(lake, table)) is not None:
                found[table] = version
    return found


def _is_of_loop(name: str) -> bool:
    return name not in _SERVED | _PASSING


def _copy_registry(settings: Settings, folder: Path) -> tuple[str, Contents]:
    if is_postgres(settings):
        return "postgresql", dump_postgres(settings, folder / naming.BACKUP_DUMP)
    if not sqlite_file(settings).is_file():
        return "", Contents()
    return "sqlite", copy_sqlite(settings, folder / naming.BACKUP_DATABASE)
