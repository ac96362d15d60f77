"""Coerce one column of a batch to the contract's type.

A value that means the same in another type is converted (the text "1", or the number 1.0 for a whole number). Nothing
is guessed: a value that cannot be converted becomes null and its row is rejected with a reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from evergreen.data.frames import to_float64, to_text
from evergreen.errors import ModelFileError
from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    import pandas as pd

UTC_OFFSET = r"[T ]\d\d.*(?:[Zz]|[+-]\d\d(?::?\d\d)?)$"
"""Matches a time of day that carries an offset from UTC."""

Mask = npt.NDArray[np.bool_]


class RowErrors:
    """Why each row is rejected. The first reason of a row stays: it is nearest to the cause."""

    def __init__(self, index: pd.Index) -> None:
        self.index = index
        self.reasons = [""]
        self.codes = np.zeros(len(index), dtype=np.int32)

    def reject(self, where: pd.Series | Mask, reason: str) -> None:
        """Reject the rows that are accepted so far and where `where` is true."""
        rows = np.asarray(where, dtype=bool) & self.accepted
        if rows.any():
            self.codes[rows] = len(self.reasons)
            self.reasons.append(reason)

    @property
    def accepted(self) -> Mask:
        """Which rows are not rejected."""
        return np.asarray(self.codes == 0)

    def by_row(self) -> pd.Series:
        """The reason of each rejected row, by its index."""
        import pandas as pd

        rejected = ~self.accepted
        reasons = [self.reasons[code] for code in self.codes[rejected]]
        return pd.Series(reasons, index=self.index[rejected], dtype="object")


def kind_of(dtype: Any) -> str:
    """The kind in which a column of the contract is stored: time, flag, integer, number or text."""
    name = str(dtype).lower()
    if "datetime" in name or "timestamp" in name:
        return "time"
    if "bool" in name:
        return "flag"
    if "int" in name:
        return "integer"
    return "number" if "float" in name or "double" in name else "text"


def coerce_column(raw: pd.Series, name: str, column: Any, spec: ModelSpec, errors: RowErrors) -> pd.Series:
    """Coerce a column to the type of the contract's `column`; what cannot be converted is null and rejected.

    Raises:
        ModelFileError: times carry no offset, and the model file does not say which zone they are in.
    """
    kind = kind_of(column.dtype)
    if kind == "time":
        return _coerce_times(raw, name, spec, errors)
    if kind == "text":
        return to_text(raw)
    if kind == "flag":
        return _coerce_flags(raw, name, errors)
    return _coerce_numbers(raw, name, kind, errors)


def _coerce_flags(raw: pd.Series, name: str, errors: RowErrors) -> pd.Series:
    import pandas as pd

    if raw.dtype == bool:
        return raw
    words = {"true": True, "1": True, "false": False, "0": False}
    flags = to_text(raw).str.lower().map(words).astype("boolean")
    errors.reject(flags.isna() & raw.notna(), f"{name}: neither true nor false")
    return flags if flags.isna().any() else pd.Series(flags.astype(bool))


def _coerce_numbers(raw: pd.Series, name: str, kind: str, errors: RowErrors) -> pd.Series:
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(raw.dtype) or pd.api.types.is_timedelta64_dtype(raw.dtype):
        raw = raw.astype("str")
    numbers = pd.to_numeric(raw, errors="coerce")
    errors.reject(numbers.isna() & raw.notna(), f"{name}: not a number")
    if kind == "number" or not pd.api.types.is_integer_dtype(numbers.dtype):
        numbers = to_float64(numbers)
        infinite = np.isinf(numbers.to_numpy())
        errors.reject(infinite, f"{name}: infinite")
        numbers = numbers.mask(infinite) if infinite.any() else numbers
    return numbers if kind == "number" else _coerce_integers(numbers, name, errors)


def _coerce_integers(numbers: pd.Series, name: str, errors: RowErrors) -> pd.Series:
    import pandas as pd

    if pd.api.types.is_float_dtype(numbers.dtype):
        errors.reject(numbers.notna() & (numbers != numbers.round()), f"{name}: not a whole number")
        numbers = numbers.where(numbers == numbers.round())
    too_large = (numbers.abs() >= 2.0**63) if numbers.dtype.kind == "f" else (numbers > 2**63 - 1)
    if too_large.any():
        errors.reject(too_large.fillna(False), f"{name}: too large")
        numbers = numbers.mask(too_large.fillna(False))
    return numbers.astype("Int64") if numbers.isna().any() else numbers.astype("int64")


def _coerce_times(raw: pd.Series, name: str, spec: ModelSpec, errors: RowErrors) -> pd.Series:
    """Times as UTC.

    An offset in the data counts. A time without one is in the model file's zone: a clock time that the zone skips is
    rejected, and of one that the zone repeats the first is daylight time.
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
        time, naive = _parse_times(raw)
        errors.reject(time.isna() & raw.notna(), f"{name}: not a time")
    naive &= time.notna()
    time = time.dt.as_unit("us")
    if naive.any():
        time = _apply_zone(time, naive, name, spec, errors)
    return time.dt.floor("ms") if name == spec.time else time


def _apply_zone(time: pd.Series, naive: pd.Series, name: str, spec: ModelSpec, errors: RowErrors) -> pd.Series:
    """Move the naive times, which were read as UTC, to the model file's zone."""
    if spec.timezone is None:
        raise ModelFileError(
            f"models/{spec.name}.py: timezone: the times in column {name!r} carry no offset.",
            "Say which zone they are in, such as timezone='UTC' or timezone='Europe/Paris'.",
        )
    if spec.timezone == "UTC":
        return time
    clock = time[naive].dt.tz_localize(None)
    is_first = (~clock.duplicated(keep="first")).to_numpy()
    zoned = clock.dt.tz_localize(ZoneInfo(spec.timezone), ambiguous=is_first, nonexistent="NaT")
    time = time.mask(naive, zoned.dt.tz_convert("UTC").reindex(time.index))
    errors.reject(naive & time.isna(), f"{name}: {spec.timezone} skips this clock time")
    return time


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
