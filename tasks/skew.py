"""Compare what the champion was asked online with what landed later for the same keys."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from evergreen.data.snapshot import Snapshot
from evergreen.performance.skew import check_skew
from evergreen.performance.skew_report import SkewReport
from evergreen.registry.version import Version
from evergreen.runs.context import RunContext
from tasks import run_logger


@task(cache_policy=NO_CACHE, timeout_seconds=1800, task_run_name="compare-served")
def compare_served(context: RunContext, champion: Version | None, snapshot: Snapshot) -> SkewReport:
    """Report which features were served with other values than landed; INCONCLUSIVE of a model that is not served."""
    stores = (context.observations, context.requests, context.ledger)
    report = check_skew(*stores, champion, snapshot, context.now)
    run_logger(context.spec.name, report.decision_id or "").info("skew: %s", report.reason)
    return report
