"""What a performance report holds, and how it comes back from the decision that was made of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from evergreen.decision import Decision
from evergreen.details.decision import field_values
from evergreen.details.watch import Interval, PerformanceDetail
from evergreen.evaluation.bootstrap import Estimate
from evergreen.spec.model import ModelSpec
from evergreen.verdicts import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceReport(PerformanceDetail):
    """How a champion does: the figures, and what follows from them.

    Attributes:
        decision_id: follows from model, champion, the rows and the policy; None before there is a champion.
    """

    verdict: Verdict
    reason: str
    decision_id: str | None = None

    @property
    def detail(self) -> PerformanceDetail:
        """What is kept with its decision, beside verdict and reason."""
        return PerformanceDetail(**field_values(self, PerformanceDetail))

    @classmethod
    def of_decision(cls, decision: Decision) -> PerformanceReport:
        """The report that a decision was made of, without what the policy answered to it."""
        detail = replace(decision.detail_as(PerformanceDetail), called=True, because=None)
        figures = field_values(detail, PerformanceDetail)
        return cls(verdict=Verdict(decision.outcome), reason=decision.reason, decision_id=decision.id, **figures)


def no_champion(spec: ModelSpec) -> PerformanceReport:
    """What a report says before there is anything to measure."""
    reason = "there is no champion yet to measure"
    return PerformanceReport(spec.metric.name, None, None, None, 0, verdict=Verdict.INCONCLUSIVE, reason=reason)


def figures(found: Estimate) -> tuple[float | None, Interval | None]:
    """Value and interval of an estimate, None for what is not a number."""
    value = finite(found.value)
    low, high = finite(found.low), finite(found.high)
    return value, None if low is None or high is None else (low, high)


def finite(value: float) -> float | None:
    """A number that is the same for the same rows in any order: ten significant figures; None where it is none."""
    import math

    return float(f"{value:.10g}") if math.isfinite(value) else None
