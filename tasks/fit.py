"""Search within the model file's bounds, fit once, store the candidate with its run."""

from __future__ import annotations

from contextlib import nullcontext

from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE

from evergreen.markdown import many
from evergreen.naming import artifact
from evergreen.registry.version import Candidate
from evergreen.runs.context import RunContext
from evergreen.training.candidate import build_candidate
from evergreen.training.plan import Plan, lineage_of
from evergreen.training.workers import FitWorkers
from tasks import run_logger


@task(cache_policy=NO_CACHE, timeout_seconds=6 * 3600, task_run_name="fit")
def fit(context: RunContext, plan: Plan, workers: FitWorkers | None = None) -> Candidate:
    """Fit and store a candidate, in parts on `workers`; it is not registered yet."""
    logger = run_logger(context.spec.name, plan.decision_id)
    shown: list[object] = []

    def progress(done: int, total: int) -> None:
        logger.debug("fit: %d of %d fits of the search", done, total)
        # A call for each tenth, so that a short search is not slowed by its own report.
        if done * 10 // total == (done - 1) * 10 // total:
            return
        if not shown:
            shown.append(
                create_progress_artifact(0.0, artifact(context.settings.environment, "search", context.spec.name))
            )
        update_progress_artifact(shown[0], progress=100.0 * done / total)  # type: ignore[arg-type]

    code = (context.spec_hash, context.recipe)
    tags = lineage_of(plan, context.spec, *code, flow_run=context.flow_run)
    with workers or nullcontext():
        candidate = build_candidate(
            context.observations,
            context.registry,
            plan.window,
            decision=plan.decision_id,
            params=plan.request.params,
            tags=tags,
            progress=progress,
            workers=workers,
        )
    logger.info("fit: %s on %s, stored in %.1f MB", context.spec.name, many(plan.train_rows, "row"), candidate.size_mb)
    return candidate
