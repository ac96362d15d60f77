"""Kafka: a topic whose partitions are divided among the consumers of a group.

Offsets are committed when a batch is done, and the next one is asked for then: what a consumer did not commit is read
again by whoever gets its partitions.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from serving.streams.address import Address
from serving.streams.feed import CONNECT_SECONDS, PUBLISH_SECONDS, Inbox, Outgoing, reach
from serving.streams.message import Message, kafka_id

if TYPE_CHECKING:
    from faststream.kafka import KafkaBroker

_POLL_MILLISECONDS = 200


class KafkaConnection:
    """Publishes to a topic."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.broker = _open(address)

    async def connect(self) -> None:
        """As `Connection`."""
        await reach(self.address, self.broker.start)

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """As `Connection`."""
        async with asyncio.timeout(PUBLISH_SECONDS):
            await asyncio.gather(
                *(
                    self.broker.publish(
                        each.body,
                        topic=self.address.name,
                        key=each.id.encode(),
                        headers={"message_id": each.id, "content-type": "application/json"},
                    )
                    for each in messages
                )
            )

    async def answers(self) -> bool:
        """As `Connection`."""
        return await self.broker.ping(CONNECT_SECONDS)

    async def close(self) -> None:
        """As `Connection`."""
        await self.broker.stop()


@dataclass(slots=True, eq=False)
class _Delivery:
    """Records that were read together, and are committed when all of them are done."""

    message: Any
    left: int
    done: asyncio.Event = field(default_factory=asyncio.Event)


class KafkaFeed:
    """Takes the records of a topic."""

    def __init__(self, address: Address, group: str, batch: int) -> None:
        self.address = address
        self.broker = _open(address)
        self.group = group
        self.batch = batch
        self._subscriber: Any = None
        self._open: set[_Delivery] = set()

    async def connect(self) -> None:
        """As `Feed`."""
        await reach(self.address, self.broker.connect)

    async def start(self, inbox: Inbox) -> None:
        """As `Feed`."""
        if self._subscriber is None:
            self._subscribe(inbox)
        await reach(self.address, self.broker.start)

    def _subscribe(self, inbox: Inbox) -> None:
        from faststream import AckPolicy

        self._subscriber = self.broker.subscriber(
            self.address.name,
            batch=True,
            max_records=self.batch,
            batch_timeout_ms=_POLL_MILLISECONDS,
            group_id=self.group,
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.MANUAL,
        )

        async def arrive(message: Any) -> None:
            records = message.raw_message
            delivery = _Delivery(message, len(records))
            self._open.add(delivery)
            for record in records:
                name = kafka_id(record.topic, record.partition, record.offset)
                await inbox.put(Message(name, record.value or b"", True, time.time(), delivery))
            # The commit is of all that was read: nothing more is read before it.
            await delivery.done.wait()

        self._subscriber(arrive)

    async def acknowledge(self, messages: Sequence[Message]) -> None:
        """As `Feed`."""
        for each in messages:
            delivery: _Delivery = each.receipt
            delivery.left -= 1
            if not delivery.left:
                # A partition that another consumer has now is its own: it reads the records again.
                with suppress(Exception):
                    await delivery.message.ack()
                self._release(delivery)

    async def answers(self) -> bool:
        """As `Feed`."""
        return await self.broker.ping(CONNECT_SECONDS)

    async def pause(self) -> None:
        """As `Feed`."""
        if self._subscriber is not None:
            await self._subscriber.stop()

    async def close(self) -> None:
        """As `Feed`."""
        for delivery in tuple(self._open):
            self._release(delivery)
        await self.broker.stop()

    def _release(self, delivery: _Delivery) -> None:
        delivery.done.set()
        self._open.discard(delivery)


def _open(address: Address) -> KafkaBroker:
    from faststream.kafka import KafkaBroker

    servers = urlsplit(address.url).netloc.split(",")
    return KafkaBroker(
        servers, logger=None, apply_types=False, decoder=_keep, graceful_timeout=CONNECT_SECONDS, acks="all"
    )


async def _keep(message: Any) -> Any:
    return message
