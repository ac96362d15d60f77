"""The clock of a replay: instants of rows without a time, and how instants and lengths are told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from evergreen.backtest.clock import CALENDAR, DAY, Clock
from evergreen.spec.fields import Rows

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@given(count=st.integers(1, 100_000), row=st.integers(0, 2_000_000))
def test_a_row_has_an_instant_of_its_own(count: int, row: int) -> None:
    """Later rows come later, a window takes a day to the microsecond, and an instant leads back to its row."""
    clock = Clock(Rows(count))
    now, following = clock.times(np.array([row, row + 1]))
    assert now < following
    assert clock.instant(row + count) - clock.instant(row) == DAY
    assert clock.row(clock.instant(row)) == row
    assert clock.row(clock.instant(row) + timedelta(microseconds=1)) == row + 1
    assert clock.instant(row - row % count) == EPOCH + row // count * DAY


def test_instants_and_lengths_are_told() -> None:
    """Rows by their number and count, times by their day."""
    clock = Clock(Rows(500))
    assert (clock.name(EPOCH + 3 * DAY), clock.plain(EPOCH + 3 * DAY)) == ("row 1,500", 1500)
    assert (clock.describe(2 * DAY), clock.describe(Rows(7)), clock.described_step) == (
        "1,000 rows",
        "7 rows",
        "500 rows",
    )
    assert (clock.step, clock.ahead, clock.described_ahead) == (DAY, 4 * DAY, "four windows")
    assert (CALENDAR.name(EPOCH), CALENDAR.plain(EPOCH)) == ("1970-01-01", "1970-01-01T00:00:00+00:00")
    assert (CALENDAR.describe(DAY), CALENDAR.describe(36 * DAY / 24), CALENDAR.described_step) == (
        "1 day",
        "1.5 days",
        "7 days",
    )
    assert (CALENDAR.step, CALENDAR.ahead, CALENDAR.by_rows) == (7 * DAY, 28 * DAY, False)
