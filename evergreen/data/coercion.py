"""One column of a batch in the contract's type; a value that cannot be is null, and its row refused with the reason.

What means the same in another type is taken (the text "1", the number 1.0 for a whole number); nothing is guessed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from evergreen.data.frames import numbers, texts
from evergreen.errors import ModelFileError
from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    import pandas as pd

OFFSET = r"[T ]\d\d.*(?:[Zz]|[+-]\d\d(?::?\d\d)?)$"
"""A clock time that says how far from UTC it is."""

Mask = npt.NDArray[np.bool_]


class Reasons:
    """Why each row is refused. The first reason stands: it is nearest to the cause."""

    def __init__(self, index: pd.Index) -> None:
        self.index = index
        self.texts = [""]
        self.codes = np.zeros(len(index), dtype=np.int32)

    def note(self, where: pd.Series | Mask, reason: str) -> None:
        """Refuse the rows that are still good and where `where` is true."""
        hit = np.asarray(where, dtype=bool) & self.good
        if hit.any():
            self.codes[hit] = len(self.texts)
            self.texts.append(reason)

    @property
    def good(self) -> Mask:
        """Which rows are not refused."""
        return np.asarray(self.codes == 0)

    def of_bad(self) -> pd.Series:
        """The reason of each refused row, by its index."""
        import pandas as pd

        bad = ~self.good
        return pd.Series([self.texts[code] for code in self.codes[bad]], index=self.index[bad], dtype="object")


def kind_of(dtype: Any) -> str:
    """What a column of the contract is kept as: time, flag, integer, number or text."""
    name = str(dtype).lower()
    if "datetime" in name or "timestamp" in name:
        return "time"
    if "bool" in name:
        return "flag"
    if "int" in name:
        return "integer"
    return "number" if "float" in name or "double" in name else "text"


def plain(raw: pd.Series, name: str, column: Any, spec: ModelSpec, reasons: Reasons) -> pd.Series:
    """One column in the contract's type; what cannot be is null and noted."""
    kind = kind_of(column.dtype)
    if kind == "time":
        return _instants(raw, name, spec, reasons)
    if kind == "text":
        return texts(raw)
    if kind == "flag":
        return _flags(raw, name, reasons)
    return _numbers(raw, name, kind, reasons)


def _flags(raw: pd.Series, name: str, reasons: Reasons) -> pd.Series:
    import pandas as pd

    if raw.dtype == bool:
        return raw
    words = {"true": True, "1": True, "false": False, "0": False}
    known = texts(raw).str.lower().map(words).astype("boolean")
    reasons.note(known.isna() & raw.notna(), f"{name}: neither true nor false")
    return known if known.isna().any() else pd.Series(known.astype(bool))


def _numbers(raw: pd.Series, name: str, kind: str, reasons: Reasons) -> pd.Series:
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(raw.dtype) or pd.api.types.is_timedelta64_dtype(raw.dtype):
        raw = raw.astype("str")
    value = pd.to_numeric(raw, errors="coerce")
    reasons.note(value.isna() & raw.notna(), f"{name}: not a number")
    if kind == "number" or not pd.api.types.is_integer_dtype(value.dtype):
        value = numbers(value)
        infinite = np.isinf(value.to_numpy())
        reasons.note(infinite, f"{name}: infinite")
        value = value.mask(infinite) if infinite.any() else value
    if kind == "number":
        return value
    if pd.api.types.is_float_dtype(value.dtype):
        reasons.note(value.notna() & (value != value.round()), f"{name}: not a whole number")
        value = value.where(value == value.round())
    large = (value.abs() >= 2.0**63) if value.dtype.kind == "f" else (value > 2**63 - 1)
    if large.any():
        reasons.note(large.fillna(False), f"{name}: too large")
        value = value.mask(large.fillna(False))
    return value.astype("Int64") if value.isna().any() else value.astype("int64")


def _instants(raw: pd.Series, name: str, spec: ModelSpec, reasons: Reasons) -> pd.Series:
    """Times as UTC; a clock time that a zone skips is noted, one that it repeats is daylight time first.

    Offsets that are given count; only times without one are in the zone of the model file.
    """
    import pandas as pd
    import pyarrow as pa

    if pd.api.types.is_datetime64_any_dtype(raw.dtype):
        if isinstance(raw.dtype, pd.ArrowDtype):
            raw = pa.array(raw).to_pandas().set_axis(raw.index)
        without = raw.dt.tz is None
        naive = raw.notna() & without
        # pd.to_datetime would first look at ten thousand of them one by one.
        time: pd.Series = raw.dt.tz_localize("UTC") if without else raw.dt.tz_convert("UTC")
    else:
        time, naive = _parsed(raw)
        reasons.note(time.isna() & raw.notna(), f"{name}: not a time")
    naive &= time.notna()
    time = time.dt.as_unit("us")
    if naive.any():
        if spec.timezone is None:
            raise ModelFileError(
                f"models/{spec.name}.py: timezone: the times in column {name!r} carry no offset.",
                "Say which zone they are in, such as timezone='UTC' or timezone='Europe/Paris'.",
            )
        if spec.timezone != "UTC":
            clock = time[naive].dt.tz_localize(None)
            first = (~clock.duplicated(keep="first")).to_numpy()
            zoned = clock.dt.tz_localize(ZoneInfo(spec.timezone), ambiguous=first, nonexistent="NaT")
            time = time.mask(naive, zoned.dt.tz_convert("UTC").reindex(time.index))
            reasons.note(naive & time.isna(), f"{name}: {spec.timezone} skips this clock time")
    return time.dt.floor("ms") if name == spec.time else time


def _parsed(raw: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Texts as times in UTC, and which of them carry no offset; what is no time is NaT."""
    import pandas as pd
    import pyarrow as pa

    words = raw.astype("str")
    # Arrow reads texts of one form many times faster, and says so where they are not.
    for zone in ("UTC", None):
        try:
            instants = pa.array(words, pa.string()).cast(pa.timestamp("us", zone)).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            continue
        return pd.Series(instants, index=raw.index).dt.tz_localize("UTC"), words.notna() & (zone is None)
    time = pd.to_datetime(words, errors="coerce", format="ISO8601", utc=True)
    return time, ~words.str.contains(OFFSET, regex=True, na=True)
