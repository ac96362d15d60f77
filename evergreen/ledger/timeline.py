"""Why something did or did not happen: every check, what was seen, what was decided, what followed, in one order.

Gathered from what is stored anyway: decisions, drift scores, the log of promotions and the quarantine. MLflow and
Prefect are not asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from evergreen.decision import Kind
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Promotions
from evergreen.ledger.timeline_entries import MOVES, Entry, Seen, of_decision, of_moves, refused, with_seen
from evergreen.ledger.timeline_outcomes import Sequel
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec

__all__ = ["KINDS", "Entry", "Reign", "Seen", "history", "ledger"]

KINDS: tuple[Kind, ...] = (
    *("data", "drift", "performance", "shadow", "reconciled", "suppressed", "retrain", "approval", "escalation"),
)
_ORDER = ("quarantine", *KINDS)
"""Of entries of one instant, the cause before the effect; moves of the alias come last, in the order of their log."""


@dataclass(frozen=True, slots=True)
class Reign:
    """A version in production.

    Attributes:
        since: when it became champion (aware, UTC).
        until: when another one did; None for the present champion.
    """

    version: int
    since: datetime
    until: datetime | None


def ledger(
    settings: Settings,
    model: str,
    *,
    at: datetime | None = None,
    last: int | None = None,
    spec: ModelSpec | None = None,
) -> tuple[Entry, ...]:
    """Every entry of a model, oldest first, as they stood at the time `at` (aware); of these the `last` ones.

    With the model file's `spec`, a finding that it does not retrain on is told apart from one that nobody has answered.
    """
    store = Decisions(settings.lake_uri, model)
    decisions = [one for one in store.select(KINDS) if at is None or one.at <= at]
    lines = [line for line in Promotions(settings.lake_uri, model).all() if at is None or line.at <= at]
    refusals = refused(settings.lake_uri, model, at)
    entries = sorted([*refusals, *map(of_decision, decisions), *of_moves(lines)], key=_moment)
    sequel = Sequel(model, entries, decisions, spec)
    asked = entries if last is None else entries[max(len(entries) - last, 0) :]
    return tuple(sequel.told(entry) for entry in with_seen(asked, store, refusals))


def history(entries: Iterable[Entry]) -> tuple[Reign, ...]:
    """What was in production when, oldest first, from the entries of a whole ledger alone."""
    moves = [entry for entry in entries if entry.kind in MOVES and entry.outcome == "done"]
    ends = [*(move.at for move in moves[1:]), None]
    return tuple(
        Reign(move.version, move.at, end) for move, end in zip(moves, ends, strict=False) if move.version is not None
    )


def _moment(entry: Entry) -> tuple[datetime, int]:
    return entry.at, _ORDER.index(entry.kind) if entry.kind in _ORDER else len(_ORDER)
