"""What follows from what is known of a challenger on live traffic: the next step, the end, or waiting.

Three questions, each with its share of the level: does it answer, does it answer as fast, and is what it answers as
good. All three have to be proven before it gets more of the traffic; one that is disproven ends the canary.

More traffic is more risk, so it takes more proof: a challenger that answers a share s of all requests and loses x more
than the champion makes all traffic together lose s * x more. A step to a share s is taken when that is proven to be
within the margin: the first on little, the last on the whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
import numpy.typing as npt

from evergreen.canary.sequences import MIN_BLOCKS, Interval, bound_ratio, bound_share
from evergreen.details.canary import CanaryQuestion
from evergreen.markdown import describe_span, many
from evergreen.spec.canary import Canary
from evergreen.verdicts import Verdict

Move = Literal["wait", "step", "promote", "refuse", "give-up"]
QUESTIONS = 3
BEST_AT = 84
"""The blocks at which the outcome's interval is narrowest for what it promises: hours of half a week."""
_MEDIAN = 0.5
_ROUNDING = 1e-9
"""A loss that is more by less than this share is more by how floats are added up."""


@dataclass(frozen=True, slots=True, eq=False)
class LossBlocks:
    """Blocks of time that are over and have their labels, oldest first.

    Attributes:
        starts: Unix seconds at which each begins, shape (n,).
        rows: labelled rows of each.
        lost: the champion's losses of these rows, added up.
        worse: the challenger's, less the champion's.
    """

    starts: npt.NDArray[np.float64]
    rows: npt.NDArray[np.int64]
    lost: npt.NDArray[np.float64]
    worse: npt.NDArray[np.float64]

    @classmethod
    def none(cls) -> LossBlocks:
        """Without a label."""
        nothing = np.empty(0)
        return cls(nothing, np.empty(0, dtype=np.int64), nothing, nothing)


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What is known of a challenger.

    Attributes:
        rows: that both versions predicted since the canary began.
        rows_in_step: of these, since the step began.
        failures: rows that the challenger failed to answer, and the champion answered.
        timed: rows on which both were timed under the same conditions.
        slower: of these, where the challenger took longer than `max_slowdown` allows.
        blocks: what the labels say.
        metric: the metric whose losses these are.
        unlabelled: rows without a label, in this step.
        disagreement: how much more the versions differ on these than on labelled ones; None where nothing is known.
    """

    rows: int
    rows_in_step: int
    failures: int
    timed: int
    slower: int
    blocks: LossBlocks
    metric: str = ""
    unlabelled: int = 0
    disagreement: float | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """Where a canary stands.

    Attributes:
        step: position in `Canary.steps`, from 0.
        entered: when that step began (aware).
        started: when the canary did.
        paused: a person holds it.
    """

    step: int
    entered: datetime
    started: datetime
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Ruling:
    """What follows.

    Attributes:
        move: what is to be done.
        reason: one sentence.
        questions: what each came to.
    """

    move: Move
    reason: str
    questions: tuple[CanaryQuestion, ...]


def judge_canary(canary: Canary, evidence: Evidence, position: Position, now: datetime) -> Ruling:
    """What follows from the evidence at `now` (aware); may be asked as often as one likes."""
    steps = canary_steps(canary)
    ahead = steps[position.step + 1] if position.step + 1 < len(steps) else 100
    questions = (
        judge_answers(canary, evidence),
        judge_latency(canary, evidence),
        judge_outcome(canary, evidence, ahead),
    )
    failed = [question for question in questions if question.verdict is Verdict.FAIL]
    if failed:
        return Ruling("refuse", " ".join(question.reason for question in failed), questions)
    waits = _reasons_to_wait(canary, evidence, position, questions, now)
    if not waits:
        if position.step + 1 < len(steps):
            return Ruling("step", f"All three questions are answered; {ahead} % of the requests are next.", questions)
        return Ruling("promote", "All three questions are answered, and no step is left.", questions)
    if now - position.started >= canary.budget:
        spent = f"the {describe_span(canary.budget)} of its budget are over"
    elif canary.max_rows is not None and evidence.rows >= canary.max_rows:
        spent = f"the {canary.max_rows:,} rows of its budget were compared"
    else:
        return Ruling("wait", " ".join(waits), questions)
    return Ruling("give-up", f"Nothing is proven, and {spent}: the champion stays. {' '.join(waits)}", questions)


def canary_steps(canary: Canary) -> tuple[int, ...]:
    """Percent of the requests that the challenger answers, step by step; in the shadow one step of none."""
    return canary.steps if canary.mode == "steps" else (0,)


def judge_answers(canary: Canary, evidence: Evidence) -> CanaryQuestion:
    """Are its answers given, and finite?"""
    alpha, bound = canary.level / QUESTIONS, canary.max_failures
    interval = bound_share(evidence.failures, evidence.rows, alpha=alpha)
    verdict = _verdict(interval, refuse_above=bound, pass_below=bound)
    seen = evidence.failures / evidence.rows if evidence.rows else None
    if not evidence.rows:
        return CanaryQuestion("answers", verdict, seen, interval, bound, 0, "Both have answered no row yet.")
    told = f"It failed to answer {evidence.failures:,} of {many(evidence.rows, 'row')} that the champion answered"
    reason = _sentence(verdict, told, f"at most {_percent(bound)} are allowed")
    return CanaryQuestion("answers", verdict, seen, interval, bound, evidence.rows, reason)


def judge_latency(canary: Canary, evidence: Evidence) -> CanaryQuestion:
    """Is it as fast? By the sign test: a slow machine slows both, and one slow request is one row.

    In the median it is not slower by more than `max_slowdown` where less than half of the rows are.
    """
    alpha = canary.level / QUESTIONS
    interval = bound_share(evidence.slower, evidence.timed, alpha=alpha)
    verdict = _verdict(interval, refuse_above=_MEDIAN, pass_below=_MEDIAN)
    seen = evidence.slower / evidence.timed if evidence.timed else None
    if not evidence.timed:
        return CanaryQuestion("latency", verdict, seen, interval, _MEDIAN, 0, "Both were timed on no row yet.")
    much = f"{1 + canary.max_slowdown:g} times the champion's time"
    told = f"It took over {much} on {evidence.slower:,} of {many(evidence.timed, 'row')}"
    reason = _sentence(verdict, told, "less than half are allowed")
    return CanaryQuestion("latency", verdict, seen, interval, _MEDIAN, evidence.timed, reason)


def judge_outcome(canary: Canary, evidence: Evidence, share: int) -> CanaryQuestion:
    """Is what it answers as good, for a step to a `share` (percent) of the requests?"""
    blocks, bound = evidence.blocks, canary.margin * 100 / share
    interval = outcome_interval(canary, blocks.worse, blocks.lost)
    verdict = _verdict(interval, refuse_above=_ROUNDING, pass_below=bound)
    total = float(blocks.lost.sum())
    seen = float(blocks.worse.sum()) / total if total > 0 else None
    rows, units = int(blocks.rows.sum()), len(blocks.rows)
    if seen is None or not math.isfinite(interval[0]):
        known = many(units, f"block of {describe_span(canary.block)} has its labels", "blocks have theirs")
        reason = f"Its outcome is not known: {known}, and {MIN_BLOCKS} are needed."
        if units >= MIN_BLOCKS:
            reason = "Its outcome cannot be measured by a share: the champion made no error at all."
        return CanaryQuestion("outcome", Verdict.INCONCLUSIVE, seen, None, bound, rows, reason, evidence.metric)
    size = f"{_percent(abs(seen))} {'more' if seen >= 0 else 'less'}"
    told = f"By {evidence.metric} it loses {size} than the champion on {many(rows, 'labelled row')}"
    told = f"{told} ({_percent(interval[0])} to {_percent(interval[1])})"
    reason = _sentence(verdict, told, f"{_percent(bound)} are allowed for {share} % of the requests")
    if verdict is Verdict.FAIL:
        reason = f"{told}: it is proven to be worse."
    return CanaryQuestion("outcome", verdict, seen, interval, bound, rows, reason, evidence.metric)


def outcome_interval(canary: Canary, worse: npt.NDArray[np.float64], lost: npt.NDArray[np.float64]) -> Interval:
    """How much more the challenger loses than the champion, as a share of the champion's loss, by blocks of time."""
    return bound_ratio(worse, lost, alpha=canary.level / QUESTIONS, best_at=BEST_AT)


