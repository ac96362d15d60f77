"""The upkeep of Delta tables: whether their files are whole, and what of them nobody needs any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from evergreen.storage.delta_errors import explain_write_errors, first_line
from evergreen.storage.delta_table import KEEP_LOG, SMALL_FILE_BYTES, Table

if TYPE_CHECKING:
    from evergreen.storage.delta_table import OpenTable


@dataclass(frozen=True, slots=True)
class Unneeded:
    """Files of a table that no version in use needs: how many, and how many bytes."""

    files: int
    bytes: int


def damage(table: Table, version: int, *, read: bool = False) -> tuple[str, ...]:
    """What is wrong with the files of a version: gone, of another size than the log says, or unreadable.

    Only with `read` are they read, one after the other.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    opened = table.open(version)
    actions = pa.table(opened.get_add_actions())
    sizes, found = _sizes(opened, actions["path"].to_pylist()), []
    for (name, size), wanted in zip(sizes.items(), actions["size_bytes"].to_pylist(), strict=True):
        if size is None:
            found.append(f"{name} is missing")
        elif size != wanted:
            found.append(f"{name} has {size} bytes, and was written with {wanted}")
        elif read:
            try:
                pq.read_table(name, filesystem=opened.to_pyarrow_dataset().filesystem)
            except (OSError, pa.ArrowException) as error:
                found.append(f"{name} cannot be read ({first_line(error)})")
    return tuple(found)


def unneeded(table: Table, hours: int, keep: Sequence[int] = ()) -> Unneeded:
    """What `vacuum` would delete."""
    with explain_write_errors(table.uri):
        opened = table.open()
        found = opened.vacuum(hours, enforce_retention_duration=False, full=True, keep_versions=list(keep))
        # What an earlier one deleted is named again.
        there = [size for size in _sizes(opened, found).values() if size is not None]
        return Unneeded(len(there), sum(there))


def vacuum(table: Table, hours: int, keep: Sequence[int] = ()) -> None:
    """Delete the files that neither the newest version nor one of `keep` needs.

    What was in use within the last `hours`, or was written within them by a run that has not committed it yet,
    stays.

    Raises:
        EvergreenError: the table cannot be written; what was deleted until then is needed by nobody.
    """
    with explain_write_errors(table.uri):
        table.open().vacuum(hours, dry_run=False, enforce_retention_duration=False, full=True, keep_versions=list(keep))


def small(table: Table) -> int:
    """How many files `compact` would join."""
    import pyarrow as pa

    sizes = pa.table(table.open().get_add_actions())["size_bytes"].to_pylist()
    return sum(size < SMALL_FILE_BYTES for size in sizes)


def compact(table: Table) -> None:
    """Join small files, which every checkpoint names anew; earlier versions keep theirs until a `vacuum`."""
    with explain_write_errors(table.uri):
        table.open().optimize.compact(target_size=SMALL_FILE_BYTES)


def forget(table: Table, days: int, keep: Sequence[int] = (), *, now: datetime) -> int:
    """Delete the log of versions older than `days` at `now` (aware) and older than each of `keep`.

    It is deleted up to a checkpoint, from which every younger version can be read. Returns how many commits are
    forgotten; where none is that old nothing is written.
    """
    with explain_write_errors(table.uri):
        opened = table.open()
        known = opened.history()
        kept = [commit["timestamp"] / 1000 for commit in known if commit["version"] in keep]
        # A day for a clock that is off, and one for what is counted in whole days.
        days = max([days, *(int((now.timestamp() - at) / 86_400) for at in kept)]) + 2
        if not known or known[-1]["timestamp"] / 1000 > now.timestamp() - days * 86_400:
            return 0
        wanted = KEEP_LOG | {"delta.logRetentionDuration": f"interval {days} days"}
        if wanted.items() - opened.metadata().configuration.items():
            opened.alter.set_table_properties(wanted)
        table.open().cleanup_metadata()
        return max(len(known) - len(table.open().history()), 0)


def _sizes(table: OpenTable, files: Sequence[str]) -> dict[str, int | None]:
    """The size of each of a table's files; None for one that is not there."""
    found = table.to_pyarrow_dataset().filesystem.get_file_info(list(files)) if files else []
    return {name: info.size for name, info in zip(files, found, strict=True)}
