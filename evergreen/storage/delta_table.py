"""Delta tables: the only module that knows Delta Lake.

Every commit bears an id, kept by Delta itself as an application transaction, so that a commit that is made again after
a crash is found and not repeated. Reading streams: nothing here loads a table that the caller did not ask to load.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from evergreen.errors import BusyError, DataError, EvergreenError
from evergreen.naming import COMMIT_PREFIX

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.dataset as ds
    from deltalake import CommitProperties, DeltaTable, WriterProperties

OpenTable: TypeAlias = "DeltaTable"
"""A table at one of its versions, for those who hand it on and know no Delta."""
CONFIGURATION = {"delta.checkpointInterval": "20"}
"""A table is opened several times a batch, and what has to be read for that is all since the last checkpoint."""
JOINED_BYTES = 256 * 1024
"""A file of this size is not joined again: each time all of it would be written anew."""
LASTING = {"delta.enableExpiredLogCleanup": "false"}
"""By default Delta forgets the log of every version that is older than 30 days, as it writes."""
UPKEEP = frozenset({"VACUUM START", "VACUUM END", "SET TBLPROPERTIES", "OPTIMIZE"})
"""Commits that change no row, and say nothing of them."""


@dataclass(frozen=True, slots=True)
class Table:
    """One Delta table, which may not exist yet.

    Attributes:
        uri: a folder's path or an object store's URL.
        schema: Arrow schema that it is made with.
        distinct: columns whose values hardly repeat: trying a dictionary for them takes half the time of a write.
        lasting: every version stays readable until `forget` lets go of it; otherwise for 30 days.
        join: after so many commits their small files are joined, so that reading them all stays quick; 0 for never.
    """

    uri: str
    schema: pa.Schema = field(compare=False)
    lasting: bool = field(default=False, compare=False)
    join: int = field(default=0, compare=False)
    distinct: tuple[str, ...] = field(default=(), compare=False)

    def open(self, version: int | None = None) -> DeltaTable:
        """The table, made empty if it is not there.

        Raises:
            DataError: it does not have this version, or no more.
            EvergreenError: it cannot be read.
        """
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError

        try:
            return DeltaTable(self.uri, version=version)
        except (TableNotFoundError, DeltaError, OSError) as error:
            if version is not None and (isinstance(error, TableNotFoundError) or "LogSegment end" in str(error)):
                raise DataError(f"The table {self.uri} cannot be read at version {version}: there is none.") from None
            if isinstance(error, TableNotFoundError):
                return self._create()
            raise self._unreadable(error) from None

    def exists(self) -> bool:
        """Whether anything was written yet."""
        from deltalake import DeltaTable

        return DeltaTable.is_deltatable(self.uri)

    def append(
        self,
        rows: pd.DataFrame | pa.Table,
        commit: str,
        facts: Mapping[str, str] | None = None,
        *,
        on: int | None = None,
    ) -> None:
        """Add rows in one commit; nothing happens if `commit` was made before.

        `on` is the version that the facts were worked out from; a table that has moved on since is left alone.

        Raises:
            BusyError: another run wrote in the meantime.
            EvergreenError: the table cannot be written, or holds a column in another type.
        """
        from deltalake import write_deltalake

        with writing(self.uri):
            if table := self._without(commit, on):
                write_deltalake(
                    table,
                    self.arrow(rows),
                    mode="append",
                    commit_properties=_properties(commit, facts or {}),
                    writer_properties=self._writer(),
                )
                self._join(table)

    def replace(
        self,
        rows: pd.DataFrame | pa.Table,
        commit: str,
        facts: Mapping[str, str],
        *,
        where: str,
        on: int | None = None,
    ) -> None:
        """Put `rows` in the place of every row that meets the SQL condition `where`, in one commit; else as `append`.

        The condition has to hold for `rows` too, or Delta refuses them. Only files with rows to replace are rewritten,
        each by itself; Delta's own merge would join them to one that grows with every batch.
        """
        from deltalake import write_deltalake

        with writing(self.uri):
            if table := self._without(commit, on):
                write_deltalake(
                    table,
                    self.arrow(rows),
                    mode="overwrite",
                    predicate=where,
                    commit_properties=_properties(commit, facts),
                )

    def has(self, commit: str) -> bool:
        """Whether a commit of this id was made."""
        return self.exists() and _has(self.open(), commit)

    def commits(self) -> Callable[[str], bool]:
        """What tells whether a commit of an id had been made by now; the table is opened once for all questions."""
        return partial(_has, self.open()) if self.exists() else lambda _: False

    def facts(self, table: DeltaTable) -> dict[str, str]:
        """What the newest commit of an opened version that is no upkeep said of itself.

        Empty after a change by another program.
        """
        limit = 1
        while True:
            commits = self._commits(table, limit)
            told = [commit for commit in commits if commit.get("operation") not in UPKEEP]
            if told or len(commits) < limit:
                return _facts(told[0]) if told else {}
            limit *= 4

    def earlier_facts(self, table: DeltaTable) -> Iterator[dict[str, str]]:
        """What every commit up to an opened version said of itself, the newest first."""
        return (_facts(commit) for commit in self._commits(table, None))

    def _commits(self, table: DeltaTable, limit: int | None) -> list[dict[str, Any]]:
        """Commits up to an opened version, the newest first.

        Delta's own history tells of the newest commits of all, whatever version was opened.
        """
        while True:
            newest = self.open()
            later = newest.version() - table.version()
            found: list[dict[str, Any]] = newest.history(None if limit is None else later + limit)
            # A commit that was made in between would shift them.
            if self.open().version() == newest.version():
                return found[later:]

    def edges(self, table: DeltaTable, column: str) -> list[tuple[Any, Any]] | None:
        """Least and greatest value of a column in each file, by its statistics; None where a file has none.

        No data is read. Texts may be cut and times are whole milliseconds, both rounded down.
        """
        import pyarrow as pa

        files = pa.table(table.get_add_actions(flatten=True))
        names = (f"min.{column}", f"max.{column}")
        if files.num_rows and not set(names) <= set(files.column_names):
            return None
        pairs = list(zip(*(files[name].to_pylist() for name in names), strict=True)) if files.num_rows else []
        return None if any(None in pair for pair in pairs) else pairs

    def scan(
        self, columns: Sequence[str], where: ds.Expression | None = None, version: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Stream record batches; memory stays flat whatever the table's size. A column of later versions is null."""
        import pyarrow as pa
        from deltalake.exceptions import DeltaError

        try:
            dataset = self.open(version).to_pyarrow_dataset()
            there = [name for name in columns if name in dataset.schema.names]
            for batch in dataset.to_batches(columns=there, filter=where, batch_readahead=2, fragment_readahead=1):
                if len(there) == len(columns):
                    yield batch
                    continue
                arrays = [
                    batch.column(name) if name in there else pa.nulls(batch.num_rows, self.schema.field(name).type)
                    for name in columns
                ]
                yield pa.RecordBatch.from_arrays(arrays, names=list(columns))
        except (DeltaError, OSError, pa.ArrowException) as error:
            raise self._unreadable(error) from None

    def read(
        self, columns: Sequence[str] | None = None, where: ds.Expression | None = None, version: int | None = None
    ) -> pd.DataFrame:
        """The asked columns and rows as a frame."""
        names = list(columns) if columns is not None else list(self.schema.names)
        return self.frame_of(list(self.scan(names, where, version)), names)

    def frame_of(self, batches: Sequence[pa.RecordBatch], names: Sequence[str]) -> pd.DataFrame:
        """Scanned batches as one frame, of the same types whether there are rows or not."""
        import pyarrow as pa

        wanted = pa.schema([self.schema.field(name) for name in names])
        table = pa.Table.from_batches(batches, schema=batches[0].schema if batches else wanted)
        frame: pd.DataFrame = table.to_pandas()
        return frame

    def arrow(self, rows: pd.DataFrame | pa.Table) -> pa.Table:
        """Rows as Arrow, in the table's own types; NaN becomes null."""
        import pyarrow as pa

        if isinstance(rows, pa.Table):
            return rows.select(self.schema.names)
        return pa.Table.from_pandas(rows[self.schema.names], schema=self.schema, preserve_index=False)

    def _without(self, commit: str, on: int | None) -> DeltaTable | None:
        """The table, fit to be written; None if the commit was made already."""
        table = self.open()
        if _has(table, commit):
            return None
        if on is not None and table.version() != on:
            raise BusyError(f"Another run wrote {self.uri} at the same time.", "Run it again.")
        self._fit(table)
        return table

    def _writer(self) -> WriterProperties:
        from deltalake import ColumnProperties, WriterProperties

        plain = dict.fromkeys(self.distinct, ColumnProperties(dictionary_enabled=False))
        return WriterProperties(compression="LZ4_RAW", column_properties=plain) if plain else WriterProperties()

    def _join(self, table: DeltaTable) -> None:
        """Join small files; the rows are there by now, so that a fault here is left to the next time."""
        from deltalake.exceptions import DeltaError

        if self.join and table.version() % self.join == 0:
            with suppress(DeltaError, OSError):
                table.optimize.compact(target_size=JOINED_BYTES)

    def _fit(self, table: DeltaTable) -> None:
        """Add the columns that the table does not have yet; rows that were there before hold nulls in them."""
        import pyarrow as pa
        from deltalake import Field, Schema

        held = pa.schema(table.schema())
        for field_ in self.schema:
            kind = held.field(field_.name).type if field_.name in held.names else field_.type
            if kind != field_.type:
                raise EvergreenError(
                    f"The table {self.uri} holds {field_.name!r} as {kind}, and it is now to be {field_.type}.",
                    "Give the column its former type or another name, or move the table's folder away to start anew.",
                )
        fresh = [field_ for field_ in self.schema if field_.name not in held.names]
        if fresh:
            added: list[Field] = list(Schema.from_arrow(pa.schema(fresh)).fields)
            table.alter.add_columns(added)
        if self.lasting and LASTING.items() - table.metadata().configuration.items():
            table.alter.set_table_properties(LASTING)

    def _create(self) -> DeltaTable:
        from deltalake import DeltaTable

        with writing(self.uri):
            configuration = CONFIGURATION | (LASTING if self.lasting else {})
            return DeltaTable.create(self.uri, schema=self.schema, mode="ignore", configuration=configuration)

    def _unreadable(self, error: Exception) -> EvergreenError:
        return EvergreenError(
            f"The table {self.uri} cannot be read: {first_line(error)}.",
            "Restore its files from a backup, or move the folder away to start anew.",
        )


