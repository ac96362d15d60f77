"""Decide what there is to do, and which rows teach and which rows judge."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from evergreen.runs.context import Workspace
from evergreen.training.plan import Plan, plan
from evergreen.training.request import Request


@task(cache_policy=NO_CACHE, timeout_seconds=600, task_run_name="split")
def split(workspace: Workspace, request: Request) -> Plan:
    """The plan of a retraining; sweeps what a killed run left behind first."""
    workspace.registry.sweep(workspace.spec.name)
    made = plan(workspace.spec, workspace.spec_hash, workspace.settings, workspace.registry, request, now=workspace.now)
    get_run_logger().info(
        "split: %s", made.explanation or f"{made.train_rows} rows to learn from, {made.holdout_rows} to judge by"
    )
    return made
