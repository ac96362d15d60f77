"""Conclude a retraining: store the decision, then emit its event, then report it, so that no crash loses it."""

from __future__ import annotations

from evergreen.decision import Decision
from evergreen.details.decision import Ingested, Outcome, RetrainDetail
from evergreen.drift.report import DriftReport
from evergreen.errors import EvergreenError
from evergreen.evaluation.judgement import Judgement
from evergreen.events import MODEL_PROMOTED, MODEL_REJECTED, MODEL_WAITING, Event, decision_event
from evergreen.pages.links import page_url, report_url
from evergreen.registry.version import Version
from evergreen.reports import card_store
from evergreen.runs.context import RunContext
from evergreen.training.plan import Plan
from tasks import run_logger
from tasks.announce import announce
from tasks.canary import schedule_looks
from tasks.record import record_retrain, record_run
from tasks.report import report_drift, report_retrain


def emit_decision(context: RunContext, decision: Decision | None) -> Decision | None:
    """Emit the event of a stored decision; None emits nothing."""
    if decision is not None:
        announce(context.settings.environment, decision_event(context.spec.name, decision))
    return decision


def conclude(
    context: RunContext,
    plan: Plan,
    ingested: Ingested,
    outcome: Outcome | None = None,
    version: Version | None = None,
    drift: DriftReport | None = None,
    judgement: Judgement | None = None,
) -> RetrainDetail:
    """Store and report the outcome of a retraining; announce it if a candidate was fitted and evaluated."""
    result = record_retrain(context, plan, ingested, outcome, version, drift, judgement)
    if judgement is not None and drift is not None:
        _announce(context, plan, result, drift)
        former = plan.champion.number if plan.champion and result.outcome == "promoted" else None
        update_cards(context, result.version, former)
    if result.outcome == "in-canary":
        schedule_looks(context.settings.environment, active=True)
    rows, run_id = plan.train_rows + plan.holdout_rows, version.run_id if version else ""
    record_run(context, "retrain", rows, result.outcome, run_id)
    return result


def update_cards(context: RunContext, *numbers: int | None) -> None:
    """Rewrite the cards of some versions; a card that cannot be written is logged and does not fail the run."""
    for number in numbers:
        if number is None:
            continue
        try:
            card_store.keep(context.settings, context.registry, context.spec, number, spec_hash=context.spec_hash)
        except EvergreenError as error:
            run_logger(context.spec.name).warning("card: the card of version %s was not written: %s", number, error)


def _announce(context: RunContext, plan: Plan, result: RetrainDetail, drift: DriftReport) -> None:
    payload = {
        "decision_id": plan.decision_id,
        "version": result.version,
        "outcome": result.outcome,
        "reason": plan.request.reason,
    }
    event = {"promoted": MODEL_PROMOTED, "awaiting-approval": MODEL_WAITING}.get(result.outcome, MODEL_REJECTED)
    if result.outcome != "in-canary":
        # The canary tells of itself.
        announce(context.settings.environment, Event(event, result.model, payload))
    settings, model = context.settings, result.model
    link = report_url(settings, model, result.decision_id, result.drift.report)
    report_drift(settings.environment, model, drift, link)
    report_retrain(settings.environment, result, link, page_url(settings, model))
