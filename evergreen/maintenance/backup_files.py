"""The parts of a backup that are files: tables, reports and refused batches, landing folders."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from evergreen import naming
from evergreen.errors import BusyError, DataError, EvergreenError
from evergreen.maintenance import delta_files
from evergreen.markdown import many
from evergreen.settings import Settings
from evergreen.sources.file_formats import inspect_ends
from evergreen.storage import delta_log
from evergreen.storage.delta_table import Table
from evergreen.storage.file_tree import FileTree
from evergreen.storage.kept_files import KeptFiles


@dataclass(frozen=True, slots=True)
class Tellers:
    """Who is told how it goes: `step` of what is done, `progress` of how many files of how many."""

    step: Callable[[str], None] = lambda _text: None
    progress: Callable[[int, int], None] = lambda _done, _all: None


@dataclass(slots=True)
class Remarks:
    """What a backup says of itself: what is not in it, and what was damaged before; sentences."""

    left_out: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def copy_table(lake: FileTree, table: str, version: int, folder: Path, remarks: Remarks, tell: Tellers) -> int:
    """Copy a table's files up to a version; returns how many there are.

    Raises:
        BusyError: some were deleted meanwhile.
    """
    target = folder / naming.BACKUP_LAKE
    log = delta_log.log_files(lake, table, version)
    try:
        data = delta_log.added_files(lake, table, log)
    except DataError:
        raise deleted_meanwhile(f"{lake.name}/{table}") from None
    # A data file may have been deleted long ago: then no version that can be read needs it.
    gone = set(lake.fetch_all((*log, *data), target, progress=tell.progress))
    if gone & set(log):
        raise deleted_meanwhile(f"{lake.name}/{table}")
    for problem in _damage(target / table, version):
        if delta_log.newest_version(lake, table) != version:
            raise deleted_meanwhile(f"{lake.name}/{table}")
        remarks.damaged.append(f"The table {table}: {problem}.")
    return len(log) + len(data) - len(gone)


def _damage(folder: Path, version: int) -> tuple[str, ...]:
    import pyarrow as pa

    try:
        return delta_files.damage(Table(str(folder), pa.schema([])), version)
    except EvergreenError:
        return ("its log cannot be read",)


def copy_kept(settings: Settings, folder: Path, tell: Tellers) -> int:
    """Copy drift reports and refused batches; returns how many files there are."""
    tree, number = FileTree(settings.report_place, "EVERGREEN_REPORTS"), 0
    for kept in naming.KEPT_FOLDERS:
        names = [file.name for file in KeptFiles(settings.report_place).listing(kept)]
        number += len(names) - len(tree.fetch_all(names, folder / naming.BACKUP_REPORTS, progress=tell.progress))
    return number


def copy_landing(settings: Settings, folder: Path, remarks: Remarks) -> int:
    """Copy landing folders, but for files that are still being written: a half one would land as a whole one."""
    tree, number, half = FileTree(str(settings.landing), "EVERGREEN_HOME"), 0, 0
    for name in (file.name for file in tree.listing()):
        path, target = settings.landing / name, folder / naming.BACKUP_LANDING / name
        status = path.stat()
        ends = inspect_ends(path, status.st_size, abs(datetime.now().timestamp() - status.st_mtime))
        if ends.reason or ends.doubt or naming.PART_PREFIX in name:
            half += 1
        elif _is_database(path):
            target.parent.mkdir(parents=True, exist_ok=True)
            with (
                contextlib.closing(sqlite3.connect(path)) as database,
                contextlib.closing(sqlite3.connect(target)) as copy,
            ):
                database.backup(copy)
            number += 1
        else:
            number += tree.fetch(name, target)
    if half:
        remarks.left_out.append(f"{many(half, 'file')} of landing folders that may still be written to.")
    return number


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def deleted_meanwhile(what: str) -> BusyError:
    """The error for what a cleaning deleted between the moment of a backup and its copy."""
    return BusyError(f"Files of {what} were deleted while they were copied, by a cleaning.", "Run it again.")
