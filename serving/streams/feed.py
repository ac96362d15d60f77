"""What every broker does for a consumer: hand over messages, publish, acknowledge."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Protocol

from evergreen.errors import EvergreenError
from serving.streams.address import Address
from serving.streams.message import Message

CONNECT_SECONDS = 10.0
PUBLISH_SECONDS = 30.0
BATCH_BYTES = 10 * 1024 * 1024
"""A batch ends where its bodies are larger together."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish.

    Attributes:
        id: of the message that it answers.
        body: JSON.
    """

    id: str
    body: bytes


class Connection(Protocol):
    """A connection to a broker that publishes to one queue, stream or topic."""

    async def connect(self) -> None:
        """Connect, and make the queue where it is not there yet."""

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Publish all; it returns when the broker has confirmed each."""

    async def answers(self) -> bool:
        """Whether the broker answers now."""

    async def close(self) -> None:
        """Close the connection; what is not acknowledged is the broker's again."""


class Feed(Protocol):
    """A connection to a broker whose messages are taken."""

    async def connect(self) -> None:
        """Connect, and make the queue and its group where they are not there yet."""

    async def start(self, inbox: Inbox) -> None:
        """Begin to put messages into an inbox."""

    async def acknowledge(self, messages: Sequence[Message]) -> None:
        """Tell the broker that messages are done. One that it has given to another consumer is passed over."""

    async def answers(self) -> bool:
        """Whether the broker answers now; a feed that has ended is started again."""

    async def pause(self) -> None:
        """Take no more."""

    async def close(self) -> None:
        """Close the connection; what is not acknowledged is the broker's again."""


@dataclass(slots=True)
class Inbox:
    """Messages that were taken and wait for their batch; who puts one waits while it is full.

    Attributes:
        size: messages at most.
    """

    size: int
    _messages: deque[Message] = field(default_factory=deque)
    _closed: bool = False
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def put(self, message: Message) -> None:
        """Add a message."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._messages) < self.size)
            self._messages.append(message)
            self._changed.notify_all()

    async def close(self) -> None:
        """Nobody waits any more: `take` gives what is there."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    async def take(self, most: int, wait: float) -> list[Message]:
        """The next batch: as soon as there is one message, those that come within `wait` seconds, `most` at most.

        Empty where the inbox is closed and nothing is in it.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._messages or self._closed)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait_for(lambda: len(self._messages) >= most or self._closed)
            batch: list[Message] = []
            size = 0
            while self._messages and len(batch) < most:
                size += len(self._messages[0].body)
                if batch and size > BATCH_BYTES:
                    break
                batch.append(self._messages.popleft())
            self._changed.notify_all()
            return batch


_LIBRARIES = {"amqp": ("faststream", "aio_pika"), "redis": ("faststream", "redis"), "kafka": ("faststream", "aiokafka")}


def require_library(address: Address | None = None) -> None:
    """Refuse a broker whose library is not installed; without an address, streams at all.

    Raises:
        EvergreenError: it is not.
    """
    wanted = (*(_LIBRARIES[address.broker] if address is not None else ("faststream",)), "orjson")
    if missing := [name for name in wanted if find_spec(name) is None]:
        raise EvergreenError(
            f"Streams need {', '.join(missing)}, which is not installed.",
            "Run: pip install 'evergreen[serve,stream]'",
        )


async def reach(address: Address, connect: Callable[[], Awaitable[Any]]) -> None:
    """Connect to a broker.

    Raises:
        EvergreenError: it cannot be reached, or refuses.
    """
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await connect()
    except EvergreenError:
        raise
    except Exception as error:
        # A driver's message may quote the URL with its password.
        what = f"The broker {address.server} does not answer as it should ({type(error).__name__})."
        raise EvergreenError(what, "Check that it runs, its address, and the user in the variable.") from None
