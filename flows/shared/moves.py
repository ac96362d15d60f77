"""Announce a manual promotion or a rollback."""

from __future__ import annotations

from evergreen.events import MODEL_PROMOTED, MODEL_ROLLED_BACK, Event
from evergreen.ledger.promotions import Move
from evergreen.performance.shadow_report import ShadowReport
from evergreen.registry.version import PREVIOUS
from evergreen.runs.context import RunContext
from evergreen.runs.results import MoveResult
from flows.shared.conclude import update_cards
from tasks.announce import announce
from tasks.promote import take_back
from tasks.report import report_move


def announce_move(context: RunContext, action: str, move: Move | None, reason: str) -> MoveResult:
    """Announce and report a manual promotion or a rollback; without a move only return the result."""
    registry, model = context.registry, context.spec.name
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
        update_cards(context, move.after, move.before)
    return result


def roll_back_if_worse(context: RunContext, report: ShadowReport) -> Move | None:
    """Roll back a promotion that made the metric worse and announce it; None if the champion stays."""
    move = take_back(context, report)
    if move is not None:
        announce_move(context, "rollback", move, move.reason)
    return move
