"""The names and payloads of events. An event is a hint; the stored decision is the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evergreen.decision import Decision

DRIFT_FAILED = "evergreen.drift.failed"
DRIFT_SUSPECTED = "evergreen.drift.suspected"
DRIFT_PASSED = "evergreen.drift.passed"
DRIFT_INCONCLUSIVE = "evergreen.drift.inconclusive"
DRIFT_AWAITED = "evergreen.drift.awaited"
PERFORMANCE_FAILED = "evergreen.performance.failed"
PERFORMANCE_PASSED = "evergreen.performance.passed"
PERFORMANCE_INCONCLUSIVE = "evergreen.performance.inconclusive"
SHADOW_FAILED = "evergreen.shadow.failed"
SHADOW_PASSED = "evergreen.shadow.passed"
SHADOW_INCONCLUSIVE = "evergreen.shadow.inconclusive"
DATA_LANDED = "evergreen.data.landed"
DATA_REJECTED = "evergreen.data.rejected"
RETRAIN_ESCALATED = "evergreen.retrain.escalated"
MODEL_PROMOTED = "evergreen.model.promoted"
MODEL_REJECTED = "evergreen.model.rejected"
MODEL_WAITING = "evergreen.model.awaiting-approval"
MODEL_ROLLED_BACK = "evergreen.model.rolled-back"

GROUNDS = {"drift": DRIFT_FAILED, "performance": PERFORMANCE_FAILED, "data": DATA_LANDED}
"""What may call for a retraining (`retrain_on` of a model file), and the event that says so."""

REHEARSAL = "evergreen.rehearsal"
"""Label of a canary event: its own bucket of a trigger's cooldown, and nothing that a person is told of."""
NO_REHEARSAL = "no"
"""That label on every other event: Prefect cannot match a label that is absent."""


CANARY = "rehearsal-"
"""How the decision id of a canary begins: the run that it starts ends before it touches anything."""


def is_canary(decision_id: str | None) -> bool:
    """Whether a run was started by a rehearsal."""
    return decision_id is not None and decision_id.startswith(CANARY)


@dataclass(frozen=True, slots=True)
class Event:
    """One event of one model; the payload is small, JSON, and holds no data rows. `rehearsal` marks a canary."""

    name: str
    model: str
    payload: Mapping[str, Any]
    rehearsal: str = ""

    @property
    def resource(self) -> dict[str, str]:
        """What the event is about, in the form that automations match."""
        return {
            "prefect.resource.id": f"evergreen.model.{self.model}",
            "prefect.resource.name": self.model,
            REHEARSAL: self.rehearsal or NO_REHEARSAL,
        }


def drift_event(
    model: str, verdict: str, *, decision_id: str, share: float, columns: tuple[str, ...], confirmed: bool = True
) -> Event:
    """The event of a drift report; a failure that is not confirmed is only a suspicion."""
    failed = DRIFT_FAILED if confirmed else DRIFT_SUSPECTED
    name = {"FAIL": failed, "PASS": DRIFT_PASSED}.get(verdict, DRIFT_INCONCLUSIVE)
    return Event(name, model, {"decision_id": decision_id, "share": share, "columns": list(columns)})


def decision_event(model: str, decision: Decision) -> Event:
    """The event of a stored decision of a monitor run: drift, performance, shadow or data."""
    detail = decision.detail
    if decision.kind == "drift":
        return drift_event(
            model,
            decision.outcome,
            decision_id=decision.id,
            share=detail["share"],
            columns=tuple(detail["columns"]),
            confirmed=detail["confirmed"] and detail.get("called", True),
        )
    if decision.kind == "performance":
        name = {"FAIL": PERFORMANCE_FAILED, "PASS": PERFORMANCE_PASSED}.get(decision.outcome, PERFORMANCE_INCONCLUSIVE)
        told = {key: detail[key] for key in ("metric", "value", "at_promotion", "rows")}
        return Event(name, model, {"decision_id": decision.id} | told)
    if decision.kind == "shadow":
        name = {"FAIL": SHADOW_FAILED, "PASS": SHADOW_PASSED}.get(decision.outcome, SHADOW_INCONCLUSIVE)
        told = {key: detail[key] for key in ("metric", "gain", "rows", "champion", "former")}
        return Event(name, model, {"decision_id": decision.id} | told | {"reason": decision.reason})
    return Event(DATA_LANDED, model, {"decision_id": decision.id, "rows": detail["rows"]})
