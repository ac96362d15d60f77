"""Run the gates on a version and store their judgement."""

from __future__ import annotations

from dataclasses import replace

from prefect import task
from prefect.cache_policies import NO_CACHE

from evergreen.drift.report import DriftReport
from evergreen.evaluation.judgement import Judgement
from evergreen.markdown import many
from evergreen.registry import descriptions
from evergreen.registry.version import Version, VersionTags, status_of
from evergreen.reports.tables import gate_table
from evergreen.runs.context import RunContext
from evergreen.training.evaluate import evaluate_candidate, figures, record_judgement, reject_repeat
from evergreen.training.plan import Plan
from evergreen.verdicts import Verdict
from tasks import run_logger


@task(cache_policy=NO_CACHE, timeout_seconds=1800, task_run_name="gate")
def gate(context: RunContext, plan: Plan, version: Version, drift: DriftReport) -> Judgement:
    """Evaluate a version and store the judgement with it; an error leaves it INCONCLUSIVE, never PENDING.

    A judgement that a killed run has stored is reused.
    """
    known = _stored_judgement(version) if plan.judged else None
    if known is not None:
        stored = run_logger(version.model, plan.decision_id, version.number, step=False)
        stored.info("gate: %s, as an earlier run has judged", known.verdict)
        return known
    registry = context.registry
    try:
        # A person may also have set requirements in MLflow, on the model or on the version.
        tagged = replace(version, tags=VersionTags.read({**descriptions.stated(registry, version), **version.tags.raw}))
        judgement = evaluate_candidate(context.observations, registry, tagged, plan.champion, plan.window)
        if not plan.request.force:
            judgement = reject_repeat(judgement, version, registry.versions(version.model))
        context.require_held()
        _record(context, plan, version, drift, judgement)
    except BaseException as error:
        # Whoever took the lock over judges the version itself.
        context.require_held()
        registry.conclude(version, Verdict.INCONCLUSIVE, f"The gates could not be applied: {error}", {})
        raise
    failed = [check.name for check in judgement.checks if check.status is not Verdict.PASS]
    logger = run_logger(version.model, plan.decision_id, version.number)
    logger.info("gate: %s, %s", judgement.verdict, ", ".join(failed) or many(len(judgement.checks), "check"))
    return judgement


def _stored_judgement(version: Version) -> Judgement | None:
    """The stored judgement; its status is written last, so that without it the rest may be incomplete."""
    judgement = version.tags.judgement
    return judgement if judgement is not None and status_of(judgement.verdict) == version.status else None


def _record(context: RunContext, plan: Plan, version: Version, drift: DriftReport, judgement: Judgement) -> None:
    registry, spec = context.registry, context.spec
    tags = version.tags
    adopted = f"Carried over from {tags.adopted_from}, version {tags.adopted_version}."
    origin = adopted if tags.adopted_from else f"Trained for: {plan.request.reason}."
    heading = f"**{judgement.verdict}** on {judgement.rows} holdout rows. {origin}"
    heading += f" Fits: {tags.fits}." if tags.fits and not tags.adopted_from else ""
    with context.kept_files.reading(drift.page) as page:
        registry.enrich(version.run_id, figures(spec, judgement), {"drift": page} if page else {})
    description = f"{heading}\n\n{gate_table(judgement.checks)}"
    record_judgement(registry, version, spec, judgement, champion=plan.champion, description=description)
