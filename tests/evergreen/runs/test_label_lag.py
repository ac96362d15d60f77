"""Windows that wait for labels are counted although no new report says so."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from evergreen.decision import Decision
from evergreen.details.decision import SnapshotFacts
from evergreen.details.watch import WindowFigure
from evergreen.ledger.reconciliation import LedgerState
from evergreen.runs.label_lag import count_waiting
from evergreen.spec.fields import Rows
from evergreen.spec.monitoring import PerformanceThresholds
from tests.details import detail_of

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def ledger(end: str | None) -> LedgerState:
    """A champion that was made from rows until then."""
    detail = detail_of("retrain", version=1, snapshot=SnapshotFacts(3, 100, "digest", None, end))
    return LedgerState((Decision("r", "retrain", START, "promoted", None, 3, "digest", "why", detail),), 1, START)


def report(*days: int, immature: int = 0) -> Any:
    """Windows that could be judged, by their first day."""
    windows = tuple(WindowFigure((START + day * DAY).isoformat(), 10, 1.0, None, None) for day in days)
    return detail_of("performance", windows=windows, immature=immature)


@pytest.mark.parametrize(
    ("figures", "hours", "expected"),
    [
        (None, 20, 0),  # the day in which the rows of the training ended
        (None, 47, 0),  # the next one is not over
        (None, 50, 1),
        (report(immature=1), 50, 1),
        (report(immature=1), 24 * 9 + 1, 8),
        (report(1, 2), 24 * 9 + 1, 6),
        (report(1, 2, immature=7), 24 * 9 + 1, 7),  # some before the newest one that could be judged wait as well
        (report(8), 24 * 9 + 1, 0),
    ],
)
def test_whole_windows_since_the_newest_judged_one_are_counted(
    make_spec: Callable[..., Any], figures: Any, hours: int, expected: int
) -> None:
    """From the report, or from where the champion's own rows ended."""
    spec = make_spec(performance=PerformanceThresholds(window=DAY))
    end = (START + timedelta(hours=12)).isoformat()
    assert count_waiting(spec, ledger(end), figures, START + timedelta(hours=hours)) == expected


def test_without_times_the_report_is_all_that_is_known(make_spec: Callable[..., Any]) -> None:
    """Windows of rows, rows without a time, and a champion of which no retraining is known."""
    by_rows = make_spec(time=None, order="rows", performance=PerformanceThresholds(window=Rows(50)))
    assert count_waiting(by_rows, ledger(None), report(immature=3), START + 9 * DAY) == 3
    by_day = make_spec(performance=PerformanceThresholds(window=DAY))
    assert count_waiting(by_day, ledger(START.isoformat()), report(immature=3), None) == 3
    assert count_waiting(by_day, LedgerState((), 1), None, START + 9 * DAY) == 0
