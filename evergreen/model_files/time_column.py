"""Which column of data holds the time of a row, where nobody named one."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from evergreen.data.checked_batch import CLOCK_SKEW
from evergreen.data.instants import SINCE_1970
from evergreen.errors import DataError
from evergreen.model_files.column_types import dtype_kind, infer_clock, parse_times, quote_name, time_layouts

if TYPE_CHECKING:
    import pandas as pd

MIN_TIMES = 5
"""Fewer different times cannot be split into earlier and later rows."""

MAX_SPAN_DAYS = 30 * 365
"""Times out of order over more years than this are dates of birth and the like, rather than those of the rows."""

_SAYS_TIME = re.compile(
    r"(?i)time|date|\bts\b|_ts$|day|hour|epoch|unix|zeit|datum|fecha|jour|data_|_at$|^at$|created|updated|when"
)
_SAYS_OTHER = re.compile(r"(?i)birth|born|\bdob\b|geburt|expir|valid|until|due|deadline|end$|_end|planned|scheduled")


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """The column that is taken for the time of a row.

    Attributes:
        name: of the column.
        rivals: other columns that could be it, the likeliest first.
        in_order: the rows of the data are in its order, or in the reverse.
    """

    name: str
    rivals: tuple[str, ...]
    in_order: bool

    @property
    def note(self) -> str:
        """What a person should know."""
        ordered = "the rows are in its order" if self.in_order else "it holds a time in every row"
        taken = f"{quote_name(self.name)} is taken for the time of a row ({ordered}), and the newest rows judge"
        if not self.rivals:
            return f"{taken}; name another one with --time"
        options = " or ".join(f"--time {quote_name(name)}" for name in (self.name, *self.rivals[:2]))
        return f"{taken}. More than one column could be it: say which with {options}"


def find_time(frame: pd.DataFrame, others: Collection[str], now: datetime | None) -> TimeColumn | None:
    """Find the column that says when each row was, apart from `others`.

    It holds a time in every row, none of them later than `now` (aware; None does not check), and at least `MIN_TIMES`
    different ones. A column in whose order the rows are comes first, then one whose name says time, then the earliest
    of those left, because what is known first can order the rows for whoever predicts.

    Returns:
        The column, or None if there is none that may be it.
    """
    found = []
    for position, name in enumerate(frame.columns):
        times = None if name in others else _read_times(frame[name])
        if times is None or not _may_order(times, str(name), now):
            continue
        in_order = bool(times.is_monotonic_increasing or times.is_monotonic_decreasing)
        says_time, median = bool(_SAYS_TIME.search(str(name))), times.astype("int64").median()
        found.append(((not in_order, not says_time, median, position), str(name), in_order))
    if not found:
        return None
    found.sort()
    return TimeColumn(found[0][1], tuple(name for _, name, _ in found[1:]), found[0][2])


def _read_times(column: pd.Series) -> pd.Series | None:
    """A column as instants, times without an offset as UTC; None if it holds anything else in any row."""
    if column.isna().any() or dtype_kind(column) == "b":
        return None
    kind, says_time = dtype_kind(column), bool(_SAYS_TIME.search(str(column.name)))
    # A year alone, or numbers that could count seconds, need a name that says so.
    if kind == "O" and not time_layouts(column.astype("object").map(str)) and not says_time:
        return None
    try:
        clock = infer_clock(column, [])
    except DataError:
        return None
    if clock.layout == "%Y" or (clock.layout in SINCE_1970 and not says_time):
        return None
    times = as_instants(column, clock.layout)
    return None if times.isna().any() else times


def as_instants(column: pd.Series, layout: str) -> pd.Series:
    """A column of times by the layout of its `Clock`; times without an offset as UTC, NaT for what is none."""
    import pandas as pd

    if layout in SINCE_1970:
        return pd.to_datetime(column.astype("float64") * SINCE_1970[layout], unit="ms", utc=True)
    text = column.map("{:.0f}".format if dtype_kind(column) != "O" else str, na_action="ignore")
    return parse_times(text.astype("str").mask(column.isna()), layout)


def _may_order(times: pd.Series, name: str, now: datetime | None) -> bool:
    """Whether times may be those of the rows: past, different, and not of another kind by name or span."""
    if times.nunique() < MIN_TIMES or (now is not None and bool((times > now + CLOCK_SKEW).any())):
        return False
    if times.is_monotonic_increasing or times.is_monotonic_decreasing:
        return True
    return not _SAYS_OTHER.search(name) and (times.max() - times.min()).days <= MAX_SPAN_DAYS
