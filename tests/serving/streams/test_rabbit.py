"""Queues of RabbitMQ: what is delivered again, and what is made where it is not there."""

from __future__ import annotations

from typing import Any

import pytest

from serving.streams.address import read_address
from serving.streams.feed import Inbox, Outgoing
from serving.streams.rabbit import RabbitConnection, RabbitFeed
from tests.serving.streams.conftest import Rabbit, in_loop


async def _taken(queues: Rabbit, *, acknowledge: bool, starts: int = 1) -> list[Any]:
    feed, inbox = RabbitFeed(read_address(queues.source, "source"), 10), Inbox(10)
    await feed.connect()
    for _ in range(starts):
        await feed.start(inbox)
    assert await feed.answers()
    taken = await inbox.take(10, 0.2)
    if acknowledge:
        await feed.acknowledge(taken)
    await feed.pause()
    await feed.close()
    return taken


def test_what_was_not_acknowledged_is_delivered_again_and_says_so(rabbit: Rabbit) -> None:
    """With the same id: its sender's, or a digest where that can be none."""
    rabbit.send([("a", b"[1]"), ("ü", b"[2]")])
    first = in_loop(_taken(rabbit, acknowledge=False))
    second = in_loop(_taken(rabbit, acknowledge=True))
    assert [(each.id, each.body) for each in first] == [(each.id, each.body) for each in second]
    assert first[0].id == "a"
    assert first[1].id.startswith("id-")
    assert [each.again for each in first] == [False, False]
    assert [each.again for each in second] == [True, True]
    assert rabbit.left() == 0


def test_a_feed_that_is_started_again_takes_each_message_once(rabbit: Rabbit) -> None:
    """As it is where the first start failed half way."""
    rabbit.send([(str(number), b"{}") for number in range(5)])
    taken = in_loop(_taken(rabbit, acknowledge=True, starts=2))
    assert sorted(each.id for each in taken) == ["0", "1", "2", "3", "4"]


def test_a_queue_is_made_where_it_is_not_there_and_left_as_it_is_where_it_is(rabbit: Rabbit) -> None:
    """A target that was deleted fails once and is there again; one with properties of its own keeps them."""

    async def work() -> None:
        import aio_pika

        async with await aio_pika.connect(rabbit.url) as own:
            channel = await own.channel()
            await channel.declare_queue(rabbit.names[0], durable=True, arguments={"x-max-length": 5})
            connection = RabbitConnection(read_address(rabbit.target, "target"))
            await connection.connect()
            await RabbitFeed(read_address(rabbit.source, "source"), 10).connect()
            await connection.publish([Outgoing("a", b"{}")])
            await channel.queue_delete(rabbit.names[1])
            with pytest.raises(Exception, match=r"NO_ROUTE|returned"):
                await connection.publish([Outgoing("b", b"{}")])
            await connection.publish([Outgoing("b", b"{}")])
            await connection.close()

    in_loop(work())
    assert [name for name, _ in rabbit.read()] == ["b"]
