"""Let both versions of an open canary predict what one of them answered, after the answer was given.

The other one is asked what the client asked, by the code that would have answered: its prediction is the one that it
would have served, whatever its features and its model file are. That of the one that answered is its answer. How long
the two take is measured here, on the same rows and in turns: in the request, the one that answers less often would meet
colder caches and another load.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from evergreen.registry.version import CHALLENGER, CHAMPION
from evergreen.training.predict import predict
from serving.faults import RequestError
from serving.frame_worker import FrameAnswer, answer_together, kind_of_rows
from serving.identity import Identity
from serving.plan.compile import NoAnswerError
from serving.protocols.call import Call
from serving.served import OnTrial, Served
from serving.version import Answer, ServedVersion

if TYPE_CHECKING:
    import pandas as pd

SHARE = 0.05
"""Of the time of the thread that compares, at most: it has the interpreter meanwhile, and requests wait for it."""
SAVED_SECONDS = 0.25
"""Of that time which a quiet while leaves for a busy one."""
TOGETHER = 64
"""Requests that are predicted as one frame, at most."""

_LOG = logging.getLogger(__name__)
Predict = Callable[[Sequence[Any]], Answer]
Times = Mapping[int, float]
"""Microseconds by the position of the row in its request."""


class Side(NamedTuple):
    """What one of the two said of the rows of a request.

    Attributes:
        answers: one for each row; None where it failed.
        times: of the rows that were measured as they were for the other side.
    """

    answers: Sequence[Answer] | None
    times: Times


class Compared(NamedTuple):
    """What both said of the rows of a request."""

    champion: Side
    challenger: Side


class _Pair(NamedTuple):
    """A request on trial.

    Attributes:
        served: that was answered.
        trial: what is known of its canary.
        mine: the version that answered.
        other: that did not.
    """

    served: Served
    trial: OnTrial
    mine: ServedVersion
    other: ServedVersion

    def compared(
        self, answers: Sequence[Answer] | None, mine: Times | None = None, other: Times | None = None
    ) -> Compared:
        """Both sides, with the `answers` and the times of the other one; an answer that is no number is a failure."""
        sound = answers is not None and self.other.is_finite(answers)
        on_time = self.mine.alias not in self.trial.failed
        # What only one of them managed says nothing about who is faster.
        both = sound and on_time
        one = Side(self.served.answers if on_time else None, mine or {} if both else {})
        two = Side(answers if sound else None, other or {} if both else {})
        return Compared(one, two) if self.mine is self.trial.canary.champion else Compared(two, one)


@dataclass(slots=True)
class Comparer:
    """Compares for a bounded share of the time; what comes beyond it is counted and not compared.

    Attributes:
        share: of the time, at most.
        saved: seconds of it, at most, which a quiet while leaves for a busy one.
        clock: seconds.
        compared: rows by model.
        not_compared: rows by model.
    """

    share: float = SHARE
    saved: float = SAVED_SECONDS
    clock: Callable[[], float] = time.perf_counter
    compared: Counter[str] = field(default_factory=Counter)
    not_compared: Counter[str] = field(default_factory=Counter)
    _left: float | None = None
    _at: float = 0.0
    _turn: bool = False

    def compare(self, served: Sequence[Served]) -> dict[int, Compared]:
        """Compare requests in the order in which they were answered, whoever answered them.

        Returns:
            By `id` of each that was compared. What goes wrong costs a comparison, and no answer its place in the lake.
        """
        pairs = [_pair(each, each.trial) for each in served if each.trial is not None]
        if not pairs:
            return {}
        now = self.clock()
        left = self.saved if self._left is None else self._left + (now - self._at) * self.share
        until = now + min(self.saved, left)
        self._at = now
        found: dict[int, Compared] = {}
        try:
            self._compare(pairs, until, found)
        except Exception as error:
            name = pairs[0].mine.spec.name
            how = type(error).__name__
            _LOG.error("%s: requests could not be compared (%s)", name, how, extra={"model": name})
        self._left = until - self.clock()
        for pair in pairs:
            counter = self.compared if id(pair.served) in found else self.not_compared
            counter[pair.mine.spec.name] += len(pair.served.answers)
        return found

    def _compare(self, pairs: Sequence[_Pair], until: float, found: dict[int, Compared]) -> None:
        as_frames: dict[object, list[tuple[_Pair, Call]]] = defaultdict(list)
        for pair in pairs:
            if self.clock() >= until:
                break
            call = _completed(pair.other, pair.trial.call)
            if call is None or pair.other.alias in pair.trial.failed:
                # Where it failed when it was asked, it is not asked again.
                found[id(pair.served)] = pair.compared(None)
            elif compared := _directly(pair, call, other_first=self._next_turn()):
                found[id(pair.served)] = compared
            else:
                as_frames[id(pair.trial.canary), kind_of_rows(pair.other, call)].append((pair, call))
        for group in as_frames.values():
            for start in range(0, len(group), TOGETHER):
                if self.clock() < until:
                    found |= _as_frame(group[start : start + TOGETHER], other_first=self._next_turn())

    def _next_turn(self) -> bool:
        self._turn = not self._turn
        return self._turn


def _pair(served: Served, trial: OnTrial) -> _Pair:
    return _Pair(served, trial, served.version, trial.canary.other(served.version))


def _directly(pair: _Pair, call: Call, *, other_first: bool) -> Compared | None:
    """What both say of plain rows; None where the other one answers them as a frame."""
    served, plan = pair.served, pair.other.plan
    admitted = pair.other.admit_directly(call.rows) if call.frame is None else None
    if admitted is None or plan is None:
        return None
    try:
        if served.rows is not None and pair.mine.plan is not None:
            rows = zip(served.values, admitted[1], strict=True)
            return pair.compared(*_race(pair.mine.plan.predict, plan.predict, rows, other_first=other_first))
        answers = [plan.predict(values) for values in admitted[1]]
    except NoAnswerError:
        # The pipeline itself refuses such a row: as a frame it says so.
        return None
    except Exception:
        return pair.compared(None)
    # Rows that were predicted together share their frame, and one measurement.
    timed = _race_frame(pair, served.checked, other_first=other_first) if served.first == 0 else ({}, {})
    return pair.compared(answers, *timed)


def _race(
    mine: Predict, other: Predict, rows: Iterable[tuple[Sequence[Any], Sequence[Any]]], *, other_first: bool
) -> tuple[list[Answer], Times, Times]:
    """The other one's answers and both times: each row is predicted by both in turn, and who begins alternates."""
    clock = time.perf_counter_ns
    answers: list[Answer] = []
    times: tuple[dict[int, float], dict[int, float]] = {}, {}
    for position, (my_row, other_row) in enumerate(rows):
        began = clock()
        if other_first:
            answers.append(other(other_row))
            between = clock()
            mine(my_row)
        else:
            mine(my_row)
            between = clock()
            answers.append(other(other_row))
        ended = clock()
        times[other_first][position] = (between - began) / 1_000
        times[not other_first][position] = (ended - between) / 1_000
        other_first = not other_first
    return answers, *times


