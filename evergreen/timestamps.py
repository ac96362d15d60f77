"""Times that a person gives, as options of a command or parameters of a run: one rule for all of them.

ISO 8601, such as `2026-11-21` (midnight) or `2026-11-21T10:00:00+01:00`; without an offset it is UTC. What Evergreen
wrote itself always carries an offset, and `datetime.fromisoformat` reads it back. Times in the rows of a source are a
matter of the model file's time zone.
"""

from __future__ import annotations

from datetime import UTC, datetime

from evergreen.errors import EvergreenError

_EXAMPLE = "Such as 2026-11-21T10:00:00+01:00, or 2026-11-21 for midnight UTC."


def parse_time(text: str | None, option: str) -> datetime | None:
    """Read the time that an option was given; None where it was given none.

    Args:
        text: as it was typed.
        option: its name, for the message.

    Raises:
        EvergreenError: it is not a time.
    """
    if text is None:
        return None
    try:
        return as_utc(datetime.fromisoformat(text))
    except (ValueError, EvergreenError):
        raise EvergreenError(f"{option} {text!r} is not a time.", _EXAMPLE) from None


def as_utc(time: datetime) -> datetime:
    """The same instant in UTC; a time without an offset is read as UTC.

    Raises:
        EvergreenError: UTC has no such time: its offset moves it out of the years 1 to 9999.
    """
    try:
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        raise EvergreenError(f"{time.isoformat()} is not a time in UTC.", _EXAMPLE) from None
