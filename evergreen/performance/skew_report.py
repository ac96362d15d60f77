"""What is reported of a look at what was served, and how it comes back from the decision that was made of it."""

from __future__ import annotations

from dataclasses import dataclass

from evergreen.decision import Decision
from evergreen.details.decision import field_values
from evergreen.details.watch import SkewDetail
from evergreen.verdicts import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class SkewReport(SkewDetail):
    """What was served beside what landed: the figures, and what follows from them.

    Attributes:
        verdict: FAIL, a column is proven to differ in more rows than is accepted; PASS, none differs in more;
            INCONCLUSIVE, one does, which is not proven, or nothing could be compared.
        decision_id: follows from model, champion, the rows of both sides and the policy; None where nothing
            was decided.
    """

    verdict: Verdict
    reason: str
    decision_id: str | None = None

    @property
    def detail(self) -> SkewDetail:
        """What is kept with its decision, beside verdict and reason."""
        return SkewDetail(**field_values(self, SkewDetail))

    @classmethod
    def of_decision(cls, decision: Decision) -> SkewReport:
        """The report that a decision was made of."""
        figures = field_values(decision.detail_as(SkewDetail), SkewDetail)
        return cls(verdict=Verdict(decision.outcome), reason=decision.reason, decision_id=decision.id, **figures)


NOT_SERVED = SkewReport(verdict=Verdict.INCONCLUSIVE, reason="the model is not served")
"""What is said of a model whose file has no `serve`."""


def not_compared(reason: str, rows: int = 0, since: str | None = None) -> SkewReport:
    """What a report says where nothing was decided; `rows` are those that could be compared."""
    return SkewReport(rows=rows, of=rows, since=since, verdict=Verdict.INCONCLUSIVE, reason=reason)
