"""Delta tables: append, replace, scan and read, with commits that are made once.

Every commit has an id, which Delta stores as an application transaction. After a crash, a commit that is made again is
recognised by its id and skipped. Reads are streams: nothing here loads a table that the caller did not ask to load.
"""

from __future__ import annotations

import atexit
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, TypeAlias

from evergreen.errors import BusyError, DataError, EvergreenError
from evergreen.naming import COMMIT_PREFIX, DOWNLOADS_PREFIX, TURN, ForeignPlace
from evergreen.storage.delta_errors import explain_write_errors, read_error
from evergreen.storage.table_files import added_files, dataset_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.dataset as ds
    from deltalake import CommitProperties, DeltaTable, WriterProperties

OpenTable: TypeAlias = "DeltaTable"
"""A table opened at one of its versions, for callers that pass it on and do not know Delta."""

CONFIGURATION = {"delta.checkpointInterval": "20"}
"""A table is opened several times a batch, and each time Delta reads every commit since the last checkpoint."""

SMALL_FILE_BYTES = 256 * 1024
"""Files below this size are compacted. A larger file is left alone, because compaction would rewrite all of it."""

KEEP_LOG = {"delta.enableExpiredLogCleanup": "false"}
"""Without this property Delta deletes the log of versions that are older than 30 days whenever it writes."""

MAINTENANCE = frozenset({"VACUUM START", "VACUUM END", "SET TBLPROPERTIES", "OPTIMIZE"})
"""Delta operations that change no row and carry no metadata of ours."""


