"""Fetch the features that a request leaves out, by key, from Redis or a SQL table, in one round trip."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Protocol

from evergreen.errors import EvergreenError, ModelFileError
from evergreen.sources.sql_errors import SOURCE, parse_url
from evergreen.spec.model import ModelSpec
from evergreen.spec.serving import Lookup
from evergreen.storage.credentials import resolve_env
from serving.faults import RowFault, unprocessable

_FORMS = "redis://host:6379/0#prefix or database-URL#table"
_THREADS = 4
_REDIS = ("redis", "rediss", "unix")

_LOG = logging.getLogger(__name__)

Row = Mapping[str, Any]


class FeatureStore(Protocol):
    """Where features are."""

    def fetch(self, keys: Sequence[Any], columns: Sequence[str]) -> Sequence[Row]:
        """The features of each key, in their order; an empty mapping for a key that is not there."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class FeatureLookup:
    """Completes the rows of a request.

    Attributes:
        lookup: of the model file.
        columns: that are fetched where a row lacks them.
        store: where they are.
        failures: called with what went wrong where the store did not answer in time.
    """

    lookup: Lookup
    columns: tuple[str, ...]
    store: FeatureStore
    failures: Callable[[str], None]
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_THREADS, "lookup"))

    def is_complete(self, rows: Sequence[Row]) -> bool:
        """Whether no row lacks a feature, and nothing has to be fetched."""
        return all(name in row for row in rows for name in self.columns)

    async def complete(self, rows: Sequence[Row]) -> tuple[list[dict[str, Any]], bool]:
        """The rows with the features that they lack, null where there are none, and whether the store answered.

        Raises:
            RequestError: a row that lacks a feature has no key.
        """
        lacking = [position for position, row in enumerate(rows) if not self.is_complete((row,))]
        keys = [rows[position].get(self.lookup.key) for position in lacking]
        faults = [
            RowFault(position, self.lookup.key, "the key by which its features are looked up is missing")
            for position, key in zip(lacking, keys, strict=True)
            if not isinstance(key, str | int) or isinstance(key, bool)
        ]
        if faults:
            what = "A row that leaves features out has to bring its key; nothing was predicted."
            raise unprocessable("missing_key", what, tuple(faults))
        fetched, answered = await self._fetch(keys)
        completed = [dict(row) for row in rows]
        for position, found in zip(lacking, fetched, strict=True):
            absent = [name for name in self.columns if name not in completed[position]]
            completed[position] |= {name: found.get(name) for name in absent}
        return completed, answered

    async def _fetch(self, keys: Sequence[Any]) -> tuple[Sequence[Row], bool]:
        work = asyncio.get_running_loop().run_in_executor(self._threads, self.store.fetch, keys, self.columns)
        try:
            async with asyncio.timeout(self.lookup.seconds):
                return await work, True
        except TimeoutError:
            self.failures(f"not within {self.lookup.seconds:g} seconds")
        except Exception as error:
            # A driver's message may quote rows or the URL.
            self.failures(type(error).__name__)
        return [{} for _ in keys], False


def open_lookup(spec: ModelSpec, failures: Callable[[str], None]) -> FeatureLookup | None:
    """The lookup of a model file; None where it has none. Nothing is connected yet.

    Raises:
        ModelFileError: its URL cannot be used, or a driver is not installed.
    """
    lookup = spec.serve.lookup if spec.serve is not None else None
    if lookup is None:
        return None
    try:
        place = resolve_env(lookup.url, "lookup", _FORMS)
        address, separator, name = place.rpartition("#")
        if not separator or not name:
            raise EvergreenError("Its URL has no #prefix or #table.", f"Write {_FORMS}.")
        store: FeatureStore
        if address.partition("://")[0] in _REDIS:
            store = RedisStore.open(address, name, lookup.seconds)
        else:
            store = SqlStore.open(address, name, lookup.key)
    except EvergreenError as error:
        raise ModelFileError(f"{spec.place('serve')}: lookup: {error.what}", error.fix) from None
    return FeatureLookup(lookup, lookup.columns or spec.features.all, store, failures)


@dataclass(frozen=True, slots=True, eq=False)
class RedisStore:
    """`prefix:KEY` holds a JSON object of features."""

    client: Any
    prefix: str

    @classmethod
    def open(cls, url: str, prefix: str, seconds: float) -> RedisStore:
        """A client that connects when it is first asked."""
        try:
            import redis
        except ImportError:
            raise EvergreenError("Redis needs the redis extra.", 'Run: pip install ".[redis]"') from None
        try:
            client = redis.Redis.from_url(url, socket_timeout=seconds, socket_connect_timeout=seconds)
        except (ValueError, TypeError):
            raise EvergreenError("It is not a Redis URL.", "Such as redis://host:6379/0#prefix") from None
        return cls(client, prefix)

    def fetch(self, keys: Sequence[Any], columns: Sequence[str]) -> Sequence[Row]:
        """As `FeatureStore`."""
        found = self.client.mget([f"{self.prefix}:{key}" for key in keys])
        rows = [json.loads(text) if text is not None else {} for text in found]
        return [{name: row.get(name) for name in columns} if isinstance(row, dict) else {} for row in rows]


@dataclass(frozen=True, slots=True, eq=False)
class SqlStore:
    """A table in which a row has the key and the features in columns of these names."""

    engine: Any
    table: str
    key: str

    @classmethod
    def open(cls, url: str, table: str, key: str) -> SqlStore:
        """An engine that connects when it is first asked."""
        from sqlalchemy import create_engine
        from sqlalchemy.exc import SQLAlchemyError

        parsed = parse_url(url, SOURCE, "postgresql+psycopg://host/name#table")
        try:
            return cls(create_engine(parsed, pool_pre_ping=True), table, key)
        except (SQLAlchemyError, ImportError) as error:
            what = f"Its database cannot be opened ({type(error).__name__})."
            raise EvergreenError(what, "Install its driver, such as: pip install '.[postgres]'") from None

    def fetch(self, keys: Sequence[Any], columns: Sequence[str]) -> Sequence[Row]:
        """As `FeatureStore`."""
        from sqlalchemy import column, select, table

        schema, _, name = self.table.rpartition(".")
        place = table(name, *(column(each) for each in (self.key, *columns)), schema=schema or None)
        query = select(place.c[self.key], *(place.c[each] for each in columns if each != self.key))
        with self.engine.connect() as connection:
            rows = connection.execute(query.where(place.c[self.key].in_(set(keys)))).mappings().all()
        by_key = {row[self.key]: {name: _as_json(row[name]) for name in columns} for row in rows}
        return [by_key.get(key, {}) for key in keys]


def _as_json(value: Any) -> Any:
    """A value of a database as a request would have brought it."""
    if isinstance(value, Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, datetime | date) else value
