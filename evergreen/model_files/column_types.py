"""The type of one column of data, inferred from its values alone, and how its values are read.

The rules are the same for a feature, a key, the time and the target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from evergreen.data.instants import SINCE_1970
from evergreen.data.written_text import EXPONENT_OF_A_FLOAT
from evergreen.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

MAX_NON_NUMERIC = 0.01
"""A column of numbers may hold up to this share of other values; with more of them it is no column of numbers."""

MAX_REJECTED = 0.05
"""The default of `ModelSpec.max_rejected`: a batch with a larger share of bad rows goes to quarantine whole."""

DATES = (
    *("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%Y/%m/%d", "%Y.%m.%d", "%d-%m-%Y", "%m-%d-%Y", "%m/%d/%y", "%d/%m/%y"),
    *("%d-%b-%Y", "%d %b %Y", "%b %d, %Y", "%d-%b-%y"),
)
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
UTC_OFFSET = r"(?:Z|[+-]\d\d:?\d\d)$"
"""Matches a time that carries an offset."""

Kind: TypeAlias = Literal["int", "float", "bool", "str"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the contract will have it."""

    name: str
    kind: Kind
    nullable: bool


@dataclass(frozen=True, slots=True)
class Clock:
    """The time column.

    Attributes:
        name: of the column.
        layout: how to read it: empty for ISO 8601, `s`, `ms`, `us` or `ns` for a number since 1970, else a format.
        naive: whether the times carry no offset.
    """

    name: str
    layout: str
    naive: bool


def quote_name(text: str) -> str:
    """A name for a message: quoted, short, and without anything that a terminal would obey."""
    return repr(text) if len(text) <= 60 else f"{text[:30]!r}..."


def rows_text(count: int) -> str:
    """A number of rows in words, such as "1,200 rows"."""
    return f"{count:,} row{'' if count == 1 else 's'}"


def dtype_kind(column: pd.Series) -> str:
    """`i`, `u`, `f` or `b` as in NumPy; `O` for text and the rest."""
    import pandas as pd

    if column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) == "boolean":
        return "b"
    return column.dtype.kind if column.dtype.kind in "iufb" else "O"


def as_numbers(column: pd.Series) -> pd.Series | None:
    """A column as float64, with NaN for what is no number; None if it is no column of numbers."""
    kind = dtype_kind(column)
    if kind == "b":
        return None
    if kind != "O":
        return column.astype("float64")
    numbers = _parse_numbers(column)
    present = int(column.notna().sum())
    non_numeric = int((numbers.isna() & column.notna()).sum())
    return numbers if present and non_numeric <= MAX_NON_NUMERIC * present else None


def unusable_rows(column: pd.Series) -> pd.Series:
    """Which rows of a column of numbers the contract will reject."""
    import numpy as np
    import pandas as pd

    numbers = _parse_numbers(column)
    return pd.Series(np.isinf(numbers) | (numbers.isna() & column.notna()), index=column.index)


def parse_times(text: pd.Series, layout: str) -> pd.Series:
    """Texts as times in UTC, NaT for what cannot be read; an empty layout is ISO 8601."""
    import pandas as pd

    return pd.to_datetime(text, errors="coerce", format=layout or "ISO8601", utc=True)


def time_layouts(text: pd.Series) -> list[str]:
    """The layouts that read nearly all of a sample of texts as times, ISO 8601 (empty) before the others."""
    sample = text.dropna().drop_duplicates().head(500)
    if not len(sample):
        return []
    # 0042 is a shop, not a year.
    iso = [""] if sample.str.contains(r"\D", regex=True).all() else []
    candidates = [*iso, *(date + clock for date in DATES for clock in CLOCKS)]
    return [layout for layout in candidates if parse_times(sample, layout).notna().mean() >= 1 - MAX_REJECTED]


def infer_clock(raw: pd.Series, notes: list[str]) -> Clock:
    """Infer how the times of a column are read; what a person should know is added to `notes`.

    Raises:
        DataError: they cannot be read.
    """
    import pandas as pd

    name = str(raw.name)
    times = _parse_with_layouts(raw)
    # Of the layouts that read equally many values, the one in which the file is in order.
    best = max(
        times, key=lambda layout: (times[layout].notna().sum(), times[layout].is_monotonic_increasing), default=None
    )
    unread = raw.isna() | True if best is None else times[best].isna()
    if best is None or unread.mean() > MAX_REJECTED:
        first = int(unread.argmax()) + 1
        raise DataError(
            f"--time: {quote_name(name)} is not a time in {rows_text(int(unread.sum()))}, first in row {first}.",
            "Name a column of times such as 2026-11-21T10:00:00Z, or leave out --time.",
        )
    if count := int(unread.sum()):
        notes.append(f"{quote_name(name)} is not a time in {rows_text(count)}, which will go to quarantine")
    if best.startswith("%"):
        rivals = [layout for layout in times if layout != best and bool((times[layout].isna() == unread).all())]
        doubt = f" (it could be {rivals[0]} as well: check it)" if rivals else ""
        notes.append(f"{quote_name(name)} is read as {best}{doubt}: see Reading in the file")
    if best in SINCE_1970:
        start = pd.Timestamp(float(times[best].min()) * SINCE_1970[best], unit="ms")
        notes.append(f"{quote_name(name)} counts {best} since 1970, from {start:%Y-%m-%d} on: see Reading in the file")
    has_offsets = best == "" and bool(raw.astype("str").str.contains(UTC_OFFSET, regex=True, na=False).any())
    return Clock(name, best, naive=best not in SINCE_1970 and not has_offsets)


def _parse_numbers(column: pd.Series) -> pd.Series:
    import pandas as pd

    if dtype_kind(column) == "O":
        # 02139 and 1E3 are codes, until a person says otherwise.
        text = column.astype("object").map(str).str.strip()
        column = column.where(text.str.fullmatch(rf"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+|inf)|{EXPONENT_OF_A_FLOAT}"))
    return pd.to_numeric(column.astype("object"), errors="coerce").astype("float64")


def _parse_with_layouts(raw: pd.Series) -> dict[str, pd.Series]:
    """The times of a column by each layout that may read them."""
    if dtype_kind(raw) == "O":
        text = raw.astype("object").map(str).astype("str").mask(raw.isna())
        if not text.dropna().str.fullmatch(r"\d{18,19}").all():
            return {layout: parse_times(text, layout) for layout in time_layouts(text)}
        # Whole numbers of so many digits stay texts; as nanoseconds they are read to the millisecond.
        raw = text.astype("float64")
    if dtype_kind(raw) == "b":
        return {}
    scale = float(raw.abs().median())
    # 202601032359 would be a time in 1976 as milliseconds.
    for layout, low in (("%Y", 1.9e3), ("%Y%m%d", 1.9e7), ("%Y%m%d%H%M", 1.9e11), ("%Y%m%d%H%M%S", 1.9e13)):
        if low <= scale < low * 21 / 19:
            text = raw.map("{:.0f}".format, na_action="ignore").astype("str").mask(raw.isna())
            times = parse_times(text, layout)
            if times.notna().mean() >= 1 - MAX_REJECTED:
                return {layout: times}
    units = (("s", 1e8, 5e9), ("ms", 1e11, 5e12), ("us", 1e14, 5e15), ("ns", 1e17, 5e18))
    return {unit: raw for unit, low, high in units if low <= scale <= high}
