"""Compare the data since the champion was trained with its training data."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from evergreen.data.snapshot import Snapshot
from evergreen.drift.check import check_drift, no_champion_report
from evergreen.drift.report import DriftReport
from evergreen.registry.version import Version
from evergreen.runs.context import RunContext


@task(cache_policy=NO_CACHE, timeout_seconds=1800, task_run_name="detect")
def detect(context: RunContext, champion: Version | None, snapshot: Snapshot) -> DriftReport:
    """Report the champion's drift; the report is INCONCLUSIVE if there is no champion."""
    if champion is None:
        return no_champion_report(context.spec)
    report = check_drift(
        context.observations,
        context.registry,
        champion,
        snapshot,
        reports=context.reports,
        now=context.now,
    )
    get_run_logger().info("detect: drift %s, %s", report.verdict, report.reason)
    return report
