"""Take messages, predict them, keep the predictions, publish them, and only then acknowledge.

Each step is done again until it works, with a pause between, and nothing more is taken meanwhile: a lake or a broker
that is away costs time, never a message. What a killed consumer left undone, another one does again, to the same end.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from evergreen.errors import EvergreenError
from serving.champion import Followed
from serving.frame_worker import FrameWorker
from serving.protocols import plain
from serving.streams.address import Address
from serving.streams.answers import Answered, answer
from serving.streams.feed import Connection, Feed, Inbox, Outgoing
from serving.streams.lake import Kept, StreamLog
from serving.streams.message import Message
from serving.version import ServedVersion

PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
TELL_SECONDS = 30.0
"""Between two lines of counts."""
WATCH_SECONDS = 5.0
"""Between two looks whether the broker answers."""

T = TypeVar("T")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a consumer does.

    Attributes:
        model: whose rows they are.
        source, target: where messages come from and predictions go to.
        dead_letters: where refused messages go to; None for the quarantine.
        batch: messages at a time, at most.
        wait: seconds that the first of them waits.
        claim: seconds after which a message of a dead consumer of a Redis stream is taken over.
    """

    model: str
    source: Address
    target: Address
    dead_letters: Address | None
    batch: int
    wait: float
    claim: float


@dataclass(slots=True)
class StreamCounts:
    """What became of messages since the start.

    Attributes:
        rows: that were predicted and kept.
        again: messages that had an answer already, which was published again.
        refused: messages that were refused, by their code.
    """

    rows: int = 0
    again: int = 0
    refused: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True, eq=False)
