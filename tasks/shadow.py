"""Compare the champion with the one that it replaced, on labelled rows that came since."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from evergreen.data.snapshot import Snapshot
from evergreen.performance.shadow import FormerComparison, Pair, check_promotion, compare_with_former
from evergreen.performance.shadow_report import ShadowReport
from evergreen.registry.version import Version
from evergreen.runs.context import RunContext
from tasks import run_logger


@task(cache_policy=NO_CACHE, timeout_seconds=1800, task_run_name="shadow")
def shadow(context: RunContext, champion: Version | None, snapshot: Snapshot) -> ShadowReport:
    """Report whether the last promotion helped; INCONCLUSIVE if there is none to evaluate."""

    def compare(pair: Pair, before: int) -> FormerComparison:
        return compare_with_former(context.observations, context.registry, snapshot, pair, before, context.now)

    stores = (context.registry, context.promotions, context.ledger)
    report = check_promotion(context.spec, *stores, champion, compare)
    run_logger(context.spec.name, report.decision_id or "").info("shadow: %s", report.reason)
    return report
