"""The time of a row is found where nobody names it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evergreen.model_files.time_column import TimeColumn, find_time

NOW = datetime(2026, 11, 1, tzinfo=UTC)
ROWS = 100
N = np.arange(ROWS)
SHUFFLED = np.random.default_rng(1).permutation(ROWS)


def hours(order: Any = N, start: str = "2026-03-01", layout: str = "%Y-%m-%d %H:%M") -> Any:
    """Hours as text, in the order of the rows or another one."""
    return (pd.Timestamp(start) + pd.to_timedelta(order, unit="h")).strftime(layout)


def found(**columns: Any) -> TimeColumn | None:
    rows = pd.DataFrame({"x": N % 7, "town": ["Bonn", "Ulm"] * 50} | columns)
    return find_time(rows, {"y"}, NOW)


TIMES: dict[str, Any] = {
    "in order": hours(),
    "newest first": hours(-N, start="2026-06-01"),
    "shuffled": hours(SHUFFLED),
    "German": hours(layout="%d.%m.%Y %H:%M"),
    "compact": np.array([int(day) for day in hours(N * 24, layout="%Y%m%d")]),
    "seconds since 1970": 1_770_000_000 + N * 3600,
}


@pytest.mark.parametrize("case", TIMES)
def test_a_column_of_times_is_found(case: str) -> None:
    """In any notation that `--time` reads, whether or not the rows are in its order."""
    time = found(at=TIMES[case], y=N)
    assert time is not None
    assert (time.name, time.in_order) == ("at", case != "shuffled")


NO_TIMES: dict[str, tuple[str, Any]] = {
    "a gap": ("at", np.where(N == 7, None, hours())),
    "the future": ("at", hours(N * 24, start="2026-10-01")),
    "one day": ("at", ["2026-03-01"] * ROWS),
    "four days": ("at", hours(N % 4 * 24)),
    "a date of birth": ("birth_date", hours(SHUFFLED * 24 * 200, start="1950-01-01")),
    "dates over a century": ("since", hours(SHUFFLED * 24 * 300, start="1920-01-01")),
    "a due date": ("due_at", hours(SHUFFLED)),
    "years": ("built", 1950 + N % 70),
    "amounts as large as seconds": ("price", 1_770_000_000 + SHUFFLED * 3600),
    "numbers": ("n", N),
    "codes": ("code", np.char.add("2026", (N % 9).astype(str))),
    "the target": ("y", hours()),
}


@pytest.mark.parametrize("case", NO_TIMES)
def test_a_column_that_cannot_order_the_rows_is_not_taken(case: str) -> None:
    """It would refuse rows, or order them by something else than when they were."""
    name, values = NO_TIMES[case]
    assert found(**{name: values}) is None


def test_the_column_in_whose_order_the_rows_are_wins_and_both_lines_are_shown() -> None:
    """A person chooses where two columns could be it."""
    time = found(delivered_at=hours(SHUFFLED, start="2026-03-03"), ordered=hours())
    assert time is not None
    assert (time.name, time.rivals) == ("ordered", ("delivered_at",))
    assert time.note.endswith("say which with --time 'ordered' or --time 'delivered_at'")


def test_of_two_times_out_of_order_the_earlier_wins() -> None:
    """What is known first can order the rows for whoever predicts."""
    time = found(closed_at=hours(SHUFFLED, start="2026-03-03"), opened_at=hours(SHUFFLED))
    assert time is not None
    assert (time.name, time.rivals) == ("opened_at", ("closed_at",))
