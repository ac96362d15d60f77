"""What the flows share: opening a run's surroundings, and concluding it in the order that loses nothing.

The order is the point: the decision is stored first, then told by event, then shown.
"""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

import models
from evergreen import card_store
from evergreen.decisions import Decision
from evergreen.drift import DriftReport
from evergreen.errors import EvergreenError
from evergreen.evaluation import Judgement
from evergreen.events import (
    DATA_REJECTED,
    MODEL_PROMOTED,
    MODEL_REJECTED,
    MODEL_ROLLED_BACK,
    MODEL_WAITING,
    Event,
    decision_event,
)
from evergreen.ingest import Landing
from evergreen.observations import Snapshot
from evergreen.page_links import page_url
from evergreen.promotion import require_consistent
from evergreen.promotion_log import Move, Promotions
from evergreen.recording import retrain_result
from evergreen.registry import PREVIOUS, Registry, Version
from evergreen.results import Ingested, MoveResult, Outcome, RetrainResult
from evergreen.retraining import Plan
from evergreen.settings import load_settings
from evergreen.shadow_report import ShadowReport
from evergreen.timestamps import as_utc
from evergreen.workspace import Workspace
from tasks.announce import announce
from tasks.ingest import ingest
from tasks.promote import take_back
from tasks.record import record_drift, record_retrain, record_run
from tasks.report import report_drift, report_move, report_retrain


def open_workspace(model: str, at: datetime | None = None) -> Workspace:
    """The surroundings of this run, read from the settings and the model file; `at` is its logical time, if given."""
    settings = load_settings()
    loaded = models.load(model, settings.models)
    _label(model)
    now = datetime.now(UTC) if at is None else as_utc(at)
    run = str(flow_run.get_id() or "")
    return Workspace(loaded.spec, loaded.hash, settings, Registry(settings), now, run, live=at is None)


def _label(model: str) -> None:
    """Tag the flow run, and not its tasks: Prefect asks for a concurrency slot for each task that bears a tag."""
    run = flow_run.get_id()
    if run is not None:
        with get_client(sync_client=True) as client:
            client.update_flow_run(UUID(run), tags={*flow_run.get_tags(), "evergreen", model})


def landed(workspace: Workspace) -> Ingested:
    """Ingest, and tell of what was refused."""
    state = ingest(workspace, return_state=True)
    landing: Landing = state.result()
    cached = state.name == "Cached"
    model = workspace.spec.name
    if cached:
        get_run_logger().info("ingest: nothing new, nothing read")
    else:
        for report in landing.refused:
            told = {"batch": report.batch, "origin": report.origin, "rows": report.rejected, "reason": report.problem}
            announce(Event(DATA_REJECTED, model, told))
    return Ingested.of(landing, cached=cached)


def champion_and_snapshot(workspace: Workspace) -> tuple[Version | None, Snapshot]:
    """What is in production, and what there is to compare it with."""
    champion = workspace.registry.champion(workspace.spec.name)
    require_consistent(workspace.spec.name, champion, Promotions(workspace.settings.lake_uri, workspace.spec.name))
    return champion, workspace.observations.snapshot()


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


def moved(workspace: Workspace, action: str, move: Move | None, reason: str) -> MoveResult:
    """Announce and show a promotion by hand, or a rollback."""
    registry, model = workspace.registry, workspace.spec.name
    champion, previous = registry.champion(model), registry.by_alias(model, PREVIOUS)
    result = MoveResult(
        model=model,
        action=action,
        champion=champion.number if champion else 0,
        previous=previous.number if previous else None,
        reason=reason,
        changed=move is not None,
    )
    if move is not None:
        name = MODEL_PROMOTED if action == "promote" else MODEL_ROLLED_BACK
        announce(Event(name, model, {"version": move.after, "before": move.before, "reason": reason}))
        report_move(result)
        describe(workspace, move.after, move.before)
    return result


def taken_back(workspace: Workspace, report: ShadowReport) -> Move | None:
    """Roll back a promotion that hurt, and tell of it; None where the champion stays."""
    move = take_back(workspace, report)
    if move is not None:
        moved(workspace, "rollback", move, move.reason)
    return move


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
