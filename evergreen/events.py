"""The names and payloads of events. An event is only a hint: the stored decision is what counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evergreen.details.canary import CanaryDetail
from evergreen.details.watch import DataDetail, DriftDetail, PerformanceDetail, ShadowDetail, SkewDetail
from evergreen.naming import model_resource
from evergreen.verdicts import Verdict

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
SKEW_FAILED = "evergreen.skew.failed"
SKEW_PASSED = "evergreen.skew.passed"
SKEW_INCONCLUSIVE = "evergreen.skew.inconclusive"
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
MODEL_LOST = "evergreen.model.lost"
CANARY_STARTED = "evergreen.canary.started"
CANARY_STEPPED = "evergreen.canary.stepped"
CANARY_HELD = "evergreen.canary.held"
CANARY_ENDED = "evergreen.canary.ended"

TRIGGER_EVENTS = {"drift": DRIFT_FAILED, "performance": PERFORMANCE_FAILED, "data": DATA_LANDED}
"""The event of each trigger of a retraining that a model file can name."""

REHEARSAL = "evergreen.rehearsal"
"""Label of an event that a rehearsal sends. Triggers count its cooldown separately, and alerts leave the event out."""
NO_REHEARSAL = "no"
"""The value of that label on every other event, because Prefect cannot match a label that is absent."""

REHEARSAL_PREFIX = "rehearsal-"
"""The decision id of a rehearsal event begins with this; the run that it starts ends before it reads any data."""


def is_rehearsal(decision_id: str | None) -> bool:
    """Whether a decision id is that of a rehearsal event."""
    return decision_id is not None and decision_id.startswith(REHEARSAL_PREFIX)


@dataclass(frozen=True, slots=True)
class Event:
    """One event of one model.

    Attributes:
        name: one of the names above.
        model: name of the model.
        payload: a few JSON values; never rows of data.
        rehearsal: the id of the rehearsal that sends the event; empty for every other event.
    """

    name: str
    model: str
    payload: Mapping[str, Any]
    rehearsal: str = ""

    def resource(self, environment: str) -> dict[str, str]:
        """The labels of the event that the environment's automations match."""
        return {
            "prefect.resource.id": model_resource(environment, self.model),
            "prefect.resource.name": self.model,
            REHEARSAL: self.rehearsal or NO_REHEARSAL,
        }


def drift_event(
    model: str, verdict: str, *, decision_id: str, share: float, columns: tuple[str, ...], confirmed: bool = True
) -> Event:
    """The event of a drift report. A failure that is not confirmed has its own name, which starts no retraining."""
    failed = DRIFT_FAILED if confirmed else DRIFT_SUSPECTED
    name = {"FAIL": failed, "PASS": DRIFT_PASSED}.get(verdict, DRIFT_INCONCLUSIVE)
    return Event(name, model, {"decision_id": decision_id, "share": share, "columns": list(columns)})


def decision_event(model: str, decision: Decision) -> Event:
    """The event of a stored decision: of a monitor run, or of a canary."""
    match decision.detail:
        case DriftDetail() as drift:
            return drift_event(
                model,
                decision.outcome,
                decision_id=decision.id,
                share=drift.share,
                columns=drift.columns,
                confirmed=drift.confirmed and drift.called,
            )
        case PerformanceDetail() as performance:
            names = {"FAIL": PERFORMANCE_FAILED, "PASS": PERFORMANCE_PASSED}
            name, payload = names.get(decision.outcome, PERFORMANCE_INCONCLUSIVE), _performance_payload(performance)
        case SkewDetail() as skew:
            names = {"FAIL": SKEW_FAILED, "PASS": SKEW_PASSED}
            name, payload = names.get(decision.outcome, SKEW_INCONCLUSIVE), _skew_payload(skew, decision.reason)
        case ShadowDetail() as shadow:
            names = {"FAIL": SHADOW_FAILED, "PASS": SHADOW_PASSED}
            name, payload = names.get(decision.outcome, SHADOW_INCONCLUSIVE), _shadow_payload(shadow, decision.reason)
        case CanaryDetail() as canary:
            names = {"started": CANARY_STARTED, "step": CANARY_STEPPED, "paused": CANARY_HELD, "resumed": CANARY_HELD}
            name, payload = names.get(decision.outcome, CANARY_ENDED), _canary_payload(canary, decision)
        case _:
            name, payload = DATA_LANDED, {"rows": decision.detail_as(DataDetail).rows}
    return Event(name, model, {"decision_id": decision.id} | payload)


def _performance_payload(detail: PerformanceDetail) -> dict[str, Any]:
    return {
        "metric": detail.metric,
        "value": detail.value,
        "at_promotion": detail.at_promotion,
        "rows": detail.rows,
    }


def _canary_payload(detail: CanaryDetail, decision: Decision) -> dict[str, Any]:
    return {
        "version": detail.version,
        "before": detail.champion,
        "outcome": decision.outcome,
        "share": detail.share,
        "rows": detail.rows,
        "reason": decision.reason,
    }


def _skew_payload(detail: SkewDetail, reason: str) -> dict[str, Any]:
    """The columns that failed; no key of a row."""
    failed = [column.name for column in detail.columns if column.verdict is Verdict.FAIL]
    return {"rows": detail.rows, "columns": failed, "reason": reason}


def _shadow_payload(detail: ShadowDetail, reason: str) -> dict[str, Any]:
    return {
        "metric": detail.metric,
        "gain": detail.gain,
        "rows": detail.rows,
        "champion": detail.champion,
        "former": detail.former,
        "reason": reason,
    }
