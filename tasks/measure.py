"""Measure the champion on labelled rows that came since it was trained."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from evergreen.data.snapshot import Snapshot
from evergreen.performance.check import check_performance
from evergreen.performance.report import PerformanceReport, no_champion
from evergreen.registry.version import Version
from evergreen.runs.context import RunContext
from tasks import run_logger


@task(cache_policy=NO_CACHE, timeout_seconds=1800, task_run_name="measure")
def measure(context: RunContext, champion: Version | None, snapshot: Snapshot) -> PerformanceReport:
    """Measure the champion; the report is INCONCLUSIVE if there is no champion."""
    if champion is None:
        return no_champion(context.spec)
    report = check_performance(
        context.observations,
        context.registry,
        context.ledger,
        context.predictions,
        champion,
        snapshot,
        now=context.now,
    )
    run_logger(context.spec.name, report.decision_id or "").info(
        "measure: performance %s, %s", report.verdict, report.reason
    )
    return report
