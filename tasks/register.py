"""Register a stored candidate as a version. It is PENDING until the gates give a verdict."""

from __future__ import annotations

from evergreen.registry.registration import register_once
from evergreen.registry.version import Candidate, Version
from evergreen.runs.context import RunContext
from tasks import retried, run_logger


@retried("register", timeout_seconds=300)
def register(context: RunContext, candidate: Candidate) -> Version:
    """Register the candidate; use the version that its decision has already, from an attempt that timed out."""
    version = register_once(context.registry, context.spec.name, candidate, require_held=context.require_held)
    run_logger(version.model, version.tags.decision_id, version.number).info(
        "register: %s, %s", version.label, version.status
    )
    return version
