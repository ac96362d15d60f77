"""Kafka, by the broker in memory that FastStream has for tests: no Kafka runs here."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Callable
from typing import Any

from evergreen.settings import Settings
from serving.streams.address import read_address
from serving.streams.feed import Inbox, Outgoing
from serving.streams.kafka import KafkaConnection, KafkaFeed
from serving.streams.message import Message
from serving.version import ServedVersion
from tests.serving.streams.conftest import in_loop, row
from tests.serving.streams.test_steps import make_consumer, tables  # noqa: F401 - a fixture

Make = Callable[..., Any]


def test_records_are_scored_and_committed_when_they_are_done(
    make_consumer: Make,  # noqa: F811 - the fixture
    version: ServedVersion,
    settings: Settings,
) -> None:
    """Each has the id of its place; nothing more is read, and no offset committed, before its batch is done."""
    from faststream.kafka import TestKafkaBroker

    source, target = (read_address(f"kafka://host:9092#{name}", "source") for name in ("orders", "scores"))
    feed, connection = KafkaFeed(source, "evergreen-toy", 10), KafkaConnection(target)
    feed.broker = connection.broker
    said: list[tuple[Any, Any]] = []
    committed: list[int] = []

    async def work() -> None:
        consumer = make_consumer(version)
        consumer.feed, consumer.target = feed, connection
        inbox = Inbox(20)
        hear = feed.broker.subscriber("scores")
        hear(_listener(said))
        async with TestKafkaBroker(feed.broker):
            await feed.start(inbox)
            # With one offset for all records of a partition, this broker tells them by their partition.
            sending = [
                asyncio.create_task(feed.broker.publish(row(number), topic="orders", partition=number))
                for number in range(3)
            ]
            batch: list[Message] = []
            while len(batch) < 3:
                batch += await inbox.take(3 - len(batch), 0.05)
            assert sorted(each.id for each in batch) == [f"orders-{n}-000000000000" for n in range(3)]
            assert not any(each.done() for each in sending)
            for each in batch:
                message = each.receipt.message
                message.consumer = _Commits(committed)
            await consumer._score(batch)
            await asyncio.gather(*sending)
        consumer.worker.close()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        in_loop(work())
    assert len(committed) == 3
    predictions, requests = tables(settings, version)
    assert (
        sorted(predictions["run_id"]) == sorted(requests["request"]) == [f"orders-{n}-000000000000" for n in range(3)]
    )
    by_id = predictions.set_index("run_id")["prediction"]
    assert len(said) == 3
    for name, body in said:
        answer = json.loads(body)
        assert answer["request_id"] == name
        assert answer["prediction"] == by_id[name]


class _Commits:
    """Counts what is committed."""

    def __init__(self, committed: list[int]) -> None:
        self.committed = committed

    async def commit(self) -> None:
        self.committed.append(1)


def _listener(said: list[tuple[Any, Any]]) -> Callable[[Any], Any]:
    async def hear(message: Any) -> None:
        said.append((message.headers["message_id"], message.body))

    return hear


def test_a_publication_carries_the_id() -> None:
    """As its key and in its headers."""
    from faststream.kafka import TestKafkaBroker

    connection = KafkaConnection(read_address("kafka://host:9092#scores", "target"))
    said: list[tuple[Any, Any]] = []
    connection.broker.subscriber("scores")(_listener(said))

    async def work() -> None:
        async with TestKafkaBroker(connection.broker):
            await connection.publish([Outgoing("a", b"{}"), Outgoing("b", b"[]")])

    in_loop(work())
    assert said == [("a", b"{}"), ("b", b"[]")]
