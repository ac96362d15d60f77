"""Move aliases: the only steps that change what is in production.

The log gets the time of the move itself: a training may take hours after its run's own time.
"""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from evergreen.actor import approved_because
from evergreen.decision import Outcome
from evergreen.errors import RefusedError, RegistryError
from evergreen.evaluation.judgement import Judgement
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Move
from evergreen.performance.shadow_report import BY, ShadowReport
from evergreen.registry import promotion
from evergreen.registry.approval import keep_word
from evergreen.registry.version import CHALLENGER, Version
from evergreen.runs.context import Workspace
from evergreen.verdicts import Verdict
from tasks import retried


@retried("promote", timeout_seconds=300)
def promote(workspace: Workspace, version: Version, judgement: Judgement, reason: str) -> Outcome:
    """Promote a version that passed; without automatic approval it stays challenger."""
    outcome: Outcome
    champion = workspace.registry.champion(workspace.spec.name)
    if champion is not None and champion.number == version.number:
        outcome = "promoted"
    elif judgement.verdict is not Verdict.PASS:
        outcome = "rejected" if judgement.verdict is Verdict.FAIL else "inconclusive"
    else:
        outcome = _approved(workspace, version, reason)
    get_run_logger().info("promote: %s", outcome)
    return outcome


def _approved(workspace: Workspace, version: Version, reason: str) -> Outcome:
    registry, spec = workspace.registry, workspace.spec
    registry.set_alias(spec.name, CHALLENGER, version.number)
    if spec.approval == "manual":
        return "awaiting-approval"
    passed = registry.get(spec.name, version.number)
    promotion.promote(spec, workspace.settings, registry, passed, reason=reason, by="retrain", now=workspace.moment())
    return "promoted"


@task(cache_policy=NO_CACHE, timeout_seconds=300, task_run_name="promote")
def promote_by_hand(workspace: Workspace, number: int | None, reason: str, by: str) -> Move | None:
    """Make a version champion because a person says so; the challenger where none is named."""
    registry, spec = workspace.registry, workspace.spec
    if number is None:
        version = registry.by_alias(spec.name, CHALLENGER)
        if version is None:
            raise RegistryError(f"{spec.name} has no challenger.", f"Run: evergreen retrain {spec.name}")
    else:
        version = registry.get(spec.name, number)
    now = workspace.moment()
    move = promotion.promote(spec, workspace.settings, registry, version, reason=reason, by=by, now=now)
    ledger = Decisions(workspace.settings.lake_uri, spec.name)
    keep_word(ledger, version, "promoted", approved_because(reason, by), by=by, now=now)
    return move


@retried("take-back", timeout_seconds=300)
def take_back(workspace: Workspace, report: ShadowReport) -> Move | None:
    """Give the alias back to the former champion where its successor is proven to be worse; None where it stays.

    The stored decision is what counts, so that a later run carries out what a killed one left. Nothing is done where
    the champion was moved since: a person knows better.
    """
    registry, spec, now = workspace.registry, workspace.spec, workspace.moment()
    left = promotion.settle(spec.name, workspace.settings, registry, now=now)
    if left is not None and left.by == BY and left.phase == "done":
        return left
    if report.verdict is not Verdict.FAIL or not (report.rollback and spec.shadow.rollback):
        return None
    reason = f"{report.reason} (decision {report.decision_id})"
    try:
        move = promotion.rollback(
            *(spec, workspace.settings, registry, report.former),
            reason=reason,
            by=BY,
            now=now,
            undoes=report.promotion,
        )
    except RefusedError as refused:
        get_run_logger().warning("take-back: version %s stays champion: %s", report.champion, refused.what)
        return None
    get_run_logger().warning("take-back: version %s is the champion again: %s", move.after, reason)
    return move


@task(cache_policy=NO_CACHE, timeout_seconds=300, task_run_name="roll-back")
def roll_back(workspace: Workspace, to: int | None, reason: str, by: str) -> Move:
    """Give the alias back to an earlier version."""
    return promotion.rollback(
        workspace.spec, workspace.settings, workspace.registry, to, reason=reason, by=by, now=workspace.moment()
    )
