"""Where a canary stands, by the ledger: each decision is there before anything is moved, and no process knows more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from evergreen.canary.judge import Position
from evergreen.decision import Decision, decision_id
from evergreen.details.canary import CanaryDetail
from evergreen.details.decision import RetrainDetail
from evergreen.ledger.decisions import Ledger

CanaryOutcome = Literal[
    "started", "step", "paused", "resumed", "passed", "refused", "aborted", "unproven", "overtaken", "settled"
]
ENDS: tuple[CanaryOutcome, ...] = ("passed", "refused", "aborted", "unproven", "overtaken", "settled")
"""Proven and to be promoted; proven worse; ended by a person; its budget spent; another champion, challenger or model
file came; a person promoted or rejected it."""


@dataclass(frozen=True, slots=True)
class CanaryState:
    """One canary.

    Attributes:
        retrain: the retraining that made the challenger.
        entries: what was decided of it, oldest first; empty before it began.
        answered: the retraining's outcome is known: a promotion, a person's word, or what this canary came to.
    """

    retrain: Decision
    entries: tuple[Decision, ...]
    answered: bool

    @property
    def version(self) -> int:
        """The challenger."""
        version = self.retrain.detail_as(RetrainDetail).version
        if version is None:
            raise ValueError(f"Retraining {self.retrain.id} is in its canary and made no version.")
        return version

    @property
    def champion(self) -> int | None:
        """The version that it is held against."""
        return self.retrain.champion

    @property
    def end(self) -> Decision | None:
        """How it ended; None while it is open."""
        return next((entry for entry in self.entries if entry.outcome in ENDS), None)

    @property
    def is_open(self) -> bool:
        """Nothing was said of the challenger yet, by the canary or by a person."""
        return self.end is None and not self.answered

    @property
    def is_over(self) -> bool:
        """Nothing is left to do for it."""
        return self.answered and (self.end is not None or not self.entries)

    @property
    def detail(self) -> CanaryDetail:
        """What was decided last."""
        return self.entries[-1].detail_as(CanaryDetail)

    @property
    def position(self) -> Position:
        """Its step, and since when."""
        steps = [entry for entry in self.entries if entry.outcome in ("started", "step")]
        held = [entry.outcome for entry in self.entries if entry.outcome in ("paused", "resumed")]
        return Position(len(steps) - 1, steps[-1].at, steps[0].at, bool(held) and held[-1] == "paused")


def read_canaries(ledger: Ledger) -> tuple[CanaryState, ...]:
    """Every canary that there was, by the time of its retraining, oldest first."""
    entries, answered = ledger.all("canary"), {entry.id for entry in ledger.all("approval")}
    return tuple(
        CanaryState(retrain, _of(entries, retrain.id), retrain.id in answered)
        for retrain in ledger.all("retrain")
        if retrain.outcome == "in-canary"
    )


def open_canaries(ledger: Ledger) -> tuple[CanaryState, ...]:
    """The canaries for which something is left to do, oldest first."""
    return tuple(state for state in read_canaries(ledger) if not state.is_over)


def _of(entries: Sequence[Decision], retrain: str) -> tuple[Decision, ...]:
    return tuple(entry for entry in entries if entry.detail_as(CanaryDetail).decision == retrain)


def make_entry(
    model: str,
    state: CanaryState,
    outcome: CanaryOutcome,
    reason: str,
    detail: CanaryDetail,
    *,
    now: datetime,
    flow_run: str,
) -> Decision:
    """An entry for what is decided next; decided twice, it is the same entry.

    A step has its number in its id, so that none is taken twice, and there is one end. A pause may come again.
    """
    repeats = str(len(state.entries)) if outcome in ("paused", "resumed") else ""
    about = {"step": f"step {detail.step}"}.get(outcome, "end" if outcome in ENDS else f"{outcome} {repeats}".rstrip())
    return Decision(
        id=decision_id(model, state.champion, "canary", state.retrain.id, about),
        kind="canary",
        at=now,
        outcome=outcome,
        champion=state.champion,
        snapshot=state.retrain.snapshot,
        digest=state.retrain.digest,
        reason=reason,
        detail=detail,
        flow_run=flow_run,
    )