def _race_frame(pair: _Pair, frame: pd.DataFrame | None, *, other_first: bool) -> tuple[Times, Times]:
    """What both pipelines take for one frame, as the time of the first row; nothing where one of them cannot take it.

    What a frame takes does not grow with its rows, so a share of it for each would be no time that any row took.
    """
    if frame is None or not {*pair.mine.spec.features.all, *pair.other.spec.features.all} <= set(frame.columns):
        return {}, {}
    taken = []
    for version in (pair.other, pair.mine) if other_first else (pair.mine, pair.other):
        began = time.perf_counter_ns()
        try:
            predict(version.pipeline, version.spec, frame)
        except Exception:
            return {}, {}
        taken.append((time.perf_counter_ns() - began) / 1_000)
    return {0: taken[other_first]}, {0: taken[not other_first]}


def _as_frame(asked: Sequence[tuple[_Pair, Call]], *, other_first: bool) -> dict[int, Compared]:
    """What both say of requests that the other one answers as one frame."""
    framed = _answer_each(asked[0][0].other, [call for _, call in asked])
    found, timed = {}, False
    for (pair, _), answer in zip(asked, framed, strict=True):
        times: tuple[Times, Times] = {}, {}
        if answer is not None and not timed:
            times, timed = _race_frame(pair, answer.rows, other_first=other_first), True
        found[id(pair.served)] = pair.compared(None if answer is None else answer.answers, *times)
    return found


