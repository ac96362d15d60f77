"""What is reported of a promotion, and how it comes back from the decision that was made of it."""

from __future__ import annotations

from dataclasses import dataclass

from evergreen.decision import Decision
from evergreen.details.decision import field_values
from evergreen.details.watch import ShadowDetail
from evergreen.verdicts import Verdict

BY = "shadow"
"""Who gives the alias back, in the log of promotions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowReport(ShadowDetail):
    """What a promotion brought: the figures, and what follows from them.

    Attributes:
        verdict: PASS, it helped: the gain's whole interval is above zero; FAIL, it hurt: all of it is below.
        decision_id: follows from model, both versions, the promotion, those rows and the policy; None where nothing was
            decided.
    """

    verdict: Verdict
    reason: str
    decision_id: str | None = None

    @property
    def detail(self) -> ShadowDetail:
        """What is kept with its decision, beside verdict and reason."""
        return ShadowDetail(**field_values(self, ShadowDetail))

    @classmethod
    def of_decision(cls, decision: Decision) -> ShadowReport:
        """The report that a decision was made of."""
        figures = field_values(decision.detail_as(ShadowDetail), ShadowDetail)
        return cls(verdict=Verdict(decision.outcome), reason=decision.reason, decision_id=decision.id, **figures)
