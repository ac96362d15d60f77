"""Predict the rows of messages by the machinery of online serving: plan or frames, contract, lookup."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from evergreen.errors import EvergreenError
from evergreen.spec.serving import Serve
from serving.faults import RequestError
from serving.frame_worker import FrameWorker
from serving.http import Limits
from serving.lookup import FeatureLookup
from serving.protocols import plain
from serving.protocols.call import Call
from serving.served import Served
from serving.streams.message import Message
from serving.version import ServedVersion

_NOT_ROWS = frozenset({"prediction_failed", "internal", "lost"})
"""What one row does to all that are predicted with it."""


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """What became of a message.

    Attributes:
        message: the message.
        call: its rows; None where it has none.
        served: its rows with their answers; None where it is refused.
        error: why it is refused; None where it is answered.
    """

    message: Message
    call: Call | None = None
    served: Served | None = None
    error: RequestError | None = None


async def answer(version: ServedVersion, messages: Sequence[Message], worker: FrameWorker) -> list[Answered]:
    """Answer each message or say why it is refused, in their order.

    Raises:
        EvergreenError: features have to be looked up, and the store does not answer.
    """
    began = time.perf_counter()
    read = [_read(version, message) for message in messages]
    read = await _complete(version, read)
    answered = await asyncio.gather(*(_predict(version, each, worker, began) for each in read))
    alone = [each.error is not None and each.error.code in _NOT_ROWS for each in answered]
    if sum(alone) > 1:
        # One of them may have failed the others, with which it shared a frame.
        for place, is_alone in enumerate(alone):
            if is_alone:
                answered[place] = await _predict(version, read[place], worker, began)
    return answered


def _read(version: ServedVersion, message: Message) -> Answered:
    try:
        if len(message.body) > Limits().body_bytes:
            what = f"The message is larger than {Limits().body_bytes:,} bytes; send fewer rows at a time."
            raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", what)
        call = plain.read_call(plain.JSON_TYPE, message.body)
        limit = version.spec.serve.max_rows if version.spec.serve else Serve().max_rows
        if call.count > limit:
            what = f"{call.count:,} rows are more than the {limit:,} of a message; send fewer at a time."
            # What was answered under a larger limit is still found by its rows.
            return Answered(
                message, call, error=RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_many_rows", what)
            )
    except RequestError as error:
        return Answered(message, error=error)
    return Answered(message, call)


async def _complete(version: ServedVersion, read: Sequence[Answered]) -> list[Answered]:
    """Fetch what rows lack, in one round trip for all of them."""
    lookup, done = version.lookup, list(read)
    if lookup is None:
        return done
    lacking = {
        place: each.call
        for place, each in enumerate(read)
        if each.call is not None and each.error is None and not lookup.is_complete(each.call.rows)
    }
    if not lacking:
        return done
    try:
        rows = iter(await _fetch(lookup, [row for call in lacking.values() for row in call.rows]))
        for place, call in lacking.items():
            done[place] = Answered(read[place].message, replace(call, rows=[next(rows) for _ in call.rows]))
    except RequestError as error:
        if len(lacking) == 1:
            (place,) = lacking
            done[place] = Answered(read[place].message, error=error)
        else:
            # A row lacks its key: each message for itself says whether it is one of its own.
            for place in lacking:
                done[place] = (await _complete(version, [read[place]]))[0]
    return done


async def _fetch(lookup: FeatureLookup, rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    completed, is_there = await lookup.complete(rows)
    if not is_there:
        raise EvergreenError("Features cannot be looked up: the store does not answer.", "Messages wait until it does.")
    return completed


async def _predict(version: ServedVersion, each: Answered, worker: FrameWorker, began: float) -> Answered:
    if each.call is None or each.error is not None:
        return each
    call, message = each.call, each.message
    rows: Sequence[Mapping[str, Any]] | None = None
    checked, first = None, 0
    try:
        direct = version.answer_directly(call.rows)
        if direct is not None:
            rows, values, answers = direct
        else:
            framed = await worker.predict(version, call.rows, None, written=False)
            values, answers, checked, first = framed.values, framed.answers, framed.rows, framed.first
        version.require_finite(answers)
    except RequestError as error:
        return Answered(message, call, error=error)
    taken = int((time.perf_counter() - began) * 1e6)
    served = Served(version, message.id, message.taken_at, taken, values, answers, rows, checked, first)
    return Answered(message, call, served)
