"""Register a stored candidate as a version. It is PENDING until the gates give a verdict."""

from __future__ import annotations

from evergreen.registry.version import Candidate, Version
from evergreen.runs.context import RunContext
from tasks import retried, run_logger


@retried("register", timeout_seconds=300)
def register(context: RunContext, candidate: Candidate) -> Version:
    """Register the candidate; reuse the version if an earlier attempt that timed out has already registered it."""
    registry = context.registry
    version = registry.find(context.spec.name, candidate.tags["decision_id"])
    if version is None or version.model_id != candidate.model_id:
        version = registry.register(context.spec.name, candidate)
    run_logger(version.model, version.tags.decision_id, version.number).info(
        "register: %s, %s", version.label, version.status
    )
    return version
