"""Apply a manual approval or rejection of a challenger, and resume the run that waits for it."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.exceptions import FlowPauseTimeout, NotPausedError, ObjectNotFound
from prefect.flow_runs import resume_flow_run

from evergreen.actor import rejection_reason
from evergreen.errors import RegistryError
from evergreen.registry import approval
from evergreen.registry.approval import ApprovalOutcome, ApprovalResponse
from evergreen.registry.version import CHALLENGER, Version
from evergreen.runs.context import RunContext
from tasks import log_alias, passing_or_busy, retried, run_logger


@retried("approve", timeout_seconds=300, worth_retrying=passing_or_busy)
def approve(context: RunContext, number: int, response: ApprovalResponse) -> ApprovalOutcome:
    """Promote or reject the version, as the response says."""
    spec, registry = context.spec, context.registry
    version = registry.get(spec.name, number)
    now = datetime.now(UTC)
    stores, lock = (registry, context.promotions, context.ledger), context.promotion_lock(now)
    result = approval.apply_response(spec, *stores, version, response, now=now, lock=lock)
    run_logger(spec.name, version.tags.decision_id, number).info("approve: %s, %s", result.outcome, result.explanation)
    if result.fresh and result.outcome == "promoted":
        log_alias(context, context.promotions.done()[-1])
    return result


@task(cache_policy=NO_CACHE, timeout_seconds=300, task_run_name="reject")
def reject_by_hand(context: RunContext, number: int | None, reason: str, by: str) -> Version:
    """Reject a version manually; the challenger if `number` is None."""
    spec, registry, now = context.spec, context.registry, datetime.now(UTC)
    version = registry.by_alias(spec.name, CHALLENGER) if number is None else registry.get(spec.name, number)
    if version is None:
        raise RegistryError(f"{spec.name} has no challenger.", f"Name a version, or run: evergreen retrain {spec.name}")
    approval.decline(spec, registry, version, reason=reason, by=by, lock=context.promotion_lock(now))
    approval.record_approval(context.ledger, version, "rejected", rejection_reason(reason, by), by=by, now=now)
    logger = run_logger(spec.name, version.tags.decision_id, version.number, step=False)
    logger.info("reject: version %d is rejected: %s", version.number, reason)
    return version


@task(cache_policy=NO_CACHE, timeout_seconds=120, task_run_name="resume-the-waiting-run")
def resume_waiting(context: RunContext, number: int, response: ApprovalResponse) -> None:
    """Resume the run that waits for this answer, if there is one and it is still suspended."""
    model = context.spec.name
    decision = context.ledger.find("retrain", context.registry.get(model, number).tags.decision_id)
    if decision is None or not decision.flow_run or decision.outcome != "awaiting-approval":
        return
    run, logger = UUID(decision.flow_run), run_logger(model, decision.id, number)
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(run).state
        if state is not None and state.is_paused():
            # A run that was suspended before the form asked for a name refuses one.
            resume_flow_run(run, run_input=response.model_dump(exclude_defaults=True))
            logger.info("approve: flow run %s was resumed", run)
    except (ObjectNotFound, NotPausedError, FlowPauseTimeout):
        logger.info("approve: flow run %s is no longer waiting", run)
