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
from evergreen.ledger.timeline_entries import (
    MOVES,
    Entry,
    decision_entry,
    move_entries,
    quarantine_entries,
    with_measurements,
)
from evergreen.ledger.timeline_outcomes import Outcomes
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec

KINDS: tuple[Kind, ...] = (
    *(
        "data",
        "drift",
        "performance",
        "skew",
        "shadow",
        "reconciled",
        "suppressed",
        "retrain",
        "canary",
        "approval",
        "escalation",
    ),
)
_ORDER = ("quarantine", *KINDS)
"""Of entries of one instant, the cause before the effect; moves of the alias come last, in the order of their log."""


@dataclass(frozen=True, slots=True)
class ChampionPeriod:
    """A version in production.

    Attributes:
        since: when it became champion (aware, UTC).
        until: when another one did; None for the present champion.
    """

    version: int
    since: datetime
    until: datetime | None


def read_timeline(
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
    decisions = [each for each in store.select(KINDS) if at is None or each.at <= at]
    lines = [line for line in Promotions(settings.lake_uri, model).all() if at is None or line.at <= at]
    refusals = quarantine_entries(settings.lake_uri, model, at)
    entries = sorted([*refusals, *map(decision_entry, decisions), *move_entries(lines)], key=_moment)
    outcomes = Outcomes(model, entries, decisions, spec)
    wanted = entries if last is None else entries[max(len(entries) - last, 0) :]
    return tuple(outcomes.complete(entry) for entry in with_measurements(wanted, store, refusals))


def history(entries: Iterable[Entry]) -> tuple[ChampionPeriod, ...]:
    """What was in production when, oldest first, from the entries of a whole ledger alone."""
    moves = [entry for entry in entries if entry.kind in MOVES and entry.outcome == "done"]
    ends = [*(move.at for move in moves[1:]), None]
    return tuple(
        ChampionPeriod(move.version, move.at, end)
        for move, end in zip(moves, ends, strict=False)
        if move.version is not None
    )


def _moment(entry: Entry) -> tuple[datetime, int]:
    return entry.at, _ORDER.index(entry.kind) if entry.kind in _ORDER else len(_ORDER)
