"""Move aliases: the only steps that change what is in production.

The log gets the time of the move itself: a training may take hours after its run's own time.
"""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from evergreen.actor import approval_reason
from evergreen.details.decision import Outcome
from evergreen.errors import RefusedError, RegistryError
from evergreen.evaluation.judgement import Judgement
from evergreen.ledger.promotions import Move
from evergreen.performance.shadow import roll_back_if_worse
from evergreen.performance.shadow_report import ShadowReport
from evergreen.registry import promotion
from evergreen.registry.approval import record_approval
from evergreen.registry.version import CHALLENGER, Version
from evergreen.runs.context import RunContext
from tasks import log_alias, retried, run_logger


@retried("promote", timeout_seconds=300)
def promote(context: RunContext, version: Version, judgement: Judgement, reason: str) -> Outcome:
    """Promote a version that passed; without automatic approval it stays challenger."""
    context.require_held()
    now = context.moment()
    outcome = promotion.promote_if_passed(
        context.spec,
        context.registry,
        context.promotions,
        version,
        judgement.verdict,
        reason=reason,
        now=now,
        lock=context.promotion_lock(now),
    )
    run_logger(version.model, version.tags.decision_id, version.number).info("promote: %s", outcome)
    if outcome == "promoted":
        log_alias(context, context.promotions.done()[-1])
    return outcome


@task(cache_policy=NO_CACHE, timeout_seconds=300, task_run_name="promote")
def promote_by_hand(context: RunContext, number: int | None, reason: str, by: str) -> Move | None:
    """Promote a version manually; the challenger if `number` is None."""
    registry, spec = context.registry, context.spec
    if number is None:
        version = registry.by_alias(spec.name, CHALLENGER)
        if version is None:
            raise RegistryError(f"{spec.name} has no challenger.", f"Run: evergreen retrain {spec.name}")
    else:
        version = registry.get(spec.name, number)
    now = context.moment()
    lock = context.promotion_lock(now)
    move = promotion.promote(spec, registry, context.promotions, version, reason=reason, by=by, now=now, lock=lock)
    record_approval(context.ledger, version, "promoted", approval_reason(reason, by), by=by, now=now)
    log_alias(context, move)
    return move


@retried("take-back", timeout_seconds=300)
def take_back(context: RunContext, report: ShadowReport) -> Move | None:
    """Roll back to the former champion if its successor is proven to be worse; None if the champion stays.

    Nothing is done where the champion was moved since: a person knows better.
    """
    now, lock = context.moment(), context.promotion_lock(context.moment())
    stores, logger = (context.registry, context.promotions), run_logger(context.spec.name, report.decision_id or "")
    try:
        move = roll_back_if_worse(context.spec, *stores, report, now=now, lock=lock)
    except RefusedError as refused:
        logger.warning("take-back: version %s stays champion: %s", report.champion, refused.what)
        return None
    if move is not None:
        logger.warning("take-back: version %s is the champion again: %s", move.after, move.reason)
    log_alias(context, move)
    return move


@task(cache_policy=NO_CACHE, timeout_seconds=300, task_run_name="accept-loss")
def accept_loss(context: RunContext, reason: str, by: str) -> Move:
    """Go on without a champion, because it is gone."""
    now, registry = context.moment(), context.registry
    stores, lock = (registry, registry, context.promotions), context.promotion_lock(now)
    move = promotion.accept_loss(context.spec, *stores, reason=reason, by=by, now=now, lock=lock)
    log_alias(context, move)
    return move


@task(cache_policy=NO_CACHE, timeout_seconds=300, task_run_name="roll-back")
def roll_back(context: RunContext, to: int | None, reason: str, by: str) -> Move:
    """Move the champion alias back to an earlier version."""
    now = context.moment()
    stores, lock = (context.registry, context.promotions), context.promotion_lock(now)
    move = promotion.roll_back(context.spec, *stores, to, reason=reason, by=by, now=now, lock=lock)
    log_alias(context, move)
    return move
