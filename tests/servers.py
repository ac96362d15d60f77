"""PostgreSQL and Redis of this machine, for the tests that need them; they skip where these are absent."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest


@pytest.fixture
def databases() -> Iterator[dict[str, str]]:
    """Settings of two PostgreSQL databases with random names, dropped afterwards, and of an empty Redis database."""
    import psycopg
    import redis

    server = os.environ.get("EVERGREEN_TEST_POSTGRES", "postgres:word@127.0.0.1:5432")
    names = [f"evergreen_{what}_{uuid.uuid4().hex[:8]}" for what in ("prefect", "mlflow")]
    with ExitStack() as opened:
        try:
            carrier = opened.enter_context(_empty_redis())
            url = f"postgresql://{server}/postgres"
            admin = opened.enter_context(psycopg.connect(url, autocommit=True, connect_timeout=3))
        except (psycopg.OperationalError, redis.RedisError) as error:
            pytest.skip(f"no PostgreSQL or Redis here: {error}")
        for name in names:
            admin.execute(f"CREATE DATABASE {name}")
        yield {
            "prefect_database": f"postgresql+asyncpg://{server}/{names[0]}",
            "tracking_uri": f"postgresql+psycopg://{server}/{names[1]}",
            "redis": carrier,
        }
        for name in names:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def _empty_redis() -> Iterator[str]:
    """The URL of a Redis database that held nothing, claimed by a key: others may test on this machine, too."""
    import redis

    for number in range(15, 0, -1):
        url = f"redis://127.0.0.1:6379/{number}"
        with redis.Redis.from_url(url, socket_connect_timeout=3) as client:
            if client.dbsize() or not client.set("claimed", os.getpid(), nx=True):
                continue
            try:
                yield url
            finally:
                client.flushdb()
            return
    pytest.skip("every Redis database here is in use")
