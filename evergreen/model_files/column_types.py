"""One column of data: what its values are, and how they are to be read.

A guess from the values alone, the same for a feature, a key, the time and the target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from evergreen.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

ODD = 0.01
"""A column of numbers may hold this share of values that are none; with more it is not one."""

REFUSED = 0.05
"""What `ModelSpec.max_rejected` is by default: with a larger share of bad rows a batch goes to quarantine whole."""

DATES = ("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%Y/%m/%d", "%Y.%m.%d", "%d-%m-%Y", "%m-%d-%Y", "%m/%d/%y", "%d/%m/%y")
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
OFFSET = r"(?:Z|[+-]\d\d:?\d\d)$"
"""How the contract tells that a time carries an offset."""

Kind: TypeAlias = Literal["int", "float", "bool", "str"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the contract will know it."""

    name: str
    kind: Kind
    nullable: bool


@dataclass(frozen=True, slots=True)
class Clock:
    """The column that says when.

    Attributes:
        name: of the column.
        layout: how to read it: empty for ISO 8601, `s` or `ms` for seconds or milliseconds since 1970, else a format.
        naive: whether the times carry no offset.
    """

    name: str
    layout: str
    naive: bool


def shown(text: str) -> str:
    """A name as it can stand in a message: quoted, short, and nothing in it that a terminal would obey."""
    return repr(text) if len(text) <= 60 else f"{text[:30]!r}..."


def counted(count: int) -> str:
    """A number of rows, in words."""
    return f"{count:,} row{'' if count == 1 else 's'}"


def dtype_of(column: pd.Series) -> str:
    """`i`, `u`, `f` or `b` as in NumPy; `O` for text and the rest."""
    import pandas as pd

    if column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) == "boolean":
        return "b"
    return column.dtype.kind if column.dtype.kind in "iufb" else "O"


def numbers_of(column: pd.Series) -> pd.Series | None:
    """A column as float64 with NaN for what is no number; None if it is not one of numbers."""
    import pandas as pd

    kind = dtype_of(column)
    if kind == "b":
        return None
    if kind != "O":
        return column.astype("float64")
    plain = pd.to_numeric(column.astype("object"), errors="coerce").astype("float64")
    present = int(column.notna().sum())
    return plain if present and int((plain.isna() & column.notna()).sum()) <= ODD * present else None


def unusable(column: pd.Series) -> pd.Series:
    """Which rows of a column of numbers the contract will refuse."""
    import numpy as np
    import pandas as pd

    plain = pd.to_numeric(column.astype("object"), errors="coerce").astype("float64")
    return pd.Series(np.isinf(plain) | (plain.isna() & column.notna()), index=column.index)


def parsed(text: pd.Series, layout: str) -> pd.Series:
    """Texts as times in UTC, NaT for what cannot be read; an empty layout is ISO 8601."""
    import pandas as pd

    return pd.to_datetime(text, errors="coerce", format=layout or "ISO8601", utc=True)


def layouts(text: pd.Series) -> list[str]:
    """The ways in which nearly all of a sample of texts can be read as times, ISO 8601 (empty) before others."""
    sample = text.dropna().drop_duplicates().head(500)
    if not len(sample):
        return []
    candidates = ["", *(date + clock for date in DATES for clock in CLOCKS)]
    return [layout for layout in candidates if parsed(sample, layout).notna().mean() >= 1 - REFUSED]


def clock_of(raw: pd.Series, notes: list[str]) -> Clock:
    """How the times are to be read; what a person should know of it is added to `notes`.

    Raises:
        DataError: they cannot be.
    """
    name = str(raw.name)
    times = _readings(raw)
    # Of the ways that read equally many the one in which the file is in order.
    best = max(times, key=lambda way: (times[way].notna().sum(), times[way].is_monotonic_increasing), default=None)
    unread = raw.isna() | True if best is None else times[best].isna()
    if best is None or unread.mean() > REFUSED:
        first = int(unread.argmax()) + 1
        raise DataError(
            f"--time: {shown(name)} is not a time in {counted(int(unread.sum()))}, first in row {first}.",
            "Name a column of times such as 2026-11-21T10:00:00Z, or leave out --time.",
        )
    if count := int(unread.sum()):
        notes.append(f"{shown(name)} is not a time in {counted(count)}, which will go to quarantine")
    if best.startswith("%"):
        rivals = [way for way in times if way != best and bool((times[way].isna() == unread).all())]
        doubt = f" (it could be {rivals[0]} as well: check it)" if rivals else ""
        notes.append(f"{shown(name)} is read as {best}{doubt}: see prepare() in the file")
    offsets = best == "" and bool(raw.astype("str").str.contains(OFFSET, regex=True, na=False).any())
    return Clock(name, best, naive=best not in ("s", "ms") and not offsets)


def _readings(raw: pd.Series) -> dict[str, pd.Series]:
    """The times of a column by the layouts in which they could be read."""
    if dtype_of(raw) == "O":
        text = raw.astype("object").map(str).astype("str").mask(raw.isna())
        return {layout: parsed(text, layout) for layout in layouts(text)}
    if dtype_of(raw) == "b":
        return {}
    scale = float(raw.abs().median())
    if 1.8e7 < scale < 2.2e7:
        text = raw.astype("str").str.removesuffix(".0").mask(raw.isna())
        return {"%Y%m%d": parsed(text, "%Y%m%d")}
    return {unit: raw for unit, low, high in (("s", 1e8, 5e9), ("ms", 1e11, 5e12)) if low <= scale <= high}
