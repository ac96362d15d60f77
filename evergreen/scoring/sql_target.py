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

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import URL, Engine, Table
    from sqlalchemy.types import TypeEngine

ROWS = 5_000
"""So many rows are handed to the driver at a time."""
_WAIT_SECONDS = 30
_KEY_LENGTH = 64

# Words in a driver's message, what they mean, what to do. The first that fits counts.
_MEANINGS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("locked",), "is locked by another program", "Wait until it is done, then run it again."),
    (("No space left", "disk is full", "Disk quota"), "is on a full disk", "Free space, then run it again."),
    (
        ("authentication failed", "no password supplied", "Access denied"),
        "refuses this user and password",
        "Check them in the target's URL.",
    ),
    (
        ("readonly database", "ermission denied", "read-only"),
        "cannot be written by this user",
        "Give the user the right to make and write the table.",
    ),
    (
        ("unable to open database file", "not a database", "malformed"),
        "cannot be opened: there is no such folder, or it is not an SQLite file",
        "Check the path: sqlite:///relative.db or sqlite:////absolute.db",
    ),
    (
        ("does not exist", "nknown database", "no such", "unknown database"),
        "has no such database or schema",
        "Make it first; only the table is made here.",
    ),
    (
        ("refused", "resolve", "Name or service", "timed out", "timeout", "unreachable"),
        "cannot be reached",
        "Start its server, or check the address.",
    ),
)


@dataclass(frozen=True, slots=True)
class TableTarget:
    """A table, named behind the `#` of a database's URL; its schema before a dot."""

    url: str = field(repr=False)

    @property
    def name(self) -> str:
        """Driver, host, database and table."""
        from sqlalchemy import URL

        database, _, table = self.url.rpartition("#")
        url = _parsed(database)
        shown = URL.create(url.drivername, host=url.host, port=url.port, database=url.database)
        return f"{shown.render_as_string()}#{table}"

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
        from sqlalchemy import create_engine
        from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError

        database, mark, table = self.url.rpartition("#")
        if not mark or not table.strip(". "):
            raise EvergreenError(
                "The target's URL does not say which table.", "Such as sqlite:///scores.db#predictions"
            )
        url = _parsed(database)
        try:
            option = {"sqlite": "timeout", "postgresql": "connect_timeout"}.get(url.get_backend_name())
            engine = create_engine(url, connect_args={option: _WAIT_SECONDS} if option else {})
        except (ImportError, ArgumentError, TypeError):
            raise EvergreenError(
                f"{url.drivername} is not a database whose driver is installed.",
                'Install it, such as pip install ".[postgres]" for postgresql+psycopg://...',
            ) from None
        try:
            yield engine
        except IntegrityError:
            raise BusyError(f"{self.name}: another run wrote the same batch.", "Run it again.") from None
        except SQLAlchemyError as error:
            raise self._explained(error) from None
        finally:
            engine.dispose()

    def _explained(self, error: Exception) -> EvergreenError:
        text = str(error)
        for words, what, fix in _MEANINGS:
            if any(word in text for word in words):
                return EvergreenError(f"{self.name} {what}.", fix)
        kind = type(getattr(error, "orig", None) or error).__name__
        return EvergreenError(f"{self.name} cannot be written ({kind}).", "Look into the database's own log.")


def _parsed(database: str) -> URL:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(database)
    except (ArgumentError, ValueError):
        raise EvergreenError(
            "The target is not a URL that SQLAlchemy can read.", "Such as postgresql+psycopg://host/name#predictions"
        ) from None


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
