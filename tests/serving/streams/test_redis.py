"""Entries of Redis: where their row is, and what becomes of a stream that is gone."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from serving.streams.address import read_address
from serving.streams.feed import Inbox
from serving.streams.redis import RedisFeed, _body
from tests.serving.streams.conftest import RedisStreams, in_loop


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({b"data": b'{"x": 1}'}, b'{"x": 1}'),
        ({b"id": b"a", b"data": b"["}, b"["),
        ({b"__data__": b'{"x": 1}'}, b'{"x": 1}'),
        ({b"x": b"1.5", b"kind": b"a"}, b'{"x":"1.5","kind":"a"}'),
        ({b"x": b"\xff"}, b'{"x":"\\\\xff"}'),
    ],
)
def test_an_entry_has_its_row_in_one_field_or_in_all(fields: dict[bytes, bytes], body: bytes) -> None:
    """Nothing of an entry is dropped, whatever it is."""
    assert _body(fields) == body


def test_what_faststream_writes_is_read(redis_streams: RedisStreams) -> None:
    """Its envelope is taken off."""
    from faststream.redis import RedisBroker

    async def work() -> list[Any]:
        address = read_address(redis_streams.source, "source")
        async with RedisBroker(address.url, logger=None) as broker:  # type: ignore[arg-type]
            await broker.publish({"x": 1.0}, stream=address.name)
        feed, inbox = RedisFeed(address, "group", 10, 30.0), Inbox(10)
        await feed.connect()
        await feed.start(inbox)
        taken = await inbox.take(10, 0.1)
        await feed.acknowledge(taken)
        await feed.pause()
        await feed.close()
        return taken

    assert [json.loads(each.body) for each in in_loop(work())] == [{"x": 1.0}]


def _claimed_again(streams: RedisStreams) -> bool:
    """Whether each entry was delivered three times: to the dead, to us, and to us again."""
    pending = streams.client.xpending_range(streams.names[0], "group", "-", "+", 10)
    return all(each["times_delivered"] >= 3 for each in pending)


def test_what_another_consumer_took_is_taken_over_once(redis_streams: RedisStreams) -> None:
    """When it was idle for long enough; what lies in one's own hands is not taken a second time."""
    redis_streams.client.xgroup_create(redis_streams.names[0], "group", id="0", mkstream=True)
    redis_streams.send([(None, b'{"x": 1}'), (None, b'{"x": 2}')])
    redis_streams.client.xreadgroup("group", "the dead", {redis_streams.names[0]: ">"})

    async def work() -> list[str]:
        feed, inbox = RedisFeed(read_address(redis_streams.source, "source"), "group", 10, 1.0), Inbox(10)
        await feed.connect()
        await feed.start(inbox)
        async with asyncio.timeout(60):
            taken = await inbox.take(2, 60.0)
            # Longer than the idle time: they are one's own by now, and are claimed again.
            while not _claimed_again(redis_streams):
                await asyncio.sleep(0.05)
            redis_streams.send([(None, b'{"x": 3}')])
            taken += await inbox.take(2, 0.5)
        await feed.acknowledge(taken)
        await feed.pause()
        await feed.close()
        return [each.body.decode() for each in taken]

    assert in_loop(work()) == ['{"x": 1}', '{"x": 2}', '{"x": 3}']
    assert redis_streams.left() == 0
    assert [each["name"] for each in redis_streams.client.xinfo_consumers(redis_streams.names[0], "group")] == [
        b"the dead"
    ]


def test_a_stream_that_was_deleted_is_begun_again(redis_streams: RedisStreams) -> None:
    """As when Redis comes back without what it had: the group is made anew, and entries arrive."""

    async def work() -> bytes:
        feed, inbox = RedisFeed(read_address(redis_streams.source, "source"), "group", 10, 30.0), Inbox(10)
        await feed.connect()
        await feed.start(inbox)
        redis_streams.client.delete(redis_streams.names[0])
        async with asyncio.timeout(60):
            # It notices with its next read.
            while any(each.running for each in feed._subscribers):
                await asyncio.sleep(0.05)
            assert await feed.answers()
            redis_streams.send([(None, b'{"x": 1}')])
            (taken,) = await inbox.take(1, 60.0)
        await feed.acknowledge([taken])
        await feed.pause()
        await feed.close()
        return taken.body

    assert in_loop(work()) == b'{"x": 1}'
