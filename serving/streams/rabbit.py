"""RabbitMQ: a durable queue whose messages its consumers share.

A message that is not acknowledged is the queue's again as soon as the connection of its consumer is gone. RabbitMQ then
marks it as redelivered, and promises that one without the mark was not delivered before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from serving.streams.address import Address
from serving.streams.feed import CONNECT_SECONDS, PUBLISH_SECONDS, Inbox, Outgoing, reach
from serving.streams.message import Message, amqp_id

if TYPE_CHECKING:
    from faststream.rabbit import RabbitBroker, RabbitMessage

_RECONNECT_SECONDS = 1.0


class RabbitConnection:
    """Publishes to a queue."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.broker = _open(address)

    async def connect(self) -> None:
        """As `Connection`."""
        await reach(self.address, lambda: _connect(self.broker, self.address.name))

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """As `Connection`."""
        try:
            await self._publish(messages)
        except Exception:
            # A queue that was deleted is made again.
            await self.connect()
            raise

    async def _publish(self, messages: Sequence[Outgoing]) -> None:
        await asyncio.gather(
            *(
                self.broker.publish(
                    each.body,
                    queue=self.address.name,
                    message_id=each.id,
                    content_type="application/json",
                    persist=True,
                    timeout=PUBLISH_SECONDS,
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


class RabbitFeed:
    """Takes the messages of a queue."""

    def __init__(self, address: Address, batch: int) -> None:
        self.address = address
        self.broker = _open(address)
        self.batch = batch
        self._subscriber: Any = None

    async def connect(self) -> None:
        """As `Feed`."""
        await reach(self.address, lambda: _connect(self.broker, self.address.name))

    async def start(self, inbox: Inbox) -> None:
        """As `Feed`; twice a batch is taken at most, so that the next one is there when one is done."""
        if self._subscriber is None:
            self._subscribe(inbox)
        await reach(self.address, self.broker.start)

    def _subscribe(self, inbox: Inbox) -> None:
        from faststream import AckPolicy
        from faststream.rabbit import Channel, RabbitQueue

        queue = RabbitQueue(self.address.name, durable=True, declare=False)
        channel = Channel(prefetch_count=2 * self.batch)
        self._subscriber = self.broker.subscriber(queue, channel=channel, ack_policy=AckPolicy.MANUAL)

        async def arrive(message: RabbitMessage) -> None:
            raw = message.raw_message
            name = amqp_id(raw.message_id, raw.body)
            await inbox.put(Message(name, raw.body, bool(raw.redelivered), time.time(), message))

        self._subscriber(arrive)

    async def acknowledge(self, messages: Sequence[Message]) -> None:
        """As `Feed`."""
        # Those of a connection that is gone are the queue's again, and say so.
        await asyncio.gather(*(each.receipt.ack() for each in messages), return_exceptions=True)

    async def answers(self) -> bool:
        """As `Feed`."""
        return await self.broker.ping(CONNECT_SECONDS)

    async def pause(self) -> None:
        """As `Feed`."""
        if self._subscriber is not None:
            await self._subscriber.stop()

    async def close(self) -> None:
        """As `Feed`."""
        await self.broker.stop()


def _open(address: Address) -> RabbitBroker:
    from faststream.rabbit import Channel, RabbitBroker

    # The body is read by us, and a message that is no JSON has to arrive, too.
    return RabbitBroker(
        address.url,
        logger=None,
        apply_types=False,
        decoder=_keep,
        graceful_timeout=CONNECT_SECONDS,
        reconnect_interval=_RECONNECT_SECONDS,
        timeout=CONNECT_SECONDS,
        # What no queue took would otherwise count as published.
        default_channel=Channel(on_return_raises=True),
    )


async def _keep(message: Any) -> Any:
    return message


async def _connect(broker: RabbitBroker, queue: str) -> None:
    """Connect, and declare a durable queue where there is none: one that is there may have other properties."""
    from aio_pika.exceptions import ChannelNotFoundEntity

    connection = await broker.connect()
    try:
        async with connection.channel() as channel:
            await channel.declare_queue(queue, passive=True)
    except ChannelNotFoundEntity:
        async with connection.channel() as channel:
            await channel.declare_queue(queue, durable=True)
