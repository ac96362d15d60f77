"""Compare the data since the champion was trained with its training data."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from evergreen.data.snapshot import Snapshot
from evergreen.drift.check import check_drift, no_champion_report
from evergreen.drift.report import DriftReport
from evergreen.registry.version import Version
from evergreen.runs.context import RunContext
from tasks import run_logger


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
        reports=context.kept_files,
        now=context.now,
    )
    run_logger(context.spec.name, report.decision_id or "", champion.number).info(
        "detect: drift %s, %s", report.verdict, report.reason
    )
    return report
