"""Announcing a promotion by hand and a rollback."""

from __future__ import annotations

from evergreen.events import (
    MODEL_PROMOTED,
    MODEL_ROLLED_BACK,
    Event,
)
from evergreen.ledger.promotions import Move
from evergreen.performance.shadow_report import ShadowReport
from evergreen.registry.version import PREVIOUS
from evergreen.runs.context import Workspace
from evergreen.runs.results import MoveResult
from flows.shared.conclude import describe
from tasks.announce import announce
from tasks.promote import take_back
from tasks.report import report_move


def moved(workspace: Workspace, action: str, move: Move | None, reason: str) -> MoveResult:
    """Announce and show a promotion by hand, or a rollback."""
    registry, model = workspace.registry, workspace.spec.name
    champion, previous = registry.champion(model), registry.by_alias(model, PREVIOUS)
    result = MoveResult(
        model=model,
        action=action,
        champion=champion.number if champion else 0,
        previous=previous.number if previous else None,
        reason=reason,
        changed=move is not None,
    )
    if move is not None:
        name = MODEL_PROMOTED if action == "promote" else MODEL_ROLLED_BACK
        announce(Event(name, model, {"version": move.after, "before": move.before, "reason": reason}))
        report_move(result)
        describe(workspace, move.after, move.before)
    return result


def taken_back(workspace: Workspace, report: ShadowReport) -> Move | None:
    """Roll back a promotion that hurt, and tell of it; None where the champion stays."""
    move = take_back(workspace, report)
    if move is not None:
        moved(workspace, "rollback", move, move.reason)
    return move
