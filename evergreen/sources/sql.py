"""Rows of an SQL query, through SQLAlchemy; with a watermark column only those that are new.

The query runs once, in the order of its watermark, and its rows stream past in batches. Each batch has an offset, the
greatest watermark so far, from which the next reading continues. It continues from the rows with that same watermark,
because more of them may have appeared since. Rows that were read before are recognised by their hash; if there are too
many to keep their hashes, by the model's keys. No message of the driver is passed on: it may quote rows or the URL.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.errors import DataError, ModelFileError
from evergreen.markdown import many
from evergreen.sources.base import Batch, Waiting
from evergreen.sources.file_formats import hash_parts
from evergreen.sources.sql_errors import SOURCE, display_url, open_engine, parse_url
from evergreen.sources.sql_watermark import MAX_HASHES, Offset, RecentRows, row_hash
from evergreen.sources.typed_frames import frame_of_rows
from evergreen.storage.credentials import holds_secret, resolve_env

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import URL, ColumnElement, Connection, Select, TextClause

_WAIT_SECONDS = 30
_EXAMPLE = "postgresql+psycopg://user:password@host/name"
_FORMS = f"a database's URL, such as {_EXAMPLE}"


@dataclass(frozen=True, slots=True)
class SqlSource:
    """The rows of an SQL query.

    With a watermark the model needs keys: a row that comes with a newer watermark replaces the earlier one. A row
    without a watermark is left alone until it has one. Without a watermark column every ingest reads the whole query,
    as one batch, which has to fit into memory.

    Attributes:
        url: a database URL of SQLAlchemy, or `env:NAME`, the environment variable that holds it; a password belongs
            there.
        query: a SELECT that gives each key once.
        watermark: a column of the query that grows with every change of a row: a time, a running number.
        overlap: how far before the newest watermark reading starts again, for rows that became visible late: their
            transaction began before that of a row that was read, and ended after it. In the watermark's unit; None for
            no overlap.
        batch_rows: the largest number of rows in memory at a time.
        offset: where reading continues: the offset of a batch. `since` sets it.
    """

    url: str = field(repr=False)
    query: str
    watermark: str | None = None
    overlap: timedelta | int | None = None
    batch_rows: int = 50_000
    offset: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Refuse options that make no sense, and a URL that holds a password."""
        if holds_secret(self.url):
            raise ModelFileError(
                "source: the URL holds a password.",
                "Put the URL into an environment variable and name that one: env:NAME",
            )
        if not self.query.strip(" \n\t;"):
            raise ModelFileError("source: the query is empty.", "Write one such as 'SELECT * FROM trips'.")
        if self.overlap is not None and self.watermark is None:
            raise ModelFileError("source: overlap needs a watermark, and there is none.", "Name one with watermark=...")
        if self.batch_rows < 1:
            raise ModelFileError("source: batch_rows has to be at least 1.", "Leave it out for the default.")

    @property
    def resumes(self) -> bool:
        """Whether reading continues where it stopped: with a watermark."""
        return self.watermark is not None

    @property
    def needs_keys(self) -> bool:
        """Whether a row may come more than once: with a watermark."""
        return self.resumes

    def identity(self) -> str:
        """Hash of the database, without user and password, of the query and of the watermark."""
        return hash_parts(display_url(self._parse_url()), self.query, str(self.watermark))

    def since(self, offset: str) -> SqlSource:
        """The same source, to be read from an offset on."""
        return replace(self, offset=offset)

    def fingerprint(self, root: Path) -> str:
        """Hash of the newest watermark and of the rows that have it; without a watermark column it always differs."""
        if self.watermark is None:
            return uuid.uuid4().hex
        from sqlalchemy import func, select, text

        with self._connect() as connection:
            self._column_names(connection)
            newest = connection.execute(select(func.max(self._column)).select_from(self._table)).scalar()
            if newest is None:
                return hash_parts(self.identity(), "no rows")
            offset = Offset(newest)
            repeated = self._from_offset(offset)
            count = connection.execute(select(func.count()).select_from(self._table).where(repeated)).scalar_one()
            query = select(text("*")).select_from(self._table).where(repeated)
            rows = connection.execute(query) if count <= MAX_HASHES else ()
            return hash_parts(self.identity(), offset.text, str(count), *sorted(row_hash(row) for row in rows))

    def read(self, root: Path, new: Callable[[str], bool]) -> Iterator[Batch | Waiting]:
        """Yield the rows after the offset in the order of their watermark; without a watermark all, as one batch."""
        from sqlalchemy import func, select

        with self._connect() as connection:
            names = self._column_names(connection)
            if self.watermark is None:
                rows = [tuple(row) for row in connection.execute(self._select())]
                batch = self._make_batch(names, rows, [row_hash(row) for row in rows])
                if rows and new(batch.id):
                    yield batch
                return
            query = select(func.count()).select_from(self._table).where(self._column.is_(None))
            if count := connection.execute(query).scalar_one():
                yield Waiting(self._origin(), f"{many(count, 'row has', 'rows have')} no {self.watermark!r}")
            yield from self._read_from_offset(connection, names, new)

    def head(self, rows: int) -> tuple[pd.DataFrame, bool]:
        """Read the first rows; returns them, and whether there are more."""
        with self._connect() as connection:
            names = self._column_names(connection)
            result = connection.execute(self._select(min(rows + 1, self.batch_rows)))
            first = [tuple(row) for _, row in zip(range(rows + 1), result, strict=False)]
            result.close()
        return frame_of_rows(names, first[:rows]), len(first) > rows

    def _read_from_offset(
        self, connection: Connection, names: list[str], new: Callable[[str], bool]
    ) -> Iterator[Batch]:
        position, recent = names.index(str(self.watermark)), RecentRows(self.overlap)
        query = self._select(self.batch_rows).where(self._column.is_not(None)).order_by(self._column)
        seen: frozenset[str] = frozenset()
        if self.offset:
            offset = Offset.parse(self.offset)
            seen, query = frozenset(offset.seen), query.where(self._from_offset(offset))
        unseen: list[tuple[tuple[Any, ...], str]] = []
        # Rows that were seen are not counted, so that batches are the same wherever reading started.
        for row in map(tuple, connection.execute(query)):
            digest = row_hash(row)
            recent.add(row[position], digest)
            if digest not in seen:
                unseen.append((row, digest))
            if len(unseen) == self.batch_rows:
                yield from self._yield_new(names, unseen, recent.offset.text, new)
                unseen = []
        if unseen:
            yield from self._yield_new(names, unseen, recent.offset.text, new)

    def _yield_new(
        self, names: list[str], rows: list[tuple[tuple[Any, ...], str]], offset: str, new: Callable[[str], bool]
    ) -> Iterator[Batch]:
        batch = self._make_batch(names, [row for row, _ in rows], [digest for _, digest in rows], offset)
        if new(batch.id):
            yield batch

    def _make_batch(
        self, names: list[str], rows: Sequence[tuple[Any, ...]], hashes: Sequence[str], offset: str = ""
    ) -> Batch:
        # Rows with one watermark come in any order: the number of rows and the sum of their hashes ignore it.
        total = sum(int(digest, 16) for digest in hashes) % (1 << 64)
        batch = hash_parts("sql", *names, str(len(rows)), str(total))
        return Batch(batch, self._origin(), frame_of_rows(names, rows), offset=offset)

    def _origin(self) -> str:
        """The source as a person would name it.

        The query is no part of it, so that after a change of the query its rows replace the earlier ones, without keys.
        """
        return f"query on {Path(self._parse_url().database or 'the database').name}"

    @property
    def _table(self) -> TextClause:
        from sqlalchemy import text

        # An unescaped colon would name a parameter, and the query may end with a comment.
        query = self.query.strip().rstrip(";").replace(":", r"\:")
        return text(f"({query}\n) evergreen_rows")

    @property
    def _column(self) -> ColumnElement[Any]:
        from sqlalchemy import column

        return column(str(self.watermark))

    def _from_offset(self, offset: Offset) -> ColumnElement[bool]:
        """The condition for the rows that are read when reading continues from an offset."""
        from sqlalchemy import bindparam
        from sqlalchemy.types import NullType

        # Without a type: the driver knows its own value best.
        return self._column >= bindparam("start", offset.start(self.overlap), type_=NullType())

    def _select(self, rows_at_a_time: int = 0) -> Select[Any]:
        from sqlalchemy import select, text

        query = select(text("*")).select_from(self._table)
        return query.execution_options(yield_per=rows_at_a_time) if rows_at_a_time else query

    def _column_names(self, connection: Connection) -> list[str]:
        """The names of the query's columns.

        Raises:
            DataError: two columns have one name, or the watermark is not among them.
        """
        from sqlalchemy import text

        names = list(connection.execute(self._select().where(text("1 = 0"))).keys())
        if duplicates := [name for name in names if names.count(name) > 1]:
            raise DataError(
                f"source: the query gives two columns with the name {duplicates[0]!r}.",
                "Rename one: ... AS other_name",
            )
        if self.watermark is not None and self.watermark not in names:
            listed = ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")
            raise DataError(
                f"source: the query gives no column {self.watermark!r}, which is to be its watermark.",
                f"It gives {listed}.",
            )
        return names

    def _parse_url(self) -> URL:
        return parse_url(resolve_env(self.url, "source", _FORMS), SOURCE, _EXAMPLE)

    @contextlib.contextmanager
    def _connect(self) -> Iterator[Connection]:
        """A connection; an error while it is open becomes one line."""
        url = self._parse_url()
        file = url.database or ":memory:"
        if url.get_backend_name() == "sqlite" and file != ":memory:" and not Path(file).is_file():
            # SQLite would create it, empty.
            raise DataError(f"source: there is no file {file}.", "Check the path in the source's URL.")
        place = f"source: {display_url(url)}"
        with open_engine(url, place, SOURCE, seconds=_WAIT_SECONDS) as engine, engine.connect() as connection:
            yield connection


def absolute_url(url: str) -> str:
    """The URL with the path of an SQLite file made absolute, so that it means the same in every working folder."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return url
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        return url
    return parsed.set(database=str(Path(str(parsed.database)).absolute())).render_as_string(hide_password=False)
