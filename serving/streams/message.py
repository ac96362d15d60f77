"""A message that was taken from a broker, and the id under which its prediction is kept.

The same message has the same id however often and to whomever it is delivered:

- AMQP: the `message_id` that its sender gave; without one, or with one that cannot be an id, a digest;
- Redis: `STREAM-ENTRY`, the entry's id behind the name of its stream;
- Kafka: `TOPIC-PARTITION-OFFSET`, with the offset in twelve digits, so that ids rise as texts do.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from serving.protocols.call import is_request_id


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """A message that is to be acknowledged.

    Attributes:
        id: under which its prediction is kept.
        body: as it came.
        again: it may have been delivered before, as far as its broker knows.
        taken_at: Unix time in seconds.
        receipt: by which its broker acknowledges it.
    """

    id: str
    body: bytes
    again: bool
    taken_at: float
    receipt: Any


def amqp_id(message_id: str | None, body: bytes) -> str:
    """The id of a message of RabbitMQ."""
    if not message_id:
        return f"body-{_digest(body)}"
    return message_id if is_request_id(message_id) else f"id-{_digest(message_id.encode())}"


def redis_id(stream: str, entry: bytes) -> str:
    """The id of an entry of a Redis stream."""
    return _own(f"{stream}-{entry.decode()}")


def kafka_id(topic: str, partition: int, offset: int) -> str:
    """The id of a record of a Kafka topic."""
    return _own(f"{topic}-{partition}-{offset:012}")


def _own(name: str) -> str:
    return name if is_request_id(name) else f"id-{_digest(name.encode())}"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
