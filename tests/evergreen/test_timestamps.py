"""Times that a person gives: an offset counts, without one it is UTC, and what is no time is one line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from evergreen.errors import EvergreenError
from evergreen.timestamps import as_utc, parse_time


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-21", datetime(2026, 11, 21, tzinfo=UTC)),
        ("2026-11-21T10:00", datetime(2026, 11, 21, 10, tzinfo=UTC)),
        ("2026-11-21 10:00:00.5", datetime(2026, 11, 21, 10, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-11-21T10:00:00Z", datetime(2026, 11, 21, 10, tzinfo=UTC)),
        ("2026-11-21T10:00:00+01:00", datetime(2026, 11, 21, 9, tzinfo=UTC)),
        ("2026-01-01T00:30:00+01:00", datetime(2025, 12, 31, 23, 30, tzinfo=UTC)),
        (None, None),
    ],
)
def test_an_option_is_read_as_utc(text: str | None, time: datetime | None) -> None:
    """With an offset it is the same instant in UTC, without one it is in UTC already; no option is no time."""
    parsed = parse_time(text, "--at")
    assert parsed == time
    assert parsed is None or parsed.tzinfo is UTC


@pytest.mark.parametrize("text", ["noon", "", "21.11.2026", "2026-13-01", "0001-01-01T00:00+10:00", "1700000000.5"])
def test_what_is_no_time_is_refused_by_name(text: str) -> None:
    """The message names the option and the value, and shows what a time looks like."""
    with pytest.raises(EvergreenError) as refused:
        parse_time(text, "--since")
    assert refused.value.what == f"--since {text!r} is not a time."
    assert "2026-11-21T10:00:00+01:00" in refused.value.fix


def test_a_parameter_of_a_run_follows_the_same_rule() -> None:
    """A time that UTC does not have is a fault of the input, and no traceback."""
    assert as_utc(datetime(2026, 11, 21, 10)) == datetime(2026, 11, 21, 10, tzinfo=UTC)
    assert as_utc(datetime(2026, 11, 21, 10, tzinfo=timezone(timedelta(hours=1)))).hour == 9
    with pytest.raises(EvergreenError, match="9999-12-31T23:00:00-05:00 is not a time in UTC"):
        as_utc(datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=5))))
