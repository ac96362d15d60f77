"""Write decisions to the ledger, and what a run cost to its own table."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger

from evergreen.data.snapshot import Snapshot
from evergreen.decision import Decision
from evergreen.drift.report import DriftReport
from evergreen.ledger.decisions import Decisions
from evergreen.naming import dashed
from evergreen.performance.report import PerformanceReport
from evergreen.performance.shadow_report import ShadowReport
from evergreen.registry.version import Version
from evergreen.runs.context import Workspace
from evergreen.runs.history import Run, Runs
from evergreen.runs.recorder import Clerk
from evergreen.runs.results import RetrainResult
from tasks import retried


@retried("record-drift", timeout_seconds=120)
def record_drift(
    workspace: Workspace, champion: Version | None, snapshot: Snapshot, report: DriftReport, answered_by: str = ""
) -> Decision | None:
    """Keep a drift report's verdict, scores and whether it calls for a retraining; None before there is a champion.

    What was stored of the same question before stays and is returned. `answered_by` is the retraining that this report
    is part of: it calls for no other one.
    """
    return None if champion is None else _clerk(workspace).drift(champion, snapshot, report, answered_by)


@retried("record-performance", timeout_seconds=120)
def record_performance(
    workspace: Workspace, champion: Version | None, snapshot: Snapshot, report: PerformanceReport
) -> Decision | None:
    """Keep a performance report; None before there is a champion."""
    return _clerk(workspace).performance(champion, snapshot, report)


@retried("record-shadow", timeout_seconds=120)
def record_shadow(
    workspace: Workspace, champion: Version | None, snapshot: Snapshot, report: ShadowReport
) -> Decision | None:
    """Keep whether a promotion helped; None where that was kept before, or nothing was decided."""
    return _clerk(workspace).shadow(champion, snapshot, report)


@retried("record-data", timeout_seconds=120)
def record_data(workspace: Workspace, champion: Version | None, snapshot: Snapshot) -> Decision | None:
    """Keep that data landed, where the model file asks for a retraining then; None where there is no news."""
    return _clerk(workspace).data(champion, snapshot)


def _clerk(workspace: Workspace) -> Clerk:
    ledger = Decisions(workspace.settings.lake_uri, workspace.spec.name)
    return Clerk(workspace.spec, ledger, workspace.now, workspace.flow_run)


@retried("record-retrain", timeout_seconds=120)
def record_retrain(workspace: Workspace, result: RetrainResult, compared_with: int | None) -> None:
    """Keep what became of a candidate, or why there is none: that answers nothing."""
    _clerk(workspace).retrain(result, compared_with)


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
