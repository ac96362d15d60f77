"""Look at the canaries of a model, and let a person hold or end one; the schedule of the looks."""

from __future__ import annotations

from typing import Literal

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger

from evergreen import naming
from evergreen.canary.canary_ledger import CanaryState, open_canaries
from evergreen.canary.evidence import evidence_reader
from evergreen.canary.moves import Look, Stores, abort, hold, look_at_canary
from evergreen.decision import Decision
from evergreen.errors import EvergreenError
from evergreen.ledger.decisions import Decisions
from evergreen.runs.context import RunContext
from evergreen.settings import Settings
from tasks import log_alias, passing_or_busy, retried, run_logger

Hand = Literal["pause", "resume", "abort"]
"""What a person may do with a canary."""

LOCK_WAIT = 30.0
"""Seconds; another look takes a few."""


def is_in_canary(settings: Settings, model: str) -> bool:
    """Whether a challenger of the model meets live traffic, or what became of it was not carried out yet."""
    return bool(open_canaries(Decisions(settings.lake_uri, model)))


@retried("look-at-canaries", timeout_seconds=300, worth_retrying=passing_or_busy)
def look_at_canaries(context: RunContext) -> tuple[Look, ...]:
    """One look at each open canary of the model; what it decides is stored and carried out."""
    now, stores = context.moment(), _stores(context)
    with context.locks.hold(context.spec.name, "canary", wait=LOCK_WAIT, now=now):
        looks = []
        for state in open_canaries(context.ledger):
            read = evidence_reader(context.observations, context.comparisons, context.registry, now)
            lock = context.promotion_lock(now)
            looks.append(look_at_canary(stores, state, read, now=now, lock=lock, flow_run=context.flow_run))
    for look in looks:
        for decision in look.decided:
            number = look.state.version
            logger = run_logger(context.spec.name, decision.id, number)
            logger.info("canary: version %d: %s, %s", number, decision.outcome, decision.reason)
        if look.outcome == "promoted":
            log_alias(context, context.promotions.done()[-1])
    return tuple(looks)


@task(cache_policy=NO_CACHE, timeout_seconds=300, task_run_name="{hand}-canary")
def take_in_hand(context: RunContext, hand: Hand, reason: str, by: str) -> Decision:
    """Pause, resume or abort the open canary of a model, because a person says so."""
    now, stores = context.moment(), _stores(context)
    with context.locks.hold(context.spec.name, "canary", wait=LOCK_WAIT, now=now):
        state = _only_open(context)
        if hand == "abort":
            decision = abort(stores, state, reason, by=by, now=now, lock=context.promotion_lock(now)).decided[-1]
        else:
            decision = hold(stores, state, reason, by=by, now=now, paused=hand == "pause")
    logger = run_logger(context.spec.name, decision.id, state.version, step=False)
    logger.info("canary: version %d: %s by hand", state.version, decision.outcome)
    return decision


@task(cache_policy=NO_CACHE, timeout_seconds=120, task_run_name="schedule-looks")
def schedule_looks(environment: str, *, active: bool) -> None:
    """Let the schedule of the canary deployment run, or rest while no canary is open."""
    path = naming.deployment_path(environment, "canary")
    with get_client(sync_client=True) as client:
        try:
            deployment = client.read_deployment_by_name(path)
        except ObjectNotFound:
            if active:
                get_run_logger().warning(
                    "canary: there is no deployment %s on this Prefect server, so that nobody looks at the canary; run "
                    "evergreen deployments apply, or evergreen canary NAME from time to time",
                    path,
                )
            return
        if deployment.paused is active:
            (client.resume_deployment if active else client.pause_deployment)(deployment.id)


def _only_open(context: RunContext) -> CanaryState:
    name = context.spec.name
    states = [state for state in open_canaries(context.ledger) if state.is_open]
    if not states:
        raise EvergreenError(f"{name} has no open canary.", f"See what there was: evergreen history {name}")
    return states[-1]


def _stores(context: RunContext) -> Stores:
    return Stores(context.spec, context.registry, context.promotions, context.ledger)
