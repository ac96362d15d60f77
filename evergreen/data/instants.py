"""Read times as instants: offsets, zones, hours that a zone repeats or skips, and the hour 24 of a day."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from evergreen.data.frames import to_text
from evergreen.data.row_errors import RowErrors
from evergreen.data.written_text import parse_decimals
from evergreen.errors import ModelFileError
from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    import pandas as pd

UTC_OFFSET = r"[T ]\d\d.*(?:[Zz]|[+-]\d\d(?::?\d\d)?)$"
"""Matches a time of day that carries an offset from UTC."""

SINCE_1970 = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
"""Layouts of numbers that count since 1970, and how many milliseconds one is."""

HOUR_24 = r"[T ]24:00(?::00(?:\.0+)?)?(?:$|[^\d:.])"
"""Matches the end of a day, as meters and weather stations write it."""


def read_instants(
    raw: pd.Series, name: str, spec: ModelSpec, errors: RowErrors, layout: str, others: Sequence[pd.Series]
) -> pd.Series:
    """Times as UTC.

    An offset in the data counts. A time without one is in the model file's zone: a clock time that the zone skips is
    rejected, and of one that the zone repeats the first within each series is daylight time.
    """
    import pandas as pd
    import pyarrow as pa

    if pd.api.types.is_datetime64_any_dtype(raw.dtype):
        if isinstance(raw.dtype, pd.ArrowDtype):
            raw = pa.array(raw).to_pandas().set_axis(raw.index)
        has_no_zone = raw.dt.tz is None
        naive = raw.notna() & has_no_zone
        # Not pd.to_datetime, which would first look at ten thousand of them one by one.
        time: pd.Series = raw.dt.tz_localize("UTC") if has_no_zone else raw.dt.tz_convert("UTC")
    else:
        time, naive = _parse_layout(raw, layout) if layout else _parse_times(raw)
        late = time.isna() & raw.notna()
        if late.any():
            time, naive = _with_hour_24(raw, late, time, naive, layout)
        errors.reject(time.isna() & raw.notna(), f"{name}: not a time{f' as {layout}' if layout else ''}")
    naive &= time.notna()
    time = time.dt.as_unit("us")
    if naive.any():
        time = _apply_zone(time, naive, name, spec, errors, others)
    return time.dt.floor("ms") if name == spec.time else time


def find_swapped_days(raw: pd.Series, time: pd.Series, layout: str) -> str:
    """What says that a column has day and month the other way round than its layout; empty if nothing does.

    Days up to the twelfth can be read both ways. One that cannot be read as `layout` says, in a column that can be read
    whole the other way round, makes every other day of the column doubtful.

    Args:
        raw: the times as they came, without the words that mean a missing one.
        time: as they were read, NaT for what could not be.
        layout: a format of strptime, or what else `Reading.times` takes.
    """
    if "%d" not in layout or "%m" not in layout:
        return ""
    present = raw[raw.notna()].str.strip()
    unread = present[time[present.index].isna()]
    other = layout.replace("%d", "%D").replace("%m", "%d").replace("%D", "%m")
    if unread.empty or _parse_layout(present, other)[0].isna().any():
        return ""
    return (
        f"{unread.iloc[0]!r} (row {int(unread.index[0]) + 1}) is no time as {layout}, and all {len(present)} of the "
        f"column are times as {other}: day and month stand the other way round; correct the file, or Reading(times=...)"
    )


def _with_hour_24(
    raw: pd.Series, late: pd.Series, time: pd.Series, naive: pd.Series, layout: str
) -> tuple[pd.Series, pd.Series]:
    """Read 24:00, which ends a day, as the midnight after it; `late` are the times that could not be read."""
    import pandas as pd

    texts = raw[late].astype("str")
    texts = texts[texts.str.contains(HOUR_24, regex=True, na=False)]
    if texts.empty:
        return time, naive
    at_zero = texts.str.replace("24:00", "00:00", n=1)
    found, is_naive = _parse_layout(at_zero, layout) if layout else _parse_times(at_zero)
    time, naive = time.copy(), naive.copy()
    time[texts.index] = (found + pd.Timedelta(days=1)).astype(time.dtype)
    naive[texts.index] = is_naive
    return time, naive


def _apply_zone(
    time: pd.Series, naive: pd.Series, name: str, spec: ModelSpec, errors: RowErrors, others: Sequence[pd.Series]
) -> pd.Series:
    """Move the naive times, which were read as UTC, to the model file's zone."""
    if spec.timezone is None:
        raise ModelFileError(
            f"{spec.file}: timezone: the times in column {name!r} carry no offset.",
            "Say which zone they are in, such as timezone='UTC' or timezone='Europe/Paris'.",
        )
    if spec.timezone == "UTC":
        return time
    time = localize(time, naive, spec.timezone, others)
    errors.reject(naive & time.isna(), f"{name}: {spec.timezone} skips this clock time")
    return time


def localize(time: pd.Series, naive: pd.Series, zone: str, others: Sequence[pd.Series] = ()) -> pd.Series:
    """Move naive times, which were read as UTC, to a zone; NaT for a clock time that the zone skips.

    Args:
        time: in UTC.
        naive: which of them carry no offset.
        zone: IANA name.
        others: columns that tell series apart. Of a clock time that the zone repeats, the first in its series is
            daylight time, and the next are standard time.
    """
    import pandas as pd

    clock = time[naive].dt.tz_localize(None)
    series = pd.concat([clock, *(other[naive] for other in others)], axis=1, ignore_index=True)
    is_first = (~series.duplicated(keep="first")).to_numpy()
    zoned = clock.dt.tz_localize(ZoneInfo(zone), ambiguous=is_first, nonexistent="NaT")
    return time.mask(naive, zoned.dt.tz_convert("UTC").reindex(time.index))


def _parse_layout(raw: pd.Series, layout: str) -> tuple[pd.Series, pd.Series]:
    """Parse times as the model file's `reading` says; returns them in UTC, and which carry no offset."""
    import pandas as pd

    if layout in SINCE_1970:
        numbers = parse_decimals(to_text(raw))[0]
        # In milliseconds, because a float of nanoseconds would lose digits.
        scaled = (numbers * SINCE_1970[layout]).round()
        time = pd.to_datetime(scaled.where(scaled.abs() < 1e14), unit="ms", utc=True)
        return time, pd.Series(False, index=raw.index)
    # As text: 20260101 may come as a number, and beside a missing one as a float.
    time = pd.to_datetime(to_text(raw), errors="coerce", format=layout, utc=True)
    return time, raw.notna() & ("%z" not in layout)


def _parse_times(raw: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Parse texts as times in UTC; returns them, NaT for what is no time, and which of them carry no offset."""
    import pandas as pd
    import pyarrow as pa

    words = raw.astype("str")
    # Arrow reads texts of one form many times faster than pandas, and raises if they are not of one form.
    for zone in ("UTC", None):
        try:
            instants = pa.array(words, pa.string()).cast(pa.timestamp("us", zone)).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            continue
        return pd.Series(instants, index=raw.index).dt.tz_localize("UTC"), words.notna() & (zone is None)
    time = pd.to_datetime(words, errors="coerce", format="ISO8601", utc=True)
    return time, ~words.str.contains(UTC_OFFSET, regex=True, na=True)
