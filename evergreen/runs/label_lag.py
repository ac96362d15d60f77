"""How many windows wait for their labels, by what has landed since: no report is made while no label comes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from evergreen.details.decision import RetrainDetail
from evergreen.details.watch import PerformanceDetail
from evergreen.ledger.reconciliation import LedgerState
from evergreen.spec.model import ModelSpec

_EPOCH = datetime.fromtimestamp(0, UTC)


def count_waiting(
    spec: ModelSpec, ledger: LedgerState, figures: PerformanceDetail | None, data_end: datetime | None
) -> int:
    """Windows without enough labels since those that could be judged.

    A report is named by the rows that it judges, so that the newest one may be from before the labels stopped. What it
    says is the least; the windows that have passed since by the times of the rows, whole ones alone, are counted on.

    Args:
        spec: the model file's.
        ledger: its champion, and the retraining that made it.
        figures: of the newest report on the champion; None without one.
        data_end: the latest time of a row that landed (aware); None without one.
    """
    told = figures.immature if figures is not None else 0
    length = spec.performance.window
    judged = [window.start for window in figures.windows if window.start] if figures is not None else []
    start = judged[-1] if judged else _learned_until(ledger)
    if data_end is None or start is None or not isinstance(length, timedelta):
        return told
    last, now = ((moment - _EPOCH) // length for moment in (datetime.fromisoformat(start), data_end))
    return max(told, now - last - 1, 0)


def _learned_until(ledger: LedgerState) -> str | None:
    """The latest time of the rows that the champion was made from; None where no retraining of the ledger made it."""
    for entry in reversed(ledger.entries):
        if entry.kind == "retrain":
            detail = entry.detail_as(RetrainDetail)
            if detail.version == ledger.champion:
                return detail.snapshot.end
    return None
