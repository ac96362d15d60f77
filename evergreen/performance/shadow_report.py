"""What is reported of a promotion, and the form in which it is kept with its decision."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from evergreen.decision import Decision
from evergreen.verdicts import Verdict

BY = "shadow"
"""Who gives the alias back, in the log of promotions."""


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """What a promotion brought, by the rows that came since.

    Attributes:
        verdict: PASS, it helped: the gain's whole interval is above nought; FAIL, it hurt: all of it is below.
        metric: the model file's.
        value: of the champion.
        former_value: of the champion that it replaced, on the same rows.
        gain: how much better the champion is, in the metric's unit; negative where it is worse.
        interval: of the gain.
        rows: labelled rows that both predicted.
        windows: windows that they lie in.
        of: after how many windows the last look is taken.
        champion: version in production; None before there is one.
        former: version that it replaced; None where there is none to compare with.
        promotion: the move in the log that this is about.
        rollback: whether a FAIL gives the alias back, by the model file at that time.
        final: no further look is taken at this promotion.
        decision_id: follows from model, both versions, the promotion, those rows and the policy; None where nothing was
            decided.
    """

    verdict: Verdict
    metric: str
    reason: str
    value: float | None = None
    former_value: float | None = None
    gain: float | None = None
    interval: tuple[float, float] | None = None
    rows: int = 0
    windows: int = 0
    of: int = 0
    champion: int | None = None
    former: int | None = None
    promotion: str = ""
    rollback: bool = False
    final: bool = False
    decision_id: str | None = None

    def to_detail(self) -> dict[str, Any]:
        """What is kept with its decision, beside verdict and reason."""
        return {key: value for key, value in asdict(self).items() if key not in ("verdict", "reason", "decision_id")}

    @classmethod
    def of_decision(cls, decision: Decision) -> ShadowReport:
        """The report that a decision was made of."""
        interval = decision.detail["interval"]
        kept = dict(decision.detail) | {"interval": tuple(interval) if interval else None}
        return cls(verdict=Verdict(decision.outcome), reason=decision.reason, decision_id=decision.id, **kept)
