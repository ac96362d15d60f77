"""Maintenance of Delta tables: whether their files are intact, and which files nobody needs any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from evergreen.storage.delta_errors import explain_write_errors, first_line
from evergreen.storage.delta_table import KEEP_LOG, SMALL_FILE_BYTES, Table
from evergreen.storage.table_files import dataset_of

if TYPE_CHECKING:
    from evergreen.storage.delta_table import OpenTable


@dataclass(frozen=True, slots=True)
class Unneeded:
    """Files of a table that no version in use needs: their number and their total size in bytes."""

    files: int
    bytes: int


def damage(table: Table, version: int, *, read: bool = False) -> tuple[str, ...]:
    """What is wrong with the files of a version: missing, of another size than the log says, or unreadable.

    The files are read, one after the other, only with `read`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    opened = table.open(version)
    actions = pa.table(opened.get_add_actions())
    sizes, problems = _sizes(opened, actions["path"].to_pylist()), []
    for (name, size), written_size in zip(sizes.items(), actions["size_bytes"].to_pylist(), strict=True):
        if size is None:
            problems.append(f"{name} is missing")
        elif size != written_size:
            problems.append(f"{name} has {size} bytes, and was written with {written_size}")
        elif read:
            try:
                pq.read_table(name, filesystem=dataset_of(opened).filesystem)
            except (OSError, pa.ArrowException) as error:
                problems.append(f"{name} cannot be read ({first_line(error)})")
    return tuple(problems)


def unneeded(table: Table, hours: int, keep: Sequence[int] = ()) -> Unneeded:
    """The files that `vacuum` would delete."""
    with explain_write_errors(table.uri):
        opened = table.open()
        names = opened.vacuum(hours, enforce_retention_duration=False, full=True, keep_versions=list(keep))
        # Delta also names files that an earlier vacuum deleted.
        sizes = [size for size in _sizes(opened, names).values() if size is not None]
        return Unneeded(len(sizes), sum(sizes))


def vacuum(table: Table, hours: int, keep: Sequence[int] = ()) -> None:
    """Delete the files that neither the newest version nor one of the versions `keep` needs.

    A file stays that was in use within the last `hours`, or was written within them by a run that has not committed it
    yet.

    Raises:
        EvergreenError: the table cannot be written; what was deleted until then is needed by nobody.
    """
    with explain_write_errors(table.uri):
        table.open().vacuum(hours, dry_run=False, enforce_retention_duration=False, full=True, keep_versions=list(keep))


def small_files(table: Table) -> int:
    """How many files `compact` would merge."""
    import pyarrow as pa

    sizes = pa.table(table.open().get_add_actions())["size_bytes"].to_pylist()
    return sum(size < SMALL_FILE_BYTES for size in sizes)


def compact(table: Table) -> None:
    """Merge small files, each of which every checkpoint lists; earlier versions keep their files until a `vacuum`."""
    with explain_write_errors(table.uri):
        table.open().optimize.compact(target_size=SMALL_FILE_BYTES)


def forget(table: Table, days: int, keep: Sequence[int] = (), *, now: datetime) -> int:
    """Delete the log of versions older than `days` at `now` (aware) and older than each of the versions `keep`.

    The log is deleted up to a checkpoint, from which every later version can be read. Returns how many commits are
    forgotten. If none is that old, nothing is written.
    """
    with explain_write_errors(table.uri):
        opened = table.open()
        history = opened.history()
        kept_times = [commit["timestamp"] / 1000 for commit in history if commit["version"] in keep]
        # One day more for a clock that is off, and one because Delta counts in whole days.
        days = max([days, *(int((now.timestamp() - time) / 86_400) for time in kept_times)]) + 2
        if not history or history[-1]["timestamp"] / 1000 > now.timestamp() - days * 86_400:
            return 0
        properties = KEEP_LOG | {"delta.logRetentionDuration": f"interval {days} days"}
        if properties.items() - opened.metadata().configuration.items():
            opened.alter.set_table_properties(properties)
        table.open().cleanup_metadata()
        return max(len(history) - len(table.open().history()), 0)


def _sizes(table: OpenTable, files: Sequence[str]) -> dict[str, int | None]:
    """The size in bytes of each of a table's files; None for one that is missing."""
    infos = dataset_of(table).filesystem.get_file_info(list(files)) if files else []
    return {name: info.size for name, info in zip(files, infos, strict=True)}
