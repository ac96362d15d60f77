"""Write decisions to the ledger, and what a run cost to its own table."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger

from evergreen.confirmation import confirm
from evergreen.decisions import Decision, Decisions, Kind
from evergreen.drift import DriftReport
from evergreen.monitoring import data_question, drift_question
from evergreen.naming import dashed
from evergreen.observations import Snapshot
from evergreen.performance_report import PerformanceReport
from evergreen.registry import Version
from evergreen.results import DriftResult, RetrainResult
from evergreen.runs import Run, Runs
from evergreen.shadow_report import ShadowReport
from evergreen.workspace import Workspace
from tasks import passing


@task(
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=passing,
    timeout_seconds=120,
    task_run_name="record-drift",
)
def record_drift(
    workspace: Workspace, champion: Version | None, snapshot: Snapshot, report: DriftReport, answered_by: str = ""
) -> Decision | None:
    """Keep a drift report's verdict, scores and whether it calls for a retraining; None before there is a champion.

    What was stored of the same question before stays and is returned. `answered_by` is the retraining that this report
    is part of: it calls for no other one.
    """
    if champion is None:
        return None
    asked, _ = drift_question(workspace.spec, champion, snapshot)
    ledger = Decisions(workspace.settings.lake_uri, workspace.spec.name)
    known = ledger.find("drift", asked)
    if known is not None:
        return known
    told, policy = DriftResult.of(report), workspace.spec.drift
    confirmation = confirm(
        policy,
        ledger.all("drift") if policy.of > 1 else (),
        champion=champion.number,
        digest=snapshot.digest,
        verdict=report.verdict,
        answered_by=answered_by,
    )
    ledger.record_scores(asked, workspace.now, champion.number, report)
    detail = {"share": told.share, "columns": list(told.columns), "report": told.report} | confirmation.to_detail()
    outcome, reason = str(report.verdict), report.reason
    return _recorded(workspace, ledger, asked, "drift", outcome, champion, snapshot, reason, detail)


@task(
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=passing,
    timeout_seconds=120,
    task_run_name="record-performance",
)
def record_performance(
    workspace: Workspace, champion: Version | None, snapshot: Snapshot, report: PerformanceReport
) -> Decision | None:
    """Keep a performance report; None before there is a champion."""
    asked = report.decision_id
    if champion is None or asked is None:
        return None
    ledger = Decisions(workspace.settings.lake_uri, workspace.spec.name)
    outcome, reason = str(report.verdict), report.reason
    return _recorded(workspace, ledger, asked, "performance", outcome, champion, snapshot, reason, report.to_detail())


@task(
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=passing,
    timeout_seconds=120,
    task_run_name="record-shadow",
)
def record_shadow(
    workspace: Workspace, champion: Version | None, snapshot: Snapshot, report: ShadowReport
) -> Decision | None:
    """Keep whether a promotion helped; None where that was kept before, or nothing was decided."""
    asked = report.decision_id
    ledger = Decisions(workspace.settings.lake_uri, workspace.spec.name)
    if asked is None or ledger.find("shadow", asked) is not None:
        return None
    outcome, reason = str(report.verdict), report.reason
    return _recorded(workspace, ledger, asked, "shadow", outcome, champion, snapshot, reason, report.to_detail())


@task(
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=passing,
    timeout_seconds=120,
    task_run_name="record-data",
)
def record_data(workspace: Workspace, champion: Version | None, snapshot: Snapshot) -> Decision | None:
    """Keep that data landed, where the model file asks for a retraining then; None where there is no news."""
    if "data" not in workspace.spec.retrain_on:
        return None
    ledger = Decisions(workspace.settings.lake_uri, workspace.spec.name)
    news = data_question(workspace.spec, champion, snapshot, (ledger.last("data"), ledger.last("retrain")))
    if news is None:
        return None
    asked, rows = news
    reason = f"{rows} rows landed since the champion's" if champion else f"{rows} rows landed, and there is no champion"
    return _recorded(workspace, ledger, asked, "data", "LANDED", champion, snapshot, reason, {"rows": rows})


def _recorded(
    workspace: Workspace,
    ledger: Decisions,
    asked: str,
    kind: Kind,
    outcome: str,
    champion: Version | None,
    snapshot: Snapshot,
    reason: str,
    detail: Mapping[str, Any],
) -> Decision:
    decision = Decision(
        id=asked,
        kind=kind,
        at=workspace.now,
        outcome=outcome,
        champion=champion.number if champion else None,
        snapshot=snapshot.version,
        digest=snapshot.digest,
        reason=reason,
        detail=detail,
        flow_run=workspace.flow_run,
    )
    ledger.record(decision)
    return decision


@task(
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=passing,
    timeout_seconds=120,
    task_run_name="record-retrain",
)
def record_retrain(workspace: Workspace, result: RetrainResult, compared_with: int | None) -> None:
    """Keep what became of a candidate."""
    Decisions(workspace.settings.lake_uri, workspace.spec.name).record(
        Decision(
            id=result.decision_id,
            kind="retrain",
            at=workspace.now,
            outcome=result.outcome,
            champion=compared_with,
            snapshot=result.snapshot.version,
            digest=result.snapshot.digest,
            reason=result.explanation,
            detail=result.to_json(),
            flow_run=workspace.flow_run,
        )
    )


@task(cache_policy=NO_CACHE, timeout_seconds=120, task_run_name="record-run")
def record_run(workspace: Workspace, flow: str, rows: int, outcome: str, run_id: str = "") -> None:
    """Keep and show how long this flow run took and had waited; `run_id` is the MLflow run that gets the figures too.

    By the clock, whatever the run's logical time. What goes wrong here is a warning: it takes nothing from the run.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    try:
        now, began = datetime.now(UTC), context.start_time
        due = context.flow_run.expected_start_time or began
        waited = max(0.0, (began - due).total_seconds())
        took = (now - began).total_seconds()
        run = Run(flow, str(context.flow_run.id), now, took, rows, waited, outcome)
        newest = Runs(workspace.settings.lake_uri, workspace.spec.name).record(run)
        if run_id:
            workspace.registry.enrich(run_id, run.metrics, {})
        shown = [each.to_json() for each in newest]
        create_table_artifact(shown, key=dashed("runs", workspace.spec.name), description="The newest runs")
    except Exception as error:
        get_run_logger().warning("record-run: this run's own figures were not kept: %s", error)
