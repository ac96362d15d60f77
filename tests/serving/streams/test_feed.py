"""The inbox: batches end by number, by bytes or by time, and whoever puts too much waits."""

from __future__ import annotations

import asyncio
import time

import pytest

from evergreen.errors import EvergreenError
from serving.streams import feed
from serving.streams.feed import BATCH_BYTES, Inbox
from serving.streams.message import Message
from tests.serving.streams.conftest import in_loop


def message(name: str, size: int = 1) -> Message:
    return Message(name, b"x" * size, False, 0.0, None)


def names(batch: list[Message]) -> list[str]:
    return [each.id for each in batch]


def test_a_batch_is_full_or_its_time_is_over() -> None:
    """It does not wait for what is not there, and takes no more than it may."""

    async def work() -> None:
        inbox = Inbox(10)
        for name in "abcde":
            await inbox.put(message(name))
        began = time.monotonic()
        assert names(await inbox.take(3, 60.0)) == ["a", "b", "c"]
        assert time.monotonic() - began < 30
        assert names(await inbox.take(3, 0.01)) == ["d", "e"]

    in_loop(work())


def test_who_puts_too_much_waits() -> None:
    """The inbox never holds more than its size."""

    async def work() -> None:
        inbox = Inbox(2)
        putting = [asyncio.create_task(inbox.put(message(name))) for name in "abcd"]
        taken = []
        while len(taken) < 4:
            batch = await inbox.take(10, 0.01)
            assert 0 < len(batch) <= 2
            taken += names(batch)
        await asyncio.gather(*putting)
        assert taken == ["a", "b", "c", "d"]

    in_loop(work())


def test_large_messages_make_small_batches() -> None:
    """The bytes of a batch are bounded; a message that is larger alone is a batch of its own."""

    async def work() -> None:
        inbox = Inbox(10)
        for name, size in (("a", BATCH_BYTES // 2), ("b", BATCH_BYTES), ("c", 2 * BATCH_BYTES), ("d", 1)):
            await inbox.put(message(name, size))
        assert [names(await inbox.take(10, 0.01)) for _ in range(4)] == [["a"], ["b"], ["c"], ["d"]]

    in_loop(work())


def test_a_closed_inbox_gives_what_it_has_at_once() -> None:
    """Then it is empty, and says so without waiting."""

    async def work() -> None:
        inbox = Inbox(10)
        taking = asyncio.create_task(inbox.take(10, 60.0))
        await asyncio.sleep(0)
        await inbox.close()
        assert await taking == []
        await inbox.put(message("a"))
        assert names(await inbox.take(10, 60.0)) == ["a"]
        assert await inbox.take(10, 60.0) == []

    in_loop(work())


def test_a_missing_library_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    monkeypatch.setattr(feed, "find_spec", lambda name: None if name == "faststream" else object())
    with pytest.raises(EvergreenError, match=r"need faststream, .* pip install 'evergreen\[serve,stream\]'"):
        feed.require_library()