class Consumer:
    """Scores the messages of one source.

    Attributes:
        plan: what it does.
        followed: the version that answers.
        log: keeps what was answered.
        worker: predicts frames.
        feed: hands over messages.
        target: publishes predictions.
        dead_letters: publishes what is refused; None where the quarantine keeps it.
        counts: what became of the messages.
    """

    plan: Plan
    followed: Followed
    log: StreamLog
    worker: FrameWorker
    feed: Feed
    target: Connection
    dead_letters: Connection | None
    counts: StreamCounts = field(default_factory=StreamCounts)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _told: str = ""

    @property
    def is_stopping(self) -> bool:
        """Whether it takes no more."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Take no more, and end when what was taken is done."""
        self._stopping.set()

    async def connect(self) -> None:
        """Connect to all that it needs.

        Raises:
            EvergreenError: a broker cannot be reached.
        """
        await self.feed.connect()
        await self.target.connect()
        if self.dead_letters is not None:
            await self.dead_letters.connect()

    async def run(self) -> None:
        """Score messages until `stop`, and what was taken by then."""
        version = await self._wait_for_champion()
        if version is None:
            return
        inbox = Inbox(2 * self.plan.batch)
        await self._until_done(lambda: asyncio.to_thread(self.log.look, version.spec), "the lake")
        await self._until_done(lambda: self.feed.start(inbox), "the source")
        beside = [asyncio.create_task(each) for each in (self._watch(), self._tell())]
        ending = asyncio.create_task(self._end(inbox))
        try:
            while batch := await inbox.take(self.plan.batch, self.plan.wait):
                await self._score(batch)
            await ending
            # A message may have come in between.
            while batch := await inbox.take(self.plan.batch, self.plan.wait):
                await self._score(batch)
        finally:
            for task in (*beside, ending):
                task.cancel()
            self._tell_counts()

    async def _end(self, inbox: Inbox) -> None:
        """When it has to stop, take no more."""
        await self._stopping.wait()
        await inbox.close()
        await self.feed.pause()

    async def close(self) -> None:
        """Close the connections; what is not acknowledged is the broker's again."""
        for each in (self.feed, self.target, self.dead_letters):
            if each is not None:
                try:
                    await each.close()
                except Exception as error:
                    _LOG.debug("%s: closing failed (%s)", self.plan.model, type(error).__name__)

    async def _wait_for_champion(self) -> ServedVersion | None:
        told = ""
        while self.followed.current is None and not self._stopping.is_set():
            if self.followed.stale != told:
                told = self.followed.stale
                _LOG.warning("%s: nothing is taken yet: %s", self.plan.model, told)
            await self.pause(PAUSE_SECONDS)
        return self.followed.current

    async def _score(self, messages: Sequence[Message]) -> None:
        """Do all that is to be done with a batch."""
        version = self.followed.current
        assert version is not None  # noqa: S101 - a version that was there stays until another one is
        # The same message may be there twice, of two deliveries.
        distinct = list({each.id: each for each in messages}.values())
        known = await self._until_done(lambda: asyncio.to_thread(self.log.find, version, distinct), "the lake")
        answered = await self._until_done(lambda: answer(version, distinct, self.worker), "the answers")
        kept = known | await self._keep(version, distinct, answered)
        refused = [each for each in answered if each.served is None and each.message.id not in kept]
        if self.dead_letters is None:
            await self._until_done(lambda: asyncio.to_thread(self.log.refuse, version.spec, refused), "the lake")
        published = await asyncio.to_thread(self._written, version, answered, kept)
        await self._until_done(lambda: self.target.publish(published), "the target")
        if self.dead_letters is not None:
            letters, place = [self._letter(each) for each in refused], self.dead_letters
            await self._until_done(lambda: place.publish(letters), "the dead letters")
        await self._acknowledge(messages)
        self.counts.again += len(kept)
        self.counts.rows += sum(
            len(each.served.answers) for each in answered if each.served is not None and each.message.id not in kept
        )
        self.counts.refused.update(each.error.code for each in refused if each.error is not None)

    async def _keep(
        self, version: ServedVersion, messages: Sequence[Message], answered: Sequence[Answered]
    ) -> dict[str, Kept]:
        served = [each.served for each in answered if each.served is not None]
        again = frozenset(each.id for each in messages if each.again)
        return await self._until_done(lambda: asyncio.to_thread(self.log.keep, version, served, again), "the lake")

    async def _acknowledge(self, messages: Sequence[Message]) -> None:
        try:
            await self.feed.acknowledge(messages)
        except Exception as error:
            # They come again, and are answered from the table.
            _LOG.warning("%s: the source took no acknowledgement (%s)", self.plan.model, type(error).__name__)

    def _written(self, version: ServedVersion, answered: Sequence[Answered], kept: dict[str, Kept]) -> list[Outgoing]:
        """What is published of each message that has an answer: that of the table, where it has one."""
        outgoing = []
        for each in answered:
            name, call = each.message.id, each.call
            if call is None:
                continue
            if name in kept:
                speaker, answers = self.log.version_of(version, kept[name]), kept[name].answers
            elif each.served is not None:
                speaker, answers = version, each.served.answers
            else:
                continue
            outgoing.append(Outgoing(name, plain.write_answer(call, speaker, answers, name)))
        return outgoing

    def _letter(self, refused: Answered) -> Outgoing:
        """A refused message with its reason, and all that it was."""
        import orjson

        message, error = refused.message, refused.error
        assert error is not None  # noqa: S101 - it is refused
        try:
            body = {"body": message.body.decode()}
        except UnicodeDecodeError:
            body = {"body_base64": base64.b64encode(message.body).decode()}
        about = {"model": self.plan.model, "source": self.plan.source.name}
        return Outgoing(message.id, orjson.dumps(about | error.body(message.id) | body))

    async def _until_done(self, work: Callable[[], Awaitable[T]], what: str) -> T:
        """Do a step again until it works; what keeps it from it is told once."""
        pause = PAUSE_SECONDS
        while True:
            try:
                result = await work()
            except Exception as error:
                # A driver's message may quote rows, or a URL with its password.
                problem = error.what if isinstance(error, EvergreenError) else type(error).__name__
                if problem != self._told:
                    _LOG.warning("%s: messages wait for %s: %s", self.plan.model, what, problem)
                self._told = problem
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            else:
                if self._told:
                    _LOG.info("%s: it goes on", self.plan.model)
                self._told = ""
                return result

    async def pause(self, seconds: float) -> None:
        """Wait, but no longer than until it has to stop."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _watch(self) -> None:
        """Say when the source is away, and when it is back."""
        away = False
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                answers = await self.feed.answers()
            except Exception:
                answers = False
            if answers == away:
                away = not answers
                told = "does not answer; it goes on when it does" if away else "answers again"
                _LOG.warning("%s: %s %s", self.plan.model, self.plan.source, told)

    async def _tell(self) -> None:
        began, rows = time.monotonic(), self.counts.rows
        while True:
            await asyncio.sleep(TELL_SECONDS)
            now = time.monotonic()
            if self.counts.rows != rows:
                self._tell_counts((self.counts.rows - rows) / (now - began))
            began, rows = now, self.counts.rows

    def _tell_counts(self, rate: float | None = None) -> None:
        refused = ", ".join(f"{count:,} {code}" for code, count in sorted(self.counts.refused.items()))
        _LOG.info(
            "%s: %s rows predicted%s, %s messages answered again, refused: %s",
            self.plan.model,
            f"{self.counts.rows:,}",
            f" ({rate:,.0f} a second)" if rate is not None else "",
            f"{self.counts.again:,}",
            refused or "none",
        )
