"""Read a version of another environment, and carry it over as a candidate of this one."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from evergreen import naming
from evergreen.errors import EvergreenError
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Promotions
from evergreen.registry import adoption
from evergreen.registry.adoption import Offer
from evergreen.registry.client import Registry
from evergreen.registry.version import Candidate
from evergreen.runs.context import RunContext
from evergreen.training.plan import Plan, lineage_of
from tasks import run_logger


@task(cache_policy=NO_CACHE, timeout_seconds=600, task_run_name="read-offer")
def read_offer(context: RunContext, source: str, number: int) -> Offer:
    """Read a version of an environment that EVERGREEN_SEES names, and check its files; nothing is written there."""
    spec, settings = context.spec, context.settings
    if source == (settings.environment or naming.UNNAMED):
        raise EvergreenError(
            f"--from {source}: this is the environment {source} itself.", "Name the one that the version is in."
        )
    theirs = settings.see(source)
    stores = Registry(theirs), Decisions(theirs.lake_uri, spec.name), Promotions(theirs.lake_uri, spec.name)
    offer = adoption.read_offer(source, *stores, spec, context.spec_hash, number)
    run_logger(spec.name).info("offer: %s of %s is what was registered there", offer.version.label, source)
    return offer


@task(cache_policy=NO_CACHE, timeout_seconds=600, task_run_name="carry-over")
def carry_over(context: RunContext, plan: Plan, offer: Offer) -> Candidate:
    """Store an offered version among this environment's; it is not registered yet."""
    code = (context.spec_hash, context.recipe)
    tags = lineage_of(plan, context.spec, *code, flow_run=context.flow_run)
    candidate = adoption.carry_over(context.registry, offer, context.spec, tags)
    logger = run_logger(context.spec.name, plan.decision_id)
    logger.info("carry-over: %.1f MB, equal to the byte", candidate.size_mb)
    return candidate
