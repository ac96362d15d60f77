"""What the flows share: opening a run's surroundings, and concluding it in the order that loses nothing.

The order is the point: the decision is stored first, then told by event, then shown.
"""

from __future__ import annotations

from prefect.logging import get_run_logger

from evergreen.decision import Decision, Outcome
from evergreen.drift.report import DriftReport
from evergreen.errors import EvergreenError
from evergreen.evaluation.judgement import Judgement
from evergreen.events import (
    MODEL_PROMOTED,
    MODEL_REJECTED,
    MODEL_WAITING,
    Event,
    decision_event,
)
from evergreen.pages.links import page_url
from evergreen.registry.version import Version
from evergreen.reports import card_store
from evergreen.runs.context import Workspace
from evergreen.runs.recorder import retrain_result
from evergreen.runs.results import Ingested, RetrainResult
from evergreen.training.plan import Plan
from tasks.announce import announce
from tasks.record import record_drift, record_retrain, record_run
from tasks.report import report_drift, report_retrain


def announced(workspace: Workspace, decision: Decision | None) -> Decision | None:
    """Tell of a decision that was stored, if one was."""
    if decision is not None:
        announce(decision_event(workspace.spec.name, decision))
    return decision


def conclude(
    workspace: Workspace,
    plan: Plan,
    ingested: Ingested,
    outcome: Outcome | None = None,
    version: Version | None = None,
    drift: DriftReport | None = None,
    judgement: Judgement | None = None,
) -> RetrainResult:
    """Store, announce and show what became of a retraining; what was settled before fitting has nothing to announce."""
    result = _result(workspace, plan, ingested, outcome, version, drift, judgement)
    against = plan.champion.number if plan.champion else None
    if drift is not None and drift.columns:
        record_drift(workspace, plan.champion, plan.snapshot, drift, answered_by=plan.decision_id)
    if plan.answer is None:
        record_retrain(workspace, result, against)
    if judgement is not None and drift is not None:
        _tell(workspace, plan, result, drift)
        describe(workspace, result.version, against if result.outcome == "promoted" else None)
    rows, run_id = plan.train_rows + plan.holdout_rows, version.run_id if version else ""
    record_run(workspace, "retrain", rows, result.outcome, run_id)
    return result


def describe(workspace: Workspace, *numbers: int | None) -> None:
    """Write the cards of some versions anew; one that cannot be written is no fault of the run."""
    for number in numbers:
        if number is None:
            continue
        try:
            card_store.keep(
                workspace.settings, workspace.registry, workspace.spec, number, spec_hash=workspace.spec_hash
            )
        except EvergreenError as error:
            get_run_logger().warning("card: that of version %s was not written: %s", number, error)


def _tell(workspace: Workspace, plan: Plan, result: RetrainResult, drift: DriftReport) -> None:
    payload = {
        "decision_id": plan.decision_id,
        "version": result.version,
        "outcome": result.outcome,
        "reason": plan.request.reason,
    }
    told = {"promoted": MODEL_PROMOTED, "awaiting-approval": MODEL_WAITING}.get(result.outcome, MODEL_REJECTED)
    announce(Event(told, result.model, payload))
    report_drift(result.model, drift)
    report_retrain(result, page_url(workspace.settings, result.model))


def _result(
    workspace: Workspace,
    plan: Plan,
    ingested: Ingested,
    outcome: Outcome | None,
    version: Version | None,
    drift: DriftReport | None,
    judgement: Judgement | None,
) -> RetrainResult:
    champion = workspace.registry.champion(workspace.spec.name)
    run = workspace.flow_run or None
    return retrain_result(workspace.spec, plan, ingested, champion, outcome, version, drift, judgement, run)
