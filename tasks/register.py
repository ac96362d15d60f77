"""Make a version of a stored candidate. It starts as PENDING; only the gates change that."""

from __future__ import annotations

from prefect.logging import get_run_logger

from evergreen.registry.version import Candidate, Version
from evergreen.runs.context import RunContext
from tasks import retried


@retried("register", timeout_seconds=300)
def register(context: RunContext, candidate: Candidate) -> Version:
    """The version of this decision: one that a timed-out attempt has made already is found, not made again."""
    registry = context.registry
    found = registry.find(context.spec.name, candidate.tags["decision_id"])
    made = found is not None and found.model_id == candidate.model_id
    version = found if found is not None and made else registry.register(context.spec.name, candidate)
    get_run_logger().info("register: %s, %s", version.label, version.status)
    return version
