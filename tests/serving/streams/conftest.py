"""Brokers that run, a home with a champion, and consumers as processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pandas as pd
import pytest

from evergreen.data.prediction_log import PredictionLog
from evergreen.data.request_log import RequestLog
from evergreen.settings import Settings
from tests.serving.conftest import MODEL_FILE, Home, as_utc

PROJECT = Path(__file__).resolve().parents[3]
RABBIT, REDIS = "amqp://guest:guest@127.0.0.1:5672/", "redis://127.0.0.1:6379/0"
T = TypeVar("T")


def require_broker(url: str) -> None:
    """Skip the test where the broker does not run."""
    port = 5672 if url.startswith("amqp") else 6379
    with socket.socket() as probe:
        probe.settimeout(2)
        if probe.connect_ex(("127.0.0.1", port)):
            pytest.skip(f"no broker answers at 127.0.0.1:{port}")


def in_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a loop of its own."""
    return asyncio.run(work)


class Rabbit:
    """The queues of one test in RabbitMQ, as their other side sees them."""

    def __init__(self, url: str = RABBIT) -> None:
        self.url, self.names = url, (name := f"evergreen-test-{uuid4().hex[:10]}", f"{name}-to", f"{name}-dead")
        self.source, self.target, self.dead_letters = (f"{url}#{name}" for name in self.names)

    def send(self, bodies: Mapping[str, bytes] | Sequence[tuple[str | None, bytes]]) -> None:
        """Publish messages of these ids, which survive a restart of the broker."""
        in_loop(self._send(list(bodies.items()) if isinstance(bodies, Mapping) else list(bodies)))

    async def _send(self, bodies: Sequence[tuple[str | None, bytes]]) -> None:
        import aio_pika

        async with await aio_pika.connect(self.url) as connection:
            channel = await connection.channel(publisher_confirms=False)
            await channel.declare_queue(self.names[0], durable=True)
            for name, body in bodies:
                message = aio_pika.Message(body, message_id=name, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
                await channel.default_exchange.publish(message, self.names[0])
            # It closes when the broker has taken all.
            await channel.close()

    def read(self, place: int = 1) -> list[tuple[str, Any]]:
        """The ids and bodies of what was published: 1 for the target, 2 for the dead letters."""
        return in_loop(self._read(self.names[place]))

    async def _read(self, name: str) -> list[tuple[str, Any]]:
        import aio_pika

        found: list[tuple[str, Any]] = []
        async with await aio_pika.connect(self.url) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue(name, durable=True)
            while (message := await queue.get(no_ack=True, fail=False)) is not None:
                found.append((message.message_id or "", json.loads(message.body)))
        return found

    def left(self, place: int = 0) -> int:
        """Messages that no consumer has in hand."""
        return in_loop(self._left(self.names[place]))

    async def _left(self, name: str) -> int:
        import aio_pika

        async with await aio_pika.connect(self.url) as connection:
            channel = await connection.channel()
            return int((await channel.declare_queue(name, durable=True)).declaration_result.message_count or 0)

    def remove(self) -> None:
        """Delete the queues."""
        in_loop(self._remove())

    async def _remove(self) -> None:
        import aio_pika

        async with await aio_pika.connect(self.url) as connection:
            for name in self.names:
                channel = await connection.channel()
                await channel.queue_delete(name)


class RedisStreams:
    """The streams of one test in Redis, as their other side sees them."""

    def __init__(self, url: str = REDIS) -> None:
        import redis

        self.names = (name := f"evergreen-test-{uuid4().hex[:10]}", f"{name}-to", f"{name}-dead")
        self.source, self.target, self.dead_letters = (f"{url}#{name}" for name in self.names)
        self.client = redis.Redis.from_url(url)

    def send(self, bodies: Mapping[str, bytes] | Sequence[tuple[str | None, bytes]]) -> None:
        """Add entries; their ids are Redis's own."""
        with self.client.pipeline(transaction=False) as pipeline:
            for _, body in bodies.items() if isinstance(bodies, Mapping) else bodies:
                pipeline.xadd(self.names[0], {"data": body})
            pipeline.execute()

    def read(self, place: int = 1) -> list[tuple[str, Any]]:
        """The ids and bodies of what was published: 1 for the target, 2 for the dead letters."""
        entries = self.client.xrange(self.names[place])
        return [(fields[b"id"].decode(), json.loads(fields[b"data"])) for _, fields in entries]

    def left(self, place: int = 0) -> int:
        """Entries that are not acknowledged."""
        groups = self.client.xinfo_groups(self.names[place])
        if not groups:
            return int(self.client.xlen(self.names[place]))
        return int(groups[0]["pending"]) + int(groups[0]["lag"] or 0)

    def remove(self) -> None:
        """Delete the streams."""
        self.client.delete(*self.names)
        self.client.close()


@pytest.fixture
def rabbit() -> Iterator[Rabbit]:
    """Queues of the test's own in the RabbitMQ that runs here."""
    require_broker(RABBIT)
    queues = Rabbit()
    yield queues
    queues.remove()


@pytest.fixture
def redis_streams() -> Iterator[RedisStreams]:
    """Streams of the test's own in the Redis that runs here."""
    require_broker(REDIS)
    streams = RedisStreams()
    yield streams
    streams.remove()


@pytest.fixture(params=["rabbit", "redis_streams"])
def broker(request: pytest.FixtureRequest) -> Any:
    """Each broker that runs here."""
    return request.getfixturevalue(request.param)


@dataclass
class Process:
    """A consumer."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr:
            self.lines.extend(iter(self.process.stderr.readline, ""))

    @property
    def text(self) -> str:
        return "".join(self.lines)

    def end(self, how: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        status = self.process.wait(60)
        self.reader.join()
        return status


def wait_for(condition: Callable[[], Any], what: str, *processes: Process, seconds: float = 120.0) -> None:
    """Wait until something is so, and tell what the consumers said where it is not."""
    deadline = time.monotonic() + seconds
    while not condition():
        said = "\n".join(each.text for each in processes)
        assert time.monotonic() < deadline, f"not within {seconds:g} seconds: {what}\n{said}"
        assert all(each.process.poll() is None for each in processes), said
        time.sleep(0.05)


class StreamHome:
    """A home whose champion is to score streams."""

    def __init__(self, settings: Settings, rows: pd.DataFrame) -> None:
        self.settings = settings
        self.versions = Home(settings, rows)
        self.spec = self.versions.spec
        self.started: list[Process] = []

    def promote(self, factor: float) -> int:
        """A new champion, which answers `factor` times as much."""
        number = self.versions.register(factor)
        self.versions.promote(number)
        return number

    def start(
        self, queues: Any, *words: str, program: Sequence[str] = ("-m", "deployments.cli"), **more: str
    ) -> Process:
        """A consumer that takes from a test's queues."""
        environment = os.environ | {
            "EVERGREEN_HOME": str(self.settings.root),
            "EVERGREEN_MODELS": str(self.settings.models),
            "PYTHONPATH": str(PROJECT),
            "SOURCE": queues.source,
            "TARGET": queues.target,
            "DEAD": queues.dead_letters,
        }
        command = [sys.executable, *program, "stream", "toy", "--from", "env:SOURCE", "--to", "env:TARGET"]
        process = Process(
            subprocess.Popen(
                [*command, "--wait", "0.1", "--poll", "0.1", *words],
                env=environment | more,
                cwd=PROJECT,
                stderr=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                text=True,
            )
        )
        self.started.append(process)
        return process

    def predictions(self) -> pd.DataFrame:
        """The table of predictions."""
        return PredictionLog(self.settings.lake_uri, self.spec).table.read()

    def requests(self) -> pd.DataFrame:
        """The table of requests."""
        return RequestLog(self.settings.lake_uri, self.spec).table.read()

    def logged(self) -> int:
        """How many predictions there are."""
        log = PredictionLog(self.settings.lake_uri, self.spec)
        return len(log.table.read(["row"])) if log.table.exists() else 0

    def end(self) -> None:
        """Kill what still runs."""
        for each in self.started:
            with suppress(ProcessLookupError):
                each.process.kill()
            each.process.wait(60)
            each.reader.join()


@pytest.fixture
def stream_home(
    tmp_path: Path, settings: Settings, empty_database: Path, make_rows: Callable[..., pd.DataFrame]
) -> Iterator[StreamHome]:
    """A home of the test's own with one model file and no version yet."""
    settings.root.mkdir(parents=True, exist_ok=True)
    shutil.copy(empty_database, settings.root / "mlflow.db")
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "toy.py").write_text(MODEL_FILE)
    home = StreamHome(Settings(home=settings.home, models=folder), as_utc(make_rows(100)))
    yield home
    home.end()


def row(number: int, **changes: Any) -> bytes:
    """A row of the small model; its x says which one it is."""
    whole = {"id": number, "at": "2026-01-01T00:00:00Z", "x": number / 10_000, "kind": "ab"[number % 2]}
    return json.dumps(whole | changes).encode()


def rows(count: int, first: int = 0) -> dict[str, bytes]:
    """Messages of one row each, by their ids."""
    return {f"m-{number}": row(number) for number in range(first, first + count)}
