"""Open what speaks to the broker of an address."""

from __future__ import annotations

from serving.streams.address import Address
from serving.streams.feed import Connection, Feed, require_library


def open_feed(address: Address, group: str, batch: int, claim: float) -> Feed:
    """A feed of an address; nothing is connected yet.

    Args:
        address: of the source.
        group: the consumers that share its messages.
        batch: messages that are asked for together.
        claim: seconds after which a message of a dead consumer is taken over, where the broker cannot tell.

    Raises:
        EvergreenError: the library is not installed.
    """
    require_library(address)
    if address.broker == "amqp":
        from serving.streams.rabbit import RabbitFeed

        return RabbitFeed(address, batch)
    if address.broker == "redis":
        from serving.streams.redis import RedisFeed

        return RedisFeed(address, group, batch, claim)
    from serving.streams.kafka import KafkaFeed

    return KafkaFeed(address, group, batch)


def open_connection(address: Address) -> Connection:
    """A connection that publishes to an address; nothing is connected yet.

    Raises:
        EvergreenError: the library is not installed.
    """
    require_library(address)
    if address.broker == "amqp":
        from serving.streams.rabbit import RabbitConnection

        return RabbitConnection(address)
    if address.broker == "redis":
        from serving.streams.redis import RedisConnection

        return RedisConnection(address)
    from serving.streams.kafka import KafkaConnection

    return KafkaConnection(address)