def _reasons_to_wait(
    canary: Canary, evidence: Evidence, position: Position, questions: Sequence[CanaryQuestion], now: datetime
) -> list[str]:
    """Why no step is taken now; empty where one is."""
    waits = [question.reason for question in questions if question.verdict is not Verdict.PASS]
    if position.paused:
        waits.append("A person has paused it.")
    if now - position.entered < canary.hold:
        until = position.entered + canary.hold
        waits.append(f"The step lasts until {until:%Y-%m-%d %H:%M} UTC at least.")
    if evidence.rows_in_step < canary.min_rows:
        waits.append(f"The step has compared {many(evidence.rows_in_step, 'row')}, and {canary.min_rows} are needed.")
    differs, known = evidence.disagreement, evidence.unlabelled >= canary.min_rows
    if differs is not None and known and differs > canary.max_disagreement:
        waits.append(
            f"On {evidence.unlabelled:,} rows without a label the versions differ {differs:.1f} times as much as on "
            f"those with one; their labels are waited for."
        )
    return waits


def _verdict(interval: Interval, *, refuse_above: float, pass_below: float) -> Verdict:
    low, high = interval
    if low > refuse_above:
        return Verdict.FAIL
    return Verdict.PASS if high <= pass_below else Verdict.INCONCLUSIVE


def _sentence(verdict: Verdict, told: str, allowed: str) -> str:
    ends = {Verdict.PASS: "it is proven to be within that", Verdict.FAIL: "it is proven to be beyond that"}
    return f"{told}; {allowed}: {ends.get(verdict, 'neither is proven')}."


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if abs(share) < 1 else f"{100 * share:,.0f} %"
