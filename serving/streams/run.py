"""Run the consumers of one process: one for each model, beside the follower of their champions."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import models
from evergreen.errors import EvergreenError
from evergreen.naming import stream_group
from evergreen.registry.client import Registry
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.spec.stream import Stream
from serving.champion import ChampionFollower, Followed
from serving.frame_worker import FrameWorker
from serving.streams.address import read_address
from serving.streams.brokers import open_connection, open_feed
from serving.streams.consumer import Consumer, Plan
from serving.streams.feed import require_library
from serving.streams.lake import StreamLog

DRAIN_SECONDS = 30.0
"""How long what was taken may take after SIGTERM."""
_RETRY_SECONDS = 5.0
_LOG = logging.getLogger(__name__)
_DRIVERS = ("aio_pika", "aiormq", "aiokafka", "faststream", "redis")
"""They log URLs, and tracebacks where a broker is away; what is of use is told here."""


@dataclass(frozen=True, slots=True)
class Consumers:
    """What one process runs.

    Attributes:
        follower: of the models' champions.
        consumers: one for each model.
        worker: predicts frames, for all of them.
    """

    follower: ChampionFollower
    consumers: Sequence[Consumer]
    worker: FrameWorker


def read_plan(model: str, stream: Stream) -> Plan:
    """What a consumer of a model's stream does.

    Raises:
        EvergreenError: an address cannot be read, or its library is not installed.
    """
    source, target = read_address(stream.source, "source"), read_address(stream.target, "target")
    letters = read_address(stream.dead_letters, "place for dead letters") if stream.dead_letters else None
    for address in filter(None, (source, target, letters)):
        require_library(address)
    if source in (target, letters):
        raise EvergreenError(f"{source} is the source; what is written there would be read again.", "Name another one.")
    return Plan(model, source, target, letters, stream.batch, stream.wait, stream.claim)


def build(plans: Sequence[Plan], settings: Settings, poll_seconds: float = 1.0) -> Consumers:
    """The consumers of these plans; nothing is connected yet. Inside of a running loop."""

    def load_spec(name: str) -> ModelSpec:
        return models.load_spec(name, settings.models)

    registry = Registry(settings)
    followed: Mapping[str, Followed] = {plan.model: Followed() for plan in plans}
    follower = ChampionFollower(settings, registry, followed, load_spec, poll_seconds)
    worker = FrameWorker()
    consumers = [
        Consumer(
            plan,
            followed[plan.model],
            StreamLog(settings.lake_uri, registry, plan.source.name),
            worker,
            open_feed(plan.source, stream_group(settings.environment, plan.model), plan.batch, plan.claim),
            open_connection(plan.target),
            open_connection(plan.dead_letters) if plan.dead_letters is not None else None,
        )
        for plan in plans
    ]
    return Consumers(follower, consumers, worker)


def quiet_drivers() -> None:
    """Keep the drivers' own lines out of the log."""
    for name in (*_DRIVERS, "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def in_loop(work: Coroutine[Any, Any, None]) -> None:
    """Run in a loop of its own, the faster one where it is installed."""
    make: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with suppress(ImportError):
        from uvloop import new_event_loop as make
    with asyncio.Runner(loop_factory=make) as runner:
        runner.run(work)


async def run(
    plans: Sequence[Plan],
    settings: Settings,
    *,
    is_patient: bool,
    told: Callable[[Consumers], None],
    poll_seconds: float = 1.0,
) -> None:
    """Score streams until SIGTERM or SIGINT, then what was taken by then, for 30 seconds at most.

    Args:
        plans: one for each model.
        settings: where registry and lake are.
        is_patient: a broker that does not answer at the start is waited for.
        told: is given the consumers when they are connected.
        poll_seconds: between two looks at the `champion` alias.

    Raises:
        EvergreenError: a broker cannot be reached at the start.
    """
    built = build(plans, settings, poll_seconds)
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    working = [asyncio.create_task(_consume(each, is_patient)) for each in built.consumers]
    stopping = asyncio.create_task(stopped.wait())
    try:
        await asyncio.to_thread(built.follower.start)
        told(built)
        await asyncio.wait({stopping, *working}, return_when=asyncio.FIRST_COMPLETED)
        for each in built.consumers:
            each.stop()
        done, late = await asyncio.wait(working, timeout=DRAIN_SECONDS)
        for task in late:
            task.cancel()
        if late:
            _LOG.warning("What was not done within %g seconds is the broker's again.", DRAIN_SECONDS)
            await asyncio.wait(late)
        for task in done:
            task.result()
    finally:
        stopping.cancel()
        await asyncio.to_thread(built.follower.close)
        await asyncio.to_thread(built.worker.close)


async def _consume(consumer: Consumer, is_patient: bool) -> None:
    told = ""
    try:
        while not consumer.is_stopping:
            try:
                await consumer.connect()
            except EvergreenError as error:
                if not is_patient:
                    raise
                if error.what != told:
                    told = error.what
                    _LOG.warning("%s: %s It is tried again.", consumer.plan.model, error.what)
                await consumer.pause(_RETRY_SECONDS)
            else:
                await consumer.run()
                return
    finally:
        await consumer.close()
