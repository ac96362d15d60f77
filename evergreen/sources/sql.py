"""Rows of a SQL query, through SQLAlchemy; by a watermark column only those that are new.

The query is asked once, in the order of its watermark, and its rows stream past in batches. Behind each batch there is
a mark, the greatest watermark so far, from which the next reading goes on: from rows with the same watermark too, for
some may have come since. Those that were read are left out by their hash, and where there are too many of them to keep
the hashes of, the model's keys tell them. No message of the driver is passed on: it may quote rows or the URL.
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
from evergreen.sources.base import Batch, Waiting
from evergreen.sources.file_formats import hashed
from evergreen.sources.sql_errors import SOURCE, opened, parse_url, shown
from evergreen.sources.sql_watermark import KEPT, Mark, Window, row_hash
from evergreen.storage.credentials import holds_secret, resolved

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import URL, ColumnElement, Connection, Select, TextClause

_WAIT_SECONDS = 30
_EXAMPLE = "postgresql+psycopg://user:password@host/name"
_FORMS = f"a database's URL, such as {_EXAMPLE}"


@dataclass(frozen=True, slots=True)
class SqlSource:
    """What a SQL query gives.

    With a watermark the model needs keys: a row that comes with a newer watermark replaces the earlier one. A row
    without a watermark is left alone until it has one. Without a watermark column the query is read whole at every
    ingest, as one batch, which is for what fits into memory.

    Attributes:
        url: as SQLAlchemy has it, or `env:NAME`, the environment variable that holds it; a password belongs there.
        query: a SELECT that gives each key once.
        watermark: a column of the query that grows with every change of a row: a time, a running number.
        overlap: so far behind the newest watermark is read again, for rows that became visible late: their transaction
            began before that of a row that was read, and ended after it. In the watermark's unit; None for no overlap.
        batch_rows: at most so many rows are held at a time.
        mark: behind which rows reading goes on, as a batch bore it; `since` sets it.
    """

    url: str = field(repr=False)
    query: str
    watermark: str | None = None
    overlap: timedelta | int | None = None
    batch_rows: int = 50_000
    mark: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be read, and a password that is written out."""
        if holds_secret(self.url):
            raise ModelFileError(
                "source: the URL holds a password.",
                "Put the URL into an environment variable and name that one: env:NAME",
            )
        if not self.query.strip(" \n\t;"):
            raise ModelFileError("source: the query is empty.", "Such as 'SELECT * FROM trips'.")
        if self.overlap is not None and self.watermark is None:
            raise ModelFileError("source: there is no watermark that could overlap.", "Name one with watermark=...")
        if self.batch_rows < 1:
            raise ModelFileError("source: batch_rows has to be at least 1.", "Leave it out for the default.")

    @property
    def resumes(self) -> bool:
        """Whether reading goes on where it stopped: with a watermark."""
        return self.watermark is not None

    @property
    def needs_keys(self) -> bool:
        """Whether a row may come again: with a watermark."""
        return self.resumes

    def identity(self) -> str:
        """Hash of the database, without user and password, of the query and of the watermark."""
        return hashed(shown(self._parsed()), self.query, str(self.watermark))

    def since(self, mark: str) -> SqlSource:
        """The same source from a mark on."""
        return replace(self, mark=mark)

    def fingerprint(self, root: Path) -> str:
        """Hash of the newest watermark and the rows that have it; without a watermark column never the same again."""
        if self.watermark is None:
            return uuid.uuid4().hex
        from sqlalchemy import func, select, text

        with self._connected() as connection:
            self._names(connection)
            newest = connection.execute(select(func.max(self._column)).select_from(self._table)).scalar()
            if newest is None:
                return hashed(self.identity(), "no rows")
            mark = Mark(newest)
            again = self._from(mark)
            count = connection.execute(select(func.count()).select_from(self._table).where(again)).scalar_one()
            rows = connection.execute(select(text("*")).select_from(self._table).where(again)) if count <= KEPT else ()
            return hashed(self.identity(), mark.text, str(count), *sorted(row_hash(row) for row in rows))

    def read(self, root: Path, new: Callable[[str], bool]) -> Iterator[Batch | Waiting]:
        """Yield the rows behind the mark in the order of their watermark; without a watermark all, as one batch."""
        from sqlalchemy import func, select

        with self._connected() as connection:
            names = self._names(connection)
            if self.watermark is None:
                rows = [tuple(row) for row in connection.execute(self._rows())]
                batch = self._batch(names, rows, [row_hash(row) for row in rows])
                if rows and new(batch.id):
                    yield batch
                return
            query = select(func.count()).select_from(self._table).where(self._column.is_(None))
            if count := connection.execute(query).scalar_one():
                yield Waiting(self._origin(), f"{count} rows have no {self.watermark!r}")
            yield from self._behind(connection, names, new)

    def head(self, rows: int) -> tuple[pd.DataFrame, bool]:
        """The first rows, and whether there are more."""
        with self._connected() as connection:
            names = self._names(connection)
            found = connection.execute(self._rows(min(rows + 1, self.batch_rows)))
            taken = [tuple(row) for _, row in zip(range(rows + 1), found, strict=False)]
            found.close()
        return _frame(names, taken[:rows]), len(taken) > rows

    def _behind(self, connection: Connection, names: list[str], new: Callable[[str], bool]) -> Iterator[Batch]:
        place, window = names.index(str(self.watermark)), Window(self.overlap)
        query = self._rows(self.batch_rows).where(self._column.is_not(None)).order_by(self._column)
        known: frozenset[str] = frozenset()
        if self.mark:
            mark = Mark.parse(self.mark)
            known, query = frozenset(mark.seen), query.where(self._from(mark))
        fresh: list[tuple[tuple[Any, ...], str]] = []
        # Counted without those that are known: batches are the same wherever reading began.
        for row in map(tuple, connection.execute(query)):
            each = row_hash(row)
            window.add(row[place], each)
            if each not in known:
                fresh.append((row, each))
            if len(fresh) == self.batch_rows:
                yield from self._fresh(names, fresh, window.mark.text, new)
                fresh = []
        if fresh:
            yield from self._fresh(names, fresh, window.mark.text, new)

    def _fresh(
        self, names: list[str], rows: list[tuple[tuple[Any, ...], str]], mark: str, new: Callable[[str], bool]
    ) -> Iterator[Batch]:
        batch = self._batch(names, [row for row, _ in rows], [each for _, each in rows], mark)
        if new(batch.id):
            yield batch

    def _batch(self, names: list[str], rows: Sequence[tuple[Any, ...]], hashes: Sequence[str], mark: str = "") -> Batch:
        # Rows with one watermark come in any order: their number and the sum of their hashes know of none.
        total = sum(int(each, 16) for each in hashes) % (1 << 64)
        batch = hashed("sql", *names, str(len(rows)), str(total))
        return Batch(batch, self._origin(), _frame(names, rows), mark=mark)

    def _origin(self) -> str:
        """As a person would name it. The query is not part of it: without keys its rows replace the earlier ones."""
        return f"query on {Path(self._parsed().database or 'the database').name}"

    @property
    def _table(self) -> TextClause:
        from sqlalchemy import text

        # A colon would name a parameter, and the query may end with a comment.
        query = self.query.strip().rstrip(";").replace(":", r"\:")
        return text(f"({query}\n) evergreen_rows")

    @property
    def _column(self) -> ColumnElement[Any]:
        from sqlalchemy import column

        return column(str(self.watermark))

    def _from(self, mark: Mark) -> ColumnElement[bool]:
        """What a row meets that is read when reading goes on from a mark."""
        from sqlalchemy import bindparam
        from sqlalchemy.types import NullType

        # Without a type: the driver knows its own value best.
        return self._column >= bindparam("mark", mark.less(self.overlap), type_=NullType())

    def _rows(self, at_a_time: int = 0) -> Select[Any]:
        from sqlalchemy import select, text

        query = select(text("*")).select_from(self._table)
        return query.execution_options(yield_per=at_a_time) if at_a_time else query

    def _names(self, connection: Connection) -> list[str]:
        """The query's columns.

        Raises:
            DataError: two have one name, or the watermark is not among them.
        """
        from sqlalchemy import text

        names = list(connection.execute(self._rows().where(text("1 = 0"))).keys())
        if twice := [name for name in names if names.count(name) > 1]:
            raise DataError(
                f"source: the query gives two columns with the name {twice[0]!r}.", "Rename one: ... AS other_name"
            )
        if self.watermark is not None and self.watermark not in names:
            listed = ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")
            raise DataError(
                f"source: the query gives no column {self.watermark!r}, which is to be its watermark.",
                f"It gives {listed}.",
            )
        return names

    def _parsed(self) -> URL:
        return parse_url(resolved(self.url, "source", _FORMS), SOURCE, _EXAMPLE)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Connection]:
        """A connection; what goes wrong with it is one line."""
        url = self._parsed()
        file = url.database or ":memory:"
        if url.get_backend_name() == "sqlite" and file != ":memory:" and not Path(file).is_file():
            # It would be made, empty.
            raise DataError(f"source: there is no file {file}.", "Check the path in the source's URL.")
        place = f"source: {shown(url)}"
        with opened(url, place, SOURCE, seconds=_WAIT_SECONDS) as engine, engine.connect() as connection:
            yield connection


def _frame(names: list[str], rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """Rows as a frame; exact decimals as the numbers that they are."""
    from decimal import Decimal

    import pandas as pd

    frame = pd.DataFrame.from_records(list(rows), columns=names)
    exact = [name for name in names if frame[name].dtype == object and _first(frame[name], Decimal)]
    return frame.assign(**{name: pd.to_numeric(frame[name]) for name in exact})


def _first(column: pd.Series, kind: type) -> bool:
    present = column.dropna()
    return bool(len(present)) and isinstance(present.iloc[0], kind)


def absolute_url(url: str) -> str:
    """A URL that means the same wherever a run is: the path of an SQLite file in full."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return url
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        return url
    return parsed.set(database=str(Path(str(parsed.database)).absolute())).render_as_string(hide_password=False)
