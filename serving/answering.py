"""Answer the rows of a request by the version that it is routed to.

While a canary is open, a request that is the challenger's is answered by the champion where the challenger fails, so
that no client notices.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, NamedTuple

from evergreen.registry.version import CHALLENGER
from evergreen.spec.serving import Serve
from serving.challenger import OpenCanary
from serving.champion import ChampionFollower, Followed
from serving.faults import RequestError
from serving.frame_worker import FrameAnswer, FrameWorker
from serving.http import Limits, Request, Response
from serving.prediction_queue import PredictionQueue
from serving.protocols.call import Call
from serving.request_counts import RequestCounts
from serving.routing import is_for_challenger, route_key
from serving.served import OnTrial, Served
from serving.version import Answer, ServedVersion

ReadCall = Callable[[Request, ServedVersion], Call]
WriteAnswer = Callable[[Call, ServedVersion, Sequence[Answer], str], bytes]


@dataclass(frozen=True, slots=True)
class Form:
    """A protocol: how rows come, and how answers go."""

    read: ReadCall
    write: WriteAnswer


class _Asked(NamedTuple):
    """A request whose rows were read.

    Attributes:
        call: its rows.
        write: makes the answer.
        name: its id.
        began: when it came, by the performance counter.
        canary: the two versions that it meets; None where no canary is open.
    """

    call: Call
    write: WriteAnswer
    name: str
    began: float
    canary: OpenCanary | None


@dataclass(frozen=True, slots=True)
class Answering:
    """Answers requests.

    Attributes:
        follower: says which versions answer.
        worker: predicts what is no plain row.
        queue: keeps what was answered.
        limits: what a request may cost.
        counts: of the requests.
        challengers: predicts as `worker` does, for challengers: one that is slow keeps no champion waiting.
    """

    follower: ChampionFollower
    worker: FrameWorker
    queue: PredictionQueue
    limits: Limits
    counts: RequestCounts
    challengers: FrameWorker = field(default_factory=FrameWorker)

    async def answer(
        self, model: str, form: Form, request: Request, name: str, began: float, number: int | None = None
    ) -> Response:
        """The answer to a request, under the id `name`.

        Args:
            model: its name.
            form: the protocol.
            request: what was asked.
            name: the request's id.
            began: when it came, by the performance counter.
            number: of the version that has to answer; None for the one that it is routed to.

        Raises:
            RequestError: it is refused.
        """
        followed = self.follower.models[model]
        version, canary = followed.current, followed.canary.open
        if version is None:
            message = f"{model} cannot answer yet. {followed.stale}".rstrip()
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "no_champion", message)
        if canary is not None and canary.champion is not version:
            # Another champion took over a moment ago.
            canary = None
        if number is not None and number != version.number:
            version = _require(followed, number)
        try:
            asked = _read(form, version, request, name, began, canary)
            if canary is not None and number is None and _is_for_challenger(canary, request.headers, asked):
                return await self._answer_by_either(followed, canary, asked)
            return await self._answer_by(version, asked)
        except Exception as error:
            self.counts.count_refusal(version, error.code if isinstance(error, RequestError) else "internal")
            raise

    async def _answer_by_either(self, followed: Followed, canary: OpenCanary, asked: _Asked) -> Response:
        """The challenger's answer, or the champion's where the challenger has none."""
        try:
            return await self._answer_by(canary.challenger, asked, hurried=True)
        except RequestError as error:
            how = error.code
        except Exception as error:
            # The message may show values of the rows.
            how = type(error).__name__
        response = await self._answer_by(canary.champion, asked, failed=(CHALLENGER,))
        # What the champion refuses as well is no failure of the challenger's.
        followed.canary.count_failure(canary.challenger, how)
        return response

    async def _answer_by(
        self, version: ServedVersion, asked: _Asked, *, failed: tuple[str, ...] = (), hurried: bool = False
    ) -> Response:
        """A version's answer, which is kept with the aliases of those that `failed` to give one.

        As a frame it is not waited for longer than the canary's deadline where it is `hurried`.
        """
        tried, complete = time.perf_counter(), True
        if version.lookup is not None and asked.call.rows and not version.lookup.is_complete(asked.call.rows):
            rows, complete = await version.lookup.complete(asked.call.rows)
            asked = asked._replace(call=replace(asked.call, rows=rows))
        try:
            return await self._respond(version, asked, tried, failed, hurried=hurried)
        except RequestError as error:
            if complete:
                raise
            # What the row lacks is no fault of the client.
            message = "Features could not be looked up, and the contract does not allow them to be missing."
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "lookup", message, error.faults) from None

    async def _respond(
        self, version: ServedVersion, asked: _Asked, tried: float, failed: tuple[str, ...], *, hurried: bool
    ) -> Response:
        call = asked.call
        direct = version.answer_directly(call.rows) if call.frame is None else None
        rows: Sequence[Mapping[str, Any]] | None = None
        checked, first = None, 0
        if direct is not None:
            rows, values, answers = direct
        else:
            framed = await self._as_frame(version, asked, hurried=hurried)
            values, answers = framed.values, framed.answers
            checked, first = framed.rows, framed.first
        version.require_finite(answers)
        body = asked.write(call, version, answers, asked.name)
        now, trial = time.perf_counter(), None
        if asked.canary is not None:
            late = (version.alias,) if now - tried > asked.canary.rules.deadline else ()
            trial = OnTrial(asked.canary, call, failed + late)
        seconds = now - asked.began
        microseconds = int(seconds * 1e6)
        served = Served(version, asked.name, time.time(), microseconds, values, answers, rows, checked, first, trial)
        self.queue.put(served)
        self.counts.count_answer(version, len(answers), seconds, as_frame=direct is None)
        return Response(body)

    async def _as_frame(self, version: ServedVersion, asked: _Asked, *, hurried: bool) -> FrameAnswer:
        call, seconds = asked.call, self.limits.answer_seconds
        if hurried and asked.canary is not None:
            seconds = min(seconds, asked.canary.rules.deadline)
        worker = self.challengers if version.alias == CHALLENGER else self.worker
        try:
            async with asyncio.timeout(seconds):
                return await worker.predict(version, call.rows, call.frame, written=call.written)
        except TimeoutError:
            message = f"The rows were not predicted within {seconds:g} seconds; send fewer, or send them later."
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "busy", message) from None


def _read(
    form: Form, version: ServedVersion, request: Request, name: str, began: float, canary: OpenCanary | None
) -> _Asked:
    """The rows of a request, of which there may be so many as the version's model file says."""
    call = form.read(request, version)
    limit = version.spec.serve.max_rows if version.spec.serve else Serve().max_rows
    if call.count > limit:
        message = f"{call.count:,} rows are more than the {limit:,} of a request; send fewer at a time."
        raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_many_rows", message)
    return _Asked(call, form.write, call.request_id or name, began, canary)


def _require(followed: Followed, number: int) -> ServedVersion:
    for version in followed.answering:
        if version.number == number:
            return version
    raise RequestError(HTTPStatus.NOT_FOUND, "not_found", f"Version {number} answers no longer.")


def _is_for_challenger(canary: OpenCanary, headers: Mapping[bytes, bytes], asked: _Asked) -> bool:
    key = route_key(headers, canary.rules.key, asked.call, asked.name)
    challenger = canary.challenger
    return is_for_challenger(challenger.spec.name, challenger.number, key, canary.share)
