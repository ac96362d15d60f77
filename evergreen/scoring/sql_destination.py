"""Predictions as rows of an SQL table, through SQLAlchemy: a batch is written in one transaction.

The transaction deletes what the batch had there before. The primary key (batch, row) guards against two writers at
once. No message of the driver is passed on: it may quote rows or the URL.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from evergreen.errors import BusyError, EvergreenError
from evergreen.sources.sql_errors import DESTINATION, display_url, open_engine, parse_url

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Engine, Table
    from sqlalchemy.types import TypeEngine

ROWS = 5_000
"""Rows that are handed to the driver at a time."""
_WAIT_SECONDS = 30
_KEY_LENGTH = 64
_FOLDING = ("sqlite", "mysql", "mariadb", "mssql")
"""Dialects in which the case of a column's name tells nothing apart."""

_EXAMPLE = "postgresql+psycopg://host/name#predictions"


@dataclass(frozen=True, slots=True)
class TableDestination:
    """A table whose name, with its schema before a dot, follows the `#` of a database's URL."""

    url: str = field(repr=False)

    @property
    def name(self) -> str:
        """Driver, host, database and table."""
        database, _, table = self.url.rpartition("#")
        return f"{display_url(parse_url(database, DESTINATION, _EXAMPLE))}#{table}"

    def check(self) -> None:
        """Check that the database answers."""
        with self._connect() as engine, engine.connect():
            pass

    def write(self, batch: str, schema: pa.Schema, rows: Iterator[pa.Table]) -> None:
        """Replace the rows that the batch had there by its rows."""
        with self._connect() as engine:
            table = self._open_table(engine, schema)
            with engine.begin() as connection:
                connection.execute(table.delete().where(table.c.batch == batch))
                for chunk in rows:
                    for part in chunk.to_batches(max_chunksize=ROWS):
                        connection.execute(table.insert(), part.to_pylist())

    def _open_table(self, engine: Engine, schema: pa.Schema) -> Table:
        """The table, created if it does not exist."""
        from sqlalchemy import Column, MetaData, Table, inspect
        from sqlalchemy.exc import DBAPIError

        schema_name, _, name = self.url.rpartition("#")[2].rpartition(".")
        self._require_names(engine, [*filter(None, (schema_name, name)), *schema.names])
        columns = [
            Column(field.name, _sql_type(field), primary_key=field.name in ("batch", "row"), autoincrement=False)
            for field in schema
        ]
        table = Table(name, MetaData(), *columns, schema=schema_name or None)
        try:
            table.create(engine, checkfirst=True)
        except DBAPIError:
            # Another run may have created it at the same time.
            if not inspect(engine).has_table(name, schema=schema_name or None):
                raise
        existing = {column["name"] for column in inspect(engine).get_columns(name, schema=schema_name or None)}
        if missing := [column for column in schema.names if column not in existing]:
            raise EvergreenError(
                f"The table {self.name} has no column {missing[0]!r}.",
                f"Add it (missing: {', '.join(missing)}), or name another table, which is created.",
            )
        return table

    def _require_names(self, engine: Engine, names: Sequence[str]) -> None:
        """Refuse names that the database would cut off or take for one another, as it does without a word."""
        dialect, fix = engine.dialect, "Give the classes shorter names in the model file's prepare(), or name a file."
        longest = dialect.max_identifier_length
        if long := [name for name in names if len(name.encode()) > longest]:
            raise EvergreenError(
                f"{self.name}: {dialect.name} takes names of at most {longest} bytes, and would cut off "
                f"{_quote(long)}.",
                fix,
            )
        folded = [name.casefold() for name in names]
        if dialect.name in _FOLDING and (alike := [name for name in names if folded.count(name.casefold()) > 1]):
            raise EvergreenError(
                f"{self.name}: {dialect.name} takes {_quote(alike)} for one name, whatever their case.", fix
            )

    @contextlib.contextmanager
    def _connect(self) -> Iterator[Engine]:
        """An engine; an error while it is open becomes one line."""
        from sqlalchemy.exc import IntegrityError

        database, separator, table = self.url.rpartition("#")
        if not separator or not table.strip(". "):
            raise EvergreenError(
                "The destination's URL does not say which table.", "Name it: sqlite:///scores.db#predictions"
            )
        with open_engine(
            parse_url(database, DESTINATION, _EXAMPLE), self.name, DESTINATION, seconds=_WAIT_SECONDS
        ) as engine:
            try:
                yield engine
            except IntegrityError:
                raise BusyError(f"{self.name}: another run wrote the same batch.", "Run it again.") from None


def _quote(names: Sequence[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(map(repr, names[:4])) + more


def _sql_type(column: pa.Field) -> TypeEngine[Any]:
    import pyarrow as pa
    from sqlalchemy import BigInteger, Boolean, DateTime, Double, String, Text

    if pa.types.is_timestamp(column.type):
        return DateTime(timezone=True)
    if pa.types.is_boolean(column.type):
        return Boolean()
    if pa.types.is_integer(column.type):
        return BigInteger()
    if pa.types.is_floating(column.type):
        return Double()
    return String(_KEY_LENGTH) if column.name == "batch" else Text()