def quoted(text: str) -> str:
    """A text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"


def _facts(commit: Mapping[str, Any]) -> dict[str, str]:
    return {
        key.removeprefix(COMMIT_PREFIX): str(value) for key, value in commit.items() if key.startswith(COMMIT_PREFIX)
    }


def _has(table: DeltaTable, commit: str) -> bool:
    return table.transaction_version(commit) is not None


def _properties(commit: str, facts: Mapping[str, str]) -> CommitProperties:
    from deltalake import CommitProperties, Transaction

    return CommitProperties(
        custom_metadata={COMMIT_PREFIX + key: value for key, value in facts.items()}
        | {COMMIT_PREFIX + "commit": commit},
        app_transactions=[Transaction(app_id=commit, version=1)],
    )


class writing:  # noqa: N801 - reads as a statement
    """Turns a failed write into one line; Delta's own message may show data rows, so it is never passed on."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: Any, error: BaseException | None, _trace: Any) -> None:
        from deltalake.exceptions import DeltaError

        if not isinstance(error, OSError | DeltaError):
            return
        full = "No space left" in str(error) or getattr(error, "errno", None) in (27, 28)
        place = Path(self.uri)
        if full or "File too large" in str(error):
            raise EvergreenError(f"The disk is full: {self.uri} was left as it was.", "Free space, then run it again.")
        if place.exists() and not os.access(place, os.W_OK):
            raise EvergreenError(f"{self.uri} cannot be written.", "Check the folder's owner and mode.")
        raise EvergreenError(
            f"Writing {self.uri} failed ({type(error).__name__}); it was left as it was.", "Run it again."
        )


def first_line(error: Exception) -> str:
    """What an error says, in one line of at most 200 characters."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