@dataclass(frozen=True, slots=True)
class Table:
    """One Delta table, which may not exist yet.

    Attributes:
        uri: a folder's path or an object store's URL.
        schema: the Arrow schema that the table is created with.
        keep_versions: every version stays readable until maintenance forgets it; otherwise for 30 days.
        compact_every: small files are compacted after this many commits, so that reading stays fast; 0 for never.
        high_cardinality: columns whose values rarely repeat. They are written without a dictionary, which halves the
            time of a write.
        rebuild_command: the command that gives stored rows other types; empty where there is none.
    """

    uri: str
    schema: pa.Schema = field(compare=False)
    keep_versions: bool = field(default=False, compare=False)
    compact_every: int = field(default=0, compare=False)
    high_cardinality: tuple[str, ...] = field(default=(), compare=False)
    rebuild_command: str = field(default="", compare=False)

    def open(self, version: int | None = None) -> DeltaTable:
        """Open the table at a version, by default the newest; create it empty if it does not exist.

        Raises:
            DataError: the table has no such version, or no longer.
            EvergreenError: the table cannot be read.
        """
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError

        try:
            return DeltaTable(self.uri, version=version)
        except (TableNotFoundError, DeltaError, OSError) as error:
            if isinstance(self.uri, ForeignPlace) and isinstance(error, TableNotFoundError) and not version:
                return _empty(self.schema)
            if version is not None and (isinstance(error, TableNotFoundError) or "LogSegment end" in str(error)):
                raise DataError(f"The table {self.uri} cannot be read at version {version}: there is none.") from None
            if isinstance(error, TableNotFoundError):
                return self._create()
            raise read_error(self.uri, error) from None

    def open_existing(self) -> DeltaTable | None:
        """Open the newest version; None if the table does not exist. It costs half of asking and then opening.

        Raises:
            EvergreenError: the table cannot be read.
        """
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError

        try:
            return DeltaTable(self.uri)
        except TableNotFoundError:
            return None
        except (DeltaError, OSError) as error:
            raise read_error(self.uri, error) from None

    def exists(self) -> bool:
        """Whether the table was created already."""
        from deltalake import DeltaTable

        return DeltaTable.is_deltatable(self.uri)

    def append(
        self,
        rows: pd.DataFrame | pa.Table,
        commit: str,
        metadata: Mapping[str, str] | None = None,
        *,
        expected_version: int | None = None,
    ) -> None:
        """Add rows in one commit; do nothing if a commit with this id exists.

        Args:
            rows: in the table's columns.
            commit: the commit's id.
            metadata: stored with the commit.
            expected_version: the version that `metadata` was computed from. A table that has a newer one is not
                changed.

        Raises:
            BusyError: another run wrote in the meantime.
            EvergreenError: the table cannot be written, or holds a column in another type.
        """
        from deltalake import write_deltalake

        with explain_write_errors(self.uri):
            if table := self._open_for_commit(commit, expected_version):
                write_deltalake(
                    table,
                    self.to_arrow(rows),
                    mode="append",
                    commit_properties=_commit_properties(commit, metadata or {}),
                    writer_properties=self._writer_properties(),
                )
                self._compact_small_files(table)

    def turn(self, table: DeltaTable) -> int:
        """How many commits an opened version has that were made in turn."""
        return table.transaction_version(TURN) or 0

    def append_in_turn(self, rows: pd.DataFrame | pa.Table, opened: DeltaTable) -> None:
        """Add rows in one commit, if nobody has made another one in turn since a version.

        Of two commits that follow the same turn, in whatever processes and on whatever machines, Delta makes one: both
        are a transaction of one application, which the log knows. So what was looked up in that version still holds.
        Other commits do not count, and unlike an id of its own for each commit, the log does not grow by it.

        Args:
            rows: in the table's columns.
            opened: the version that was looked at; afterwards it is the new one.

        Raises:
            BusyError: another commit was made in turn; nothing was written.
            EvergreenError: the table cannot be written, or holds a column in another type.
        """
        from deltalake import CommitProperties, Transaction, write_deltalake

        with explain_write_errors(self.uri):
            turn = self.turn(opened)
            table = self._update_schema(opened)
            if self.turn(table) != turn:
                raise BusyError(f"Another process wrote {self.uri} at the same time.", "Look again, then write.")
            write_deltalake(
                table,
                self.to_arrow(rows),
                mode="append",
                commit_properties=CommitProperties(app_transactions=[Transaction(app_id=TURN, version=turn + 1)]),
                writer_properties=self._writer_properties(),
            )
            self._compact_small_files(table)

    def replace(
        self,
        rows: pd.DataFrame | pa.Table,
        commit: str,
        metadata: Mapping[str, str],
        *,
        where: str,
        expected_version: int | None = None,
    ) -> None:
        """Replace every row that meets the SQL condition `where` by `rows`, in one commit; otherwise as `append`.

        Delta refuses `rows` that do not meet the condition themselves. Only files with rows to replace are rewritten,
        each by itself. Delta's own merge would write them into one file, which would grow with every batch.
        """
        from deltalake import write_deltalake

        with explain_write_errors(self.uri):
            if table := self._open_for_commit(commit, expected_version):
                write_deltalake(
                    table,
                    self.to_arrow(rows),
                    mode="overwrite",
                    predicate=where,
                    commit_properties=_commit_properties(commit, metadata),
                )

    def rewrite(
        self, rows: pa.Table, commit: str, metadata: Mapping[str, str], *, expected_version: int | None = None
    ) -> None:
        """Replace every row and the columns' types by those of `rows`, in one commit; otherwise as `append`.

        Earlier versions stay as they were, with the types that they had.
        """
        from deltalake import write_deltalake

        with explain_write_errors(self.uri):
            table = self.open()
            if _has_commit(table, commit):
                return
            _require_version(self.uri, table, expected_version)
            write_deltalake(
                table,
                self.to_arrow(rows),
                mode="overwrite",
                schema_mode="overwrite",
                commit_properties=_commit_properties(commit, metadata),
                writer_properties=self._writer_properties(),
            )

    def changed_types(self, table: DeltaTable) -> dict[str, tuple[pa.DataType, pa.DataType]]:
        """The columns of an opened version that are to have another type: the stored one, and that of the schema."""
        import pyarrow as pa

        stored = pa.schema(table.schema())
        pairs = {
            column.name: (stored.field(column.name).type, column.type)
            for column in self.schema
            if column.name in stored.names
        }
        return {name: (before, after) for name, (before, after) in pairs.items() if before != after}

    def require_types(self, table: DeltaTable) -> None:
        """Refuse an opened version whose rows hold a column in another type than the schema's.

        Raises:
            EvergreenError: a column has another type; the line has the command that rebuilds the table.
        """
        for name, (before, after) in self.changed_types(table).items():
            if _count_rows(table):
                way = f"; or rebuild the table: {self.rebuild_command}" if self.rebuild_command else ""
                raise EvergreenError(
                    f"The table {self.uri} holds {name!r} as {before}, and it is now to be {after}.",
                    f"Give the column its former type in contract(), or another name{way}",
                )

    def has_commit(self, commit: str) -> bool:
        """Whether a commit with this id exists."""
        return self.exists() and _has_commit(self.open(), commit)

    def commit_lookup(self) -> Callable[[str], bool]:
        """A function that says whether a commit with an id exists now; it opens the table once for all questions."""
        return partial(_has_commit, self.open()) if self.exists() else lambda _: False

    def commit_metadata(self, table: DeltaTable) -> dict[str, str]:
        """The metadata of the newest commit of an opened version, maintenance aside.

        Empty if another program made that commit.
        """
        limit = 1
        while True:
            commits = self._commits(table, limit)
            data_commits = [commit for commit in commits if commit.get("operation") not in MAINTENANCE]
            if data_commits or len(commits) < limit:
                return _own_metadata(data_commits[0]) if data_commits else {}
            limit *= 4

    def all_commit_metadata(self, table: DeltaTable, limit: int | None = None) -> Iterator[dict[str, str]]:
        """The metadata of every commit up to an opened version, newest first; of the newest `limit` where it is given.

        That of another program's commits and of maintenance is empty.
        """
        return (_own_metadata(commit) for commit in self._commits(table, limit))

    def _commits(self, table: DeltaTable, limit: int | None) -> list[dict[str, Any]]:
        """The newest `limit` commits up to an opened version, newest first; all of them for None.

        Delta's own history always begins at the table's newest commit, whatever version was opened.
        """
        while True:
            newest = self.open()
            later = newest.version() - table.version()
            commits: list[dict[str, Any]] = newest.history(None if limit is None else later + limit)
            # A commit that another run made in between would shift the list.
            if self.open().version() == newest.version():
                return commits[later:]

    def file_ranges(self, table: DeltaTable, column: str) -> list[tuple[Any, Any]] | None:
        """The minimum and maximum of a column in each file, from Delta's statistics; None if a file has none.

        No data is read. Texts may be cut and times are whole milliseconds; both are rounded down.
        """
        files = added_files(table)
        names = (f"min.{column}", f"max.{column}")
        if files.num_rows and not set(names) <= set(files.column_names):
            return None
        ranges = list(zip(*(files[name].to_pylist() for name in names), strict=True)) if files.num_rows else []
        return None if any(None in pair for pair in ranges) else ranges

    def scan(
        self, columns: Sequence[str], where: ds.Expression | None = None, version: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Stream record batches; memory stays flat whatever the table's size.

        A column that was added after `version` is null.
        """
        import pyarrow as pa
        from deltalake.exceptions import DeltaError

        try:
            dataset = dataset_of(self.open(version))
            stored = [name for name in columns if name in dataset.schema.names]
            for batch in dataset.to_batches(columns=stored, filter=where, batch_readahead=2, fragment_readahead=1):
                if len(stored) == len(columns):
                    yield batch
                    continue
                arrays = [
                    batch.column(name) if name in stored else pa.nulls(batch.num_rows, self.schema.field(name).type)
                    for name in columns
                ]
                yield pa.RecordBatch.from_arrays(arrays, names=list(columns))
        except (DeltaError, OSError, pa.ArrowException) as error:
            raise read_error(self.uri, error) from None

    def read(
        self, columns: Sequence[str] | None = None, where: ds.Expression | None = None, version: int | None = None
    ) -> pd.DataFrame:
        """Read columns, by default all of them, of the rows that meet `where` into a frame."""
        names = list(columns) if columns is not None else list(self.schema.names)
        return self.to_frame(list(self.scan(names, where, version)), names)

    def to_frame(self, batches: Sequence[pa.RecordBatch], names: Sequence[str]) -> pd.DataFrame:
        """Convert scanned batches to one frame, with the same dtypes whether there are rows or not."""
        import pyarrow as pa

        empty = pa.schema([self.schema.field(name) for name in names])
        table = pa.Table.from_batches(batches, schema=batches[0].schema if batches else empty)
        frame: pd.DataFrame = table.to_pandas()
        return frame

    def to_arrow(self, rows: pd.DataFrame | pa.Table) -> pa.Table:
        """Convert rows to Arrow in the table's own types; NaN becomes null."""
        import pyarrow as pa

        if isinstance(rows, pa.Table):
            return rows.select(self.schema.names)
        return pa.Table.from_pandas(rows[self.schema.names], schema=self.schema, preserve_index=False)

    def _open_for_commit(self, commit: str, expected_version: int | None) -> DeltaTable | None:
        """The table, with every column of the schema; None if the commit exists."""
        table = self.open()
        if _has_commit(table, commit):
            return None
        _require_version(self.uri, table, expected_version)
        return self._update_schema(table)

    def _writer_properties(self) -> WriterProperties:
        from deltalake import ColumnProperties, WriterProperties

        properties = dict.fromkeys(self.high_cardinality, ColumnProperties(dictionary_enabled=False))
        return (
            WriterProperties(compression="LZ4_RAW", column_properties=properties) if properties else WriterProperties()
        )

    def _compact_small_files(self, table: DeltaTable) -> None:
        """Compact small files if it is time. The rows are committed, so a failure is left to the next time."""
        from deltalake.exceptions import DeltaError

        if self.compact_every and table.version() % self.compact_every == 0:
            with suppress(DeltaError, OSError):
                table.optimize.compact(target_size=SMALL_FILE_BYTES)

    def _update_schema(self, table: DeltaTable) -> DeltaTable:
        """Add the columns that the table does not have yet; earlier rows hold nulls in them.

        A table without rows takes the schema as it is: nothing was learned from the types that it had.
        """
        import pyarrow as pa
        from deltalake import Field, Schema

        self.require_types(table)
        if self.changed_types(table):
            empty = self.schema.empty_table()
            self.rewrite(
                empty, f"types:{table.version()}", self.commit_metadata(table), expected_version=table.version()
            )
            return self.open()
        stored = pa.schema(table.schema())
        missing = [column for column in self.schema if column.name not in stored.names]
        if missing:
            fields: list[Field] = list(Schema.from_arrow(pa.schema(missing)).fields)
            table.alter.add_columns(fields)
        if self.keep_versions and KEEP_LOG.items() - table.metadata().configuration.items():
            table.alter.set_table_properties(KEEP_LOG)
        return table

    def _create(self) -> DeltaTable:
        from deltalake import DeltaTable
        from deltalake.exceptions import CommitFailedError

        with explain_write_errors(self.uri):
            configuration = CONFIGURATION | (KEEP_LOG if self.keep_versions else {})
            try:
                return DeltaTable.create(self.uri, schema=self.schema, mode="ignore", configuration=configuration)
            except CommitFailedError:
                # Another process created it after this one had looked: `mode="ignore"` covers only what it saw.
                return DeltaTable(self.uri)


@cache
def _empty(schema: pa.Schema) -> DeltaTable:
    """A table without rows in a temporary folder, in place of another environment's that is not there."""
    from deltalake import DeltaTable

    folder = mkdtemp(prefix=DOWNLOADS_PREFIX)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return DeltaTable.create(folder, schema=schema)


def sql_literal(text: str) -> str:
    """A text as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def _count_rows(table: DeltaTable) -> int:
    """The number of rows of an opened version; no data is read where the files' statistics have it."""
    return int(dataset_of(table).count_rows())


def _require_version(uri: str, table: DeltaTable, expected: int | None) -> None:
    if expected is not None and table.version() != expected:
        raise BusyError(f"Another run wrote {uri} at the same time.", "Run it again.")


def _own_metadata(commit: Mapping[str, Any]) -> dict[str, str]:
    prefix = COMMIT_PREFIX
    return {key.removeprefix(prefix): str(value) for key, value in commit.items() if key.startswith(prefix)}


def _has_commit(table: DeltaTable, commit: str) -> bool:
    return table.transaction_version(commit) is not None


def _commit_properties(commit: str, metadata: Mapping[str, str]) -> CommitProperties:
    from deltalake import CommitProperties, Transaction

    return CommitProperties(
        custom_metadata={COMMIT_PREFIX + key: value for key, value in {**metadata, "commit": commit}.items()},
        app_transactions=[Transaction(app_id=commit, version=1)],
    )
