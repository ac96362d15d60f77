"""Plan a retraining: whether to train, and on which training and holdout rows."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from evergreen.markdown import many
from evergreen.runs.context import RunContext
from evergreen.training.pipeline_checks import require_fittable
from evergreen.training.plan import Plan, plan_retraining
from evergreen.training.request import Request
from tasks import run_logger


@task(cache_policy=NO_CACHE, timeout_seconds=600, task_run_name="plan")
def plan(context: RunContext, request: Request) -> Plan:
    """Plan a retraining; first clean up after a killed run."""
    context.registry.sweep(context.spec.name)
    retraining = plan_retraining(
        context.observations,
        context.spec_hash,
        context.registry,
        context.promotions,
        context.ledger,
        request,
        now=context.now,
        lock=context.promotion_lock(context.now),
        refused=context.quarantine,
    )
    if retraining.settled is None and retraining.resume is None and not request.adopts:
        require_fittable(context.spec, request.params)
    held = f"{retraining.holdout_rows:,} to judge by"
    rows = f"rows: {held}" if request.adopts else f"{many(retraining.train_rows, 'row')} to learn from, {held}"
    _log_request(context.spec.name, request, retraining)
    run_logger(context.spec.name, retraining.decision_id).info("plan: %s", retraining.explanation or rows)
    return retraining


def _log_request(model: str, request: Request, plan: Plan) -> None:
    """What asked for this run, and by which event."""
    event = f", by event {request.event_id}" if request.event_id else ""
    logger = run_logger(model, plan.decision_id, step=False)
    logger.info("run: a retraining of %s begins for %s%s", model, request.reason, event)