def _answer_each(version: ServedVersion, calls: Sequence[Call]) -> list[FrameAnswer | None]:
    """The answer to each request, None where it is refused."""
    results: Sequence[FrameAnswer | BaseException]
    try:
        results = answer_together(version, calls)
    except Exception as error:
        results = [error for _ in calls]
    if len(calls) > 1 and all(map(_may_be_of_another, results)):
        half = len(calls) // 2
        return [*_answer_each(version, calls[:half]), *_answer_each(version, calls[half:])]
    return [each if isinstance(each, FrameAnswer) else None for each in results]


def _may_be_of_another(result: FrameAnswer | BaseException) -> bool:
    """Whether a request failed for what may be in another one of its frame."""
    if isinstance(result, RequestError):
        return result.code in ("prediction_failed", "invalid_rows") and not result.faults
    return not isinstance(result, FrameAnswer)


def _completed(version: ServedVersion, call: Call) -> Call | None:
    """A request with the features that this version looks up, where it lacks them still; None without its key."""
    if version.lookup is None or not call.rows or version.lookup.is_complete(call.rows):
        return call
    try:
        rows, _ = asyncio.run(version.lookup.complete(call.rows))
    except RequestError:
        return None
    return replace(call, rows=rows)


def comparison_columns(
    pairs: Sequence[tuple[Served, Compared]], identities: Mapping[int, Sequence[Identity]]
) -> dict[str, Sequence[Any]]:
    """The rows of compared requests in the columns of the comparison log.

    Args:
        pairs: each request with what both said of it.
        identities: of the rows of each request, by its `id`.
    """
    served = [each for each, _ in pairs for _ in each.answers]
    rows = [number for each, _ in pairs for number in range(len(each.answers))]
    whose = [identity for each, _ in pairs for identity in identities[id(each)]]
    canaries = [each.trial.canary for each in served if each.trial is not None]
    columns: dict[str, Sequence[Any]] = {
        "received_at": [int(each.received_at * 1e6) for each in served],
        "champion": [canary.champion.number for canary in canaries],
        "challenger": [canary.challenger.number for canary in canaries],
        "at": [identity.at for identity in whose],
        "key": [identity.key for identity in whose],
        "request": [each.request for each in served],
        "row": rows,
        "served": [each.version.alias for each in served],
    }
    as_number = canaries[0].champion.classes is None
    nothing: Answer = (None, None)
    for place, which in enumerate((CHAMPION, CHALLENGER)):
        sides = [compared[place] for each, compared in pairs for _ in each.answers]
        both = zip(sides, rows, strict=True)
        answers = [nothing if side.answers is None else side.answers[number] for side, number in both]
        predictions = [value for value, _ in answers]
        columns[f"{which}_prediction"] = (
            predictions if as_number else [None if each is None else str(each) for each in predictions]
        )
        columns[f"{which}_probability"] = [None if shares is None else list(shares) for _, shares in answers]
        columns[f"{which}_failed"] = [side.answers is None for side in sides]
        columns[f"{which}_microseconds"] = [side.times.get(number) for side, number in zip(sides, rows, strict=True)]
    return columns
