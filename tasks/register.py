"""Make a version of a stored candidate. It starts as PENDING; only the gates change that."""

from __future__ import annotations

from prefect.logging import get_run_logger

from evergreen.registry.version import Candidate, Version
from evergreen.runs.context import Workspace
from tasks import retried


@retried("register", timeout_seconds=300)
def register(workspace: Workspace, candidate: Candidate) -> Version:
    """The version of this decision: one that a timed-out attempt has made already is found, not made again."""
    registry = workspace.registry
    found = registry.find(workspace.spec.name, candidate.tags["decision_id"])
    made = found is not None and found.model_id == candidate.model_id
    version = found if found is not None and made else registry.register(workspace.spec.name, candidate)
    get_run_logger().info("register: %s, %s", version.label, version.status)
    return version
