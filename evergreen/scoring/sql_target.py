"""Predictions as rows of a SQL table, through SQLAlchemy: a batch's rows are put there in one transaction.

The transaction takes out what the batch had there before; the primary key (batch, row) holds where two write at once.
No message of the driver is passed on: it may quote rows or the URL.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from evergreen.errors import BusyError, EvergreenError
from evergreen.sources.sql_errors import TARGET, opened, parse_url, shown

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Engine, Table
    from sqlalchemy.types import TypeEngine

ROWS = 5_000
"""So many rows are handed to the driver at a time."""
_WAIT_SECONDS = 30
_KEY_LENGTH = 64
_EXAMPLE = "postgresql+psycopg://host/name#predictions"


@dataclass(frozen=True, slots=True)
class TableTarget:
    """A table, named behind the `#` of a database's URL; its schema before a dot."""

    url: str = field(repr=False)

    @property
    def name(self) -> str:
        """Driver, host, database and table."""
        database, _, table = self.url.rpartition("#")
        return f"{shown(parse_url(database, TARGET, _EXAMPLE))}#{table}"

    def check(self) -> None:
        """Whether the database answers."""
        with self._connected() as engine, engine.connect():
            pass

    def write(self, batch: str, schema: pa.Schema, rows: Iterator[pa.Table]) -> None:
        """Put the batch's rows in the place of those that it had there."""
        with self._connected() as engine:
            table = self._table(engine, schema)
            with engine.begin() as connection:
                connection.execute(table.delete().where(table.c.batch == batch))
                for chunk in rows:
                    for part in chunk.to_batches(max_chunksize=ROWS):
                        connection.execute(table.insert(), part.to_pylist())

    def _table(self, engine: Engine, schema: pa.Schema) -> Table:
        """The table, made if it is not there."""
        from sqlalchemy import Column, MetaData, Table, inspect
        from sqlalchemy.exc import DBAPIError

        place, _, short = self.url.rpartition("#")[2].rpartition(".")
        columns = [
            Column(one.name, _type(one), primary_key=one.name in ("batch", "row"), autoincrement=False)
            for one in schema
        ]
        table = Table(short, MetaData(), *columns, schema=place or None)
        try:
            table.create(engine, checkfirst=True)
        except DBAPIError:
            # Another run may have made it at the same time.
            if not inspect(engine).has_table(short, schema=place or None):
                raise
        held = {one["name"] for one in inspect(engine).get_columns(short, schema=place or None)}
        if lacking := [one for one in schema.names if one not in held]:
            raise EvergreenError(
                f"The table {self.name} has no column {lacking[0]!r}.",
                f"Add it (missing: {', '.join(lacking)}), or name another table, which is made.",
            )
        return table

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Engine]:
        """An engine; what goes wrong is one line."""
        from sqlalchemy.exc import IntegrityError

        database, mark, table = self.url.rpartition("#")
        if not mark or not table.strip(". "):
            raise EvergreenError(
                "The target's URL does not say which table.", "Such as sqlite:///scores.db#predictions"
            )
        with opened(parse_url(database, TARGET, _EXAMPLE), self.name, TARGET, seconds=_WAIT_SECONDS) as engine:
            try:
                yield engine
            except IntegrityError:
                raise BusyError(f"{self.name}: another run wrote the same batch.", "Run it again.") from None


def _type(column: pa.Field) -> TypeEngine[Any]:
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
