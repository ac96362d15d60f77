"""Rows of a small table by the files that hold them, for whoever reads hundreds of tables at once.

A ledger has a file for each of its last entries, and what a file holds is known from the table's log. So a few files
are opened and not all of them. Arrow's data sets are not used: importing them imports pandas, which takes longer than
reading the ledgers of twenty models.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from evergreen.naming import COMMIT_PREFIX
from evergreen.storage.delta_errors import read_error
from evergreen.storage.delta_table import MAINTENANCE, OpenTable, Table
from evergreen.storage.table_files import added_files, file_system_of

if TYPE_CHECKING:
    import pyarrow as pa

RowPlace: TypeAlias = tuple[str, int]
"""A file and the number of a row in it."""
_EPOCH = datetime.fromtimestamp(0, UTC)
_LOG, _COMMIT, _DIGITS = "_delta_log", ".json", 20
_LOOKED_THROUGH = 8
"""Commits among which one that is no maintenance is looked for; several of those in a row are rare."""


@dataclass(frozen=True, slots=True)
class RowFile:
    """A file of a table.

    Attributes:
        path: within the table.
        least: the least value of some columns, by Delta's statistics; a column of which nobody knows is left out.
        most: the greatest value, likewise. A text may be cut in both. A time is a whole number, and rounded down to a
            millisecond.
    """

    path: str
    least: Mapping[str, Any]
    most: Mapping[str, Any]

    def only(self, column: str) -> Any:
        """The value that a column has in every row; None where it has several, or nobody knows."""
        value = self.least.get(column)
        return value if value is not None and value == self.most.get(column) else None


def list_row_files(opened: OpenTable, columns: Sequence[str]) -> tuple[RowFile, ...]:
    """The files of an opened version, with the range of some columns."""
    actions = added_files(opened)
    known = {
        f"{side}.{name}": _plain(actions[f"{side}.{name}"])
        for side in ("min", "max")
        for name in columns
        if f"{side}.{name}" in actions.column_names
    }

    def limits(side: str, place: int) -> dict[str, Any]:
        values = {name: known.get(f"{side}.{name}", ()) for name in columns}
        return {name: each[place] for name, each in values.items() if each and each[place] is not None}

    paths = actions["path"].to_pylist()
    return tuple(RowFile(path, limits("min", place), limits("max", place)) for place, path in enumerate(paths))


class RowReader:
    """Reads rows of some files of an opened version: first a few columns of all rows, then all of some rows."""

    def __init__(self, table: Table, opened: OpenTable, paths: Sequence[str]) -> None:
        """Read nothing yet.

        Raises:
            EvergreenError: the table cannot be read; so do the methods.
        """
        import pyarrow.parquet as pq

        self.table = table
        with self._explain():
            system = file_system_of(opened)
            self._files = {path: pq.ParquetFile(system.open_input_file(path)) for path in paths}

    def keys(self, columns: Sequence[str]) -> Iterator[tuple[str, list[list[Any]]]]:
        """Some columns of every row, file by file; a time is a whole number."""
        for path in self._files:
            yield path, [_plain(column) for column in self._read(path, columns).itercolumns()]

    def rows(self, places: Iterable[RowPlace]) -> Iterator[tuple[RowPlace, dict[str, Any]]]:
        """All columns of the rows at some places; a column that a file lacks is None."""
        wanted: dict[str, list[int]] = {}
        for path, number in places:
            wanted.setdefault(path, []).append(number)
        for path, numbers in wanted.items():
            rows = self._read(path, self.table.schema.names)
            columns = {name: _pick(rows.column(name), numbers) for name in rows.column_names}
            for place, number in enumerate(numbers):
                yield (path, number), {name: values[place] for name, values in columns.items()}

    def _read(self, path: str, columns: Sequence[str]) -> pa.Table:
        import pyarrow as pa

        with self._explain():
            file = self._files[path]
            stored = set(file.schema_arrow.names)
            rows = file.read([name for name in columns if name in stored], use_threads=False)
            for name in columns:
                if name not in stored:
                    rows = rows.append_column(name, pa.nulls(rows.num_rows, self.table.schema.field(name).type))
            return rows.select(columns)

    @contextmanager
    def _explain(self) -> Iterator[None]:
        import pyarrow as pa
        from deltalake.exceptions import DeltaError

        try:
            yield
        except (DeltaError, OSError, pa.ArrowException) as error:
            raise read_error(self.table.uri, error) from None


def _plain(column: pa.ChunkedArray) -> list[Any]:
    """The values of a column, times as whole numbers: Arrow imports pandas to make a time of Python's."""
    import pyarrow as pa

    if not pa.types.is_timestamp(column.type):
        values: list[Any] = column.to_pylist()
        return values
    return [value for chunk in column.chunks for value in chunk.view(pa.int64()).to_pylist()]


def _pick(column: pa.ChunkedArray, numbers: Sequence[int]) -> list[Any]:
    """Some values of a column; a time is aware, in UTC."""
    import pyarrow as pa

    if not pa.types.is_timestamp(column.type):
        return [column[number].as_py() for number in numbers]
    micro = pa.timestamp("us", column.type.tz)
    whole = _plain(column if column.type == micro else column.cast(micro))
    return [None if whole[number] is None else _EPOCH + timedelta(microseconds=whole[number]) for number in numbers]


def read_all_rows(table: Table, opened: OpenTable) -> list[dict[str, Any]]:
    """Every row of an opened version.

    Raises:
        EvergreenError: the table cannot be read.
    """
    reader = RowReader(table, opened, [file.path for file in list_row_files(opened, ())])
    places = ((path, number) for path, (first,) in reader.keys(table.schema.names[:1]) for number in range(len(first)))
    return [row for _, row in reader.rows(places)]


def newest_metadata(table: Table) -> dict[str, str]:
    """The metadata of the newest commit, maintenance aside; empty if another program made it, or there is none.

    Of a table on this machine only that commit is read: to open a table takes twenty times as long.

    Raises:
        EvergreenError: the table cannot be read.
    """
    for name in sorted(_commits_here(table), reverse=True)[:_LOOKED_THROUGH]:
        try:
            text = Path(table.uri, _LOG, name).read_text(encoding="utf-8")
            actions = [json.loads(line) for line in text.splitlines()]
            commit = next(action["commitInfo"] for action in actions if "commitInfo" in action)
        except (OSError, ValueError, StopIteration):
            break
        if commit.get("operation") not in MAINTENANCE:
            return {
                key.removeprefix(COMMIT_PREFIX): str(value)
                for key, value in commit.items()
                if key.startswith(COMMIT_PREFIX)
            }
    opened = table.open_existing()
    return table.commit_metadata(opened) if opened is not None else {}


def newest_version(table: Table) -> int | None:
    """The newest version of a table; None if it does not exist. A table on this machine is not opened.

    Raises:
        EvergreenError: the table cannot be read.
    """
    newest = max(_commits_here(table), default=None)
    if newest is not None:
        return int(newest.removesuffix(_COMMIT))
    opened = table.open_existing()
    return int(opened.version()) if opened is not None else None


def _commits_here(table: Table) -> list[str]:
    """The files of the commits of a table on this machine; their names sort as the commits."""
    if "://" in table.uri:
        return []
    try:
        return [
            entry.name
            for entry in os.scandir(Path(table.uri, _LOG))
            if entry.name[:_DIGITS].isdigit() and entry.name[_DIGITS:] == _COMMIT
        ]
    except OSError:
        return []
