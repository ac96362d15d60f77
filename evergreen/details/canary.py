"""What a decision keeps of a challenger on live traffic."""

from __future__ import annotations

from dataclasses import dataclass

from evergreen.details.watch import Interval
from evergreen.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class CanaryQuestion:
    """One of the questions that a challenger on live traffic is asked.

    Attributes:
        name: `answers`, whether it answers; `latency`, whether it is as fast; `outcome`, whether it is as good.
        verdict: PASS and FAIL are proven.
        seen: the share of rows without an answer, or that were slower; by how much more it loses, as a share of the
            champion's loss. None where nothing is known.
        interval: of `seen`, for all looks together; None where there is none.
        bound: what is allowed.
        rows: that were looked at.
        reason: one sentence or two.
        metric: whose losses these are; empty but for the outcome.
    """

    name: str
    verdict: Verdict
    seen: float | None
    interval: Interval | None
    bound: float
    rows: int
    reason: str
    metric: str = ""


@dataclass(frozen=True, slots=True)
class CanaryPoint:
    """The outcome as it was known after so many blocks of time.

    Attributes:
        at: the end of the last of them (ISO 8601, UTC).
        rows: labelled rows by then.
        seen: by how much more the challenger loses, as a share of the champion's loss.
        interval: of it; None where there were too few blocks.
    """

    at: str
    rows: int
    seen: float
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class CanaryDetail:
    """Something that happened to a challenger on live traffic.

    Attributes:
        version: the challenger.
        champion: the version that it is held against.
        decision: the retraining that made it.
        step: which step it is in from now on, from 0.
        steps: percent of the requests that it answers in each.
        share: percent that it answers from now on.
        shadow: the champion answers everything.
        rows: that both predicted so far.
        questions: what each came to; empty where nothing was asked.
        trace: the outcome over time, at most 60 points.
        by: who did it, as `evergreen.actor` keeps one.
    """

    version: int
    champion: int
    decision: str
    step: int
    steps: tuple[int, ...]
    share: int
    shadow: bool = False
    rows: int = 0
    questions: tuple[CanaryQuestion, ...] = ()
    trace: tuple[CanaryPoint, ...] = ()
    by: str = "canary"
