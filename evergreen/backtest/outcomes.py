"""What promotions of a simulation came to, and how long a refusal was felt: the two sides of a burden of proof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from evergreen.backtest.scores import Series, series
from evergreen.backtest.simulation import HeavySteps, SimulationPlan, SimulationResult, StepPredictions, Trained
from evergreen.registry.version import Version

HARM = 0.02
"""Worse by more than this share, it did harm."""


@dataclass(frozen=True, slots=True)
class Harmful:
    """So many promotions in place of another champion, of which so many did harm."""

    promotions: int
    harmful: int


def count_harmful(heavy: HeavySteps, plan: SimulationPlan, result: SimulationResult, since: datetime) -> Harmful:
    """Count the promotions from `since` on after which the replaced champion would have been better by over 2 %.

    Both predict every row of the four weeks after the promotion, of the four windows where rows have no time, or of
    what is left of the history; a promotion without a label after it counts as none that did harm.
    """
    versions = {version.number: version for version in result.versions}
    moves = [
        (move.at, versions[move.before], versions[move.after])
        for move in result.moves
        if move.action == "promote" and move.at >= since and move.before is not None and move.after is not None
    ]
    harmful = 0
    for at, former, fresh in moves:
        new, old = (_error(heavy, plan, version, at) for version in (fresh, former))
        harmful += new - old > HARM * abs(old)
    return Harmful(len(moves), harmful)


def _error(heavy: HeavySteps, plan: SimulationPlan, version: Version, at: datetime) -> float:
    """The error of a version in the steps after a time, greater being worse; NaN without a label."""
    served = []
    for start, end in zip(plan.steps[:-1], plan.steps[1:], strict=True):
        first, last = heavy.history.between(start, end)
        if at <= start < at + heavy.history.clock.ahead and last > first:
            served.append(StepPredictions(start, ((first, last, heavy.predict(start, end, version)),)))
    found: Series = series(heavy.spec, heavy.history, served)
    return found.worse * found.value()


def stale_steps(trained: Sequence[Trained], steps: Sequence[datetime]) -> int:
    """How many of the steps were served although a candidate that had learned newer rows had not been promoted."""
    if not trained:
        return 0
    times = np.array([each.at.timestamp() for each in trained])
    last = np.searchsorted(times, [step.timestamp() for step in steps], side="right") - 1
    return sum(place >= 0 and trained[place].outcome != "promoted" for place in last)
