"""Compare the champion with the one that it replaced, on labelled rows that came since."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from evergreen.data.snapshot import Snapshot
from evergreen.performance.shadow import assess
from evergreen.performance.shadow_report import ShadowReport
from evergreen.registry.version import Version
from evergreen.runs.context import Workspace


@task(cache_policy=NO_CACHE, timeout_seconds=1800, task_run_name="compare")
def compare(workspace: Workspace, champion: Version | None, snapshot: Snapshot) -> ShadowReport:
    """Whether the promotion that made the champion helped; INCONCLUSIVE where there is none to judge."""
    report = assess(workspace.spec, workspace.settings, workspace.registry, champion, snapshot, now=workspace.now)
    get_run_logger().info("compare: %s", report.reason)
    return report
