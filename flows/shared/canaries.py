"""Look at the canaries of one model, and tell what came of it."""

from __future__ import annotations

from evergreen.canary.canary_ledger import CanaryState
from evergreen.canary.moves import Look
from evergreen.canary.report import CanaryReport, describe_look
from evergreen.events import MODEL_PROMOTED, MODEL_REJECTED, Event
from evergreen.runs.context import RunContext
from flows.shared.conclude import emit_decision, update_cards
from tasks.announce import announce
from tasks.canary import look_at_canaries
from tasks.report import report_canary


def look_and_tell(context: RunContext) -> tuple[CanaryReport, ...]:
    """Take a look at each open canary of the model; emit and report what was decided."""
    return tuple(_tell(context, look) for look in look_at_canaries(context))


def _tell(context: RunContext, look: Look) -> CanaryReport:
    for decision in look.decided:
        emit_decision(context, decision)
    report = describe_look(context.spec, look)
    if look.outcome is not None:
        _announce_outcome(context, look.state, report)
    report_canary(context.settings.environment, report)
    return report


def _announce_outcome(context: RunContext, state: CanaryState, report: CanaryReport) -> None:
    name = MODEL_PROMOTED if report.outcome == "promoted" else MODEL_REJECTED
    facts = {"decision_id": state.retrain.id, "version": report.version, "before": report.champion}
    facts |= {"outcome": report.outcome, "reason": report.reason}
    announce(context.settings.environment, Event(name, report.model, facts))
    update_cards(context, report.version, report.champion if report.outcome == "promoted" else None)
