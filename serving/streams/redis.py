"""Redis: a stream whose entries the consumers of a group share.

An entry has its JSON in the field `data`, as it is written here, or has a field for each column. What a consumer took
and did not acknowledge stays its own, so that the others take it over when it has been idle for some seconds.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from serving.streams.address import Address
from serving.streams.feed import CONNECT_SECONDS, PUBLISH_SECONDS, Inbox, Outgoing, reach
from serving.streams.message import Message, redis_id

if TYPE_CHECKING:
    from faststream.redis import RedisBroker

_BLOCK_MILLISECONDS = 1_000
"""How long a read waits for an entry."""
_FIELD = b"data"


class RedisConnection:
    """Publishes to a stream."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.broker = _open(address)

    async def connect(self) -> None:
        """As `Connection`."""
        await reach(self.address, lambda: _connect(self.broker))

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """As `Connection`; all in one round trip."""
        client = await self.broker.connect()
        async with client.pipeline(transaction=False) as pipeline:
            for each in messages:
                pipeline.xadd(self.address.name, {_FIELD: each.body, b"id": each.id.encode()})
            await pipeline.execute()

    async def answers(self) -> bool:
        """As `Connection`."""
        return await self.broker.ping(CONNECT_SECONDS)

    async def close(self) -> None:
        """As `Connection`."""
        await self.broker.stop()


class RedisFeed:
    """Takes the entries of a stream."""

    def __init__(self, address: Address, group: str, batch: int, claim: float) -> None:
        self.address = address
        self.broker = _open(address)
        self.group = group
        self.batch = batch
        self.claim = claim
        self.consumer = f"{socket.gethostname()}-{os.getpid()}-{token_hex(4)}"
        self._subscribers: list[Any] = []
        self._in_hand: set[bytes] = set()

    async def connect(self) -> None:
        """As `Feed`."""
        await reach(self.address, self._make_group)

    async def start(self, inbox: Inbox) -> None:
        """As `Feed`: entries that nobody took yet, and those that another consumer holds for too long."""
        if not self._subscribers:
            self._subscribe(inbox)
        await reach(self.address, self.broker.start)

    def _subscribe(self, inbox: Inbox) -> None:
        from faststream import AckPolicy
        from faststream.redis import StreamSub

        async def arrive(message: Any) -> None:
            raw = message.raw_message
            entries = raw["data"] if isinstance(raw["data"], list) else [raw["data"]]
            for entry, fields in zip(raw["message_ids"], entries, strict=True):
                # What lies here for too long is claimed by ourselves as well.
                if entry not in self._in_hand:
                    self._in_hand.add(entry)
                    name = redis_id(self.address.name, entry)
                    # After a restart Redis may have forgotten what it gave to whom.
                    await inbox.put(Message(name, _body(fields), True, time.time(), entry))

        sub = partial(
            StreamSub,
            self.address.name,
            polling_interval=_BLOCK_MILLISECONDS,
            group=self.group,
            consumer=self.consumer,
        )
        for stream in (sub(batch=True, max_records=self.batch), sub(min_idle_time=int(self.claim * 1_000))):
            subscriber = self.broker.subscriber(stream=stream, ack_policy=AckPolicy.MANUAL)
            subscriber(arrive)
            self._subscribers.append(subscriber)

    async def acknowledge(self, messages: Sequence[Message]) -> None:
        """As `Feed`."""
        entries = [each.receipt for each in messages]
        try:
            client = await self.broker.connect()
            await client.xack(self.address.name, self.group, *entries)
        finally:
            # What Redis does not know to be done is claimed again.
            self._in_hand.difference_update(entries)

    async def answers(self) -> bool:
        """As `Feed`."""
        if not await self.broker.ping(CONNECT_SECONDS):
            return False
        if any(not each.running for each in self._subscribers):
            # The stream was deleted, or Redis came back without it.
            await self._make_group()
            for each in self._subscribers:
                if not each.running:
                    await each.start()
        return True

    async def pause(self) -> None:
        """As `Feed`."""
        for each in self._subscribers:
            await each.stop()

    async def close(self) -> None:
        """As `Feed`."""
        with suppress(Exception):
            await self._leave_group()
        await self.broker.stop()

    async def _make_group(self) -> None:
        from redis.exceptions import ResponseError

        client = await _connect(self.broker)
        try:
            # From the first entry on: what was written before the first consumer came is no less a row.
            await client.xgroup_create(self.address.name, self.group, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def _leave_group(self) -> None:
        """Take the consumer's name out of the group, where nothing is left to be taken over."""
        client = await self.broker.connect()
        held = await client.xpending_range(self.address.name, self.group, "-", "+", 1, consumername=self.consumer)
        if not held:
            await client.xgroup_delconsumer(self.address.name, self.group, self.consumer)


def _body(fields: Mapping[bytes, bytes]) -> bytes:
    """The JSON of an entry: what FastStream wrote, or the field `data`; else its fields are the columns of one row."""
    import orjson
    from faststream.redis.message import bDATA_KEY
    from faststream.redis.parser import BinaryMessageFormatV1

    if bDATA_KEY in fields:
        body: bytes = BinaryMessageFormatV1.parse(fields[bDATA_KEY])[0]
        return body
    if _FIELD in fields:
        return fields[_FIELD]
    columns = {_text(name): _text(value) for name, value in fields.items()}
    return orjson.dumps(columns)


def _text(content: bytes) -> str:
    return content.decode(errors="backslashreplace")


def _open(address: Address) -> RedisBroker:
    from faststream.redis import RedisBroker

    return RedisBroker(
        address.url,
        logger=None,  # type: ignore[arg-type]
        apply_types=False,
        decoder=_keep,
        graceful_timeout=CONNECT_SECONDS,
        socket_timeout=PUBLISH_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
    )


async def _keep(message: Any) -> Any:
    return message


async def _connect(broker: RedisBroker) -> Any:
    client = await broker.connect()
    await client.ping()
    return client
