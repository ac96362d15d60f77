"""Write decisions to the ledger, and what a run cost to its own table."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect.artifacts import create_table_artifact
from prefect.context import FlowRunContext

from evergreen.data.snapshot import Snapshot
from evergreen.decision import Decision
from evergreen.details.decision import Ingested, Outcome, RetrainDetail
from evergreen.drift.report import DriftReport
from evergreen.evaluation.judgement import Judgement
from evergreen.naming import artifact
from evergreen.performance.report import PerformanceReport
from evergreen.performance.shadow_report import ShadowReport
from evergreen.performance.skew_report import SkewReport
from evergreen.registry.version import Version
from evergreen.runs.context import RunContext
from evergreen.runs.history import Run, Runs
from evergreen.training.plan import Plan
from tasks import retried, run_logger, shown


@retried("record-drift", timeout_seconds=120)
def record_drift(
    context: RunContext, champion: Version | None, snapshot: Snapshot, report: DriftReport
) -> Decision | None:
    """Record a drift report's verdict, its scores and whether it requests a retraining; None without a champion.

    What was stored of the same question before stays and is returned.
    """
    return _logged(context, context.recorder.drift(champion, snapshot, report))


@retried("record-performance", timeout_seconds=120)
def record_performance(
    context: RunContext, champion: Version | None, snapshot: Snapshot, report: PerformanceReport
) -> Decision | None:
    """Record a performance report; None without a champion."""
    return _logged(context, context.recorder.performance(champion, snapshot, report))


@retried("record-skew", timeout_seconds=120)
def record_skew(
    context: RunContext, champion: Version | None, snapshot: Snapshot, report: SkewReport
) -> Decision | None:
    """Record whether what is served is what lands; None if that is recorded already or undecided."""
    return _logged(context, context.recorder.skew(champion, snapshot, report))


@retried("record-shadow", timeout_seconds=120)
def record_shadow(
    context: RunContext, champion: Version | None, snapshot: Snapshot, report: ShadowReport
) -> Decision | None:
    """Record whether a promotion helped; None if that is recorded already or undecided."""
    return _logged(context, context.recorder.shadow(champion, snapshot, report))


@retried("record-data", timeout_seconds=120)
def record_data(context: RunContext, champion: Version | None, snapshot: Snapshot) -> Decision | None:
    """Record new data if the model file requests a retraining for it; None if nothing is new."""
    return _logged(context, context.recorder.data(champion, snapshot))


@retried("record-retrain", timeout_seconds=120)
def record_retrain(
    context: RunContext,
    plan: Plan,
    ingested: Ingested,
    outcome: Outcome | None = None,
    version: Version | None = None,
    drift: DriftReport | None = None,
    judgement: Judgement | None = None,
) -> RetrainDetail:
    """Record the outcome of a candidate and its drift report, or why no candidate was trained."""
    context.require_held()
    champion = context.registry.champion(context.spec.name)
    result = context.recorder.conclude(plan, ingested, champion, outcome, version, drift, judgement)
    logger = run_logger(context.spec.name, result.decision_id, result.version, step=False)
    logger.info("decision: the retraining is recorded as %s", result.outcome)
    return result


@shown("record-run")
def record_run(context: RunContext, flow: str, rows: int, outcome: str, run_id: str = "") -> None:
    """Record and show how long this flow run took and had waited; `run_id` is the MLflow run that gets the figures too.

    By the clock, whatever the run's logical time.
    """
    prefect = FlowRunContext.get()
    if prefect is None or prefect.flow_run is None:
        return
    now, began = datetime.now(UTC), prefect.start_time
    due = prefect.flow_run.expected_start_time or began
    waited = max(0.0, (began - due).total_seconds())
    took = (now - began).total_seconds()
    run = Run(flow, str(prefect.flow_run.id), now, took, rows, waited, outcome, context.cpu_seconds)
    newest = Runs(context.settings.lake_uri, context.spec.name).record(run)
    if run_id:
        context.registry.enrich(run_id, run.metrics, {})
    shown_runs = [each.to_json() for each in newest]
    create_table_artifact(
        shown_runs, key=artifact(context.settings.environment, "runs", context.spec.name), description="The newest runs"
    )


def _logged(context: RunContext, decision: Decision | None) -> Decision | None:
    """Log a decision that is in the ledger now, for who follows it."""
    if decision is not None:
        logger = run_logger(context.spec.name, decision.id, step=False)
        logger.info("decision: %s %s is recorded", decision.kind, decision.outcome)
    return decision
