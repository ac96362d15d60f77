"""Announce a manual promotion, a rollback or a loss."""

from __future__ import annotations

from evergreen.events import MODEL_LOST, MODEL_PROMOTED, MODEL_ROLLED_BACK, Event
from evergreen.ledger.promotions import Move
from evergreen.performance.shadow_report import ShadowReport
from evergreen.registry.version import PREVIOUS
from evergreen.runs.context import RunContext
from evergreen.runs.results import MoveResult
from flows.shared.conclude import update_cards
from tasks.announce import announce
from tasks.promote import take_back
from tasks.report import report_move

_EVENTS = {"promote": MODEL_PROMOTED, "rollback": MODEL_ROLLED_BACK, "loss": MODEL_LOST}


def announce_move(context: RunContext, action: str, move: Move | None, reason: str) -> MoveResult:
    """Announce and report a manual promotion, a rollback or a loss; without a move only return the result."""
    registry, model = context.registry, context.spec.name
    champion, previous = registry.champion(model), registry.by_alias(model, PREVIOUS)
    result = MoveResult(
        model=model,
        action=action,
        champion=champion.number if champion else 0,
        previous=previous.number if previous else None,
        reason=reason,
        changed=move is not None,
        lost=move.before if move is not None and move.action == "loss" else None,
    )
    if move is not None:
        payload = {"version": move.after, "before": move.before, "reason": reason}
        announce(context.settings.environment, Event(_EVENTS[move.action], model, payload))
        report_move(context.settings.environment, result)
        # The card of a version that is gone is not written again.
        update_cards(context, move.after, move.before if result.lost is None else None)
    return result


def roll_back_if_worse(context: RunContext, report: ShadowReport) -> Move | None:
    """Roll back a promotion that made the metric worse and announce it; None if the champion stays."""
    move = take_back(context, report)
    if move is not None:
        announce_move(context, "rollback", move, move.reason)
    return move
