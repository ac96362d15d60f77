"""Coerce one column of a batch to the contract's type.

A value that means the same in another type is converted (the text "1", or the number 1.0 for a whole number). Nothing
is guessed: a value that cannot be converted becomes null and its row is rejected with a reason.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evergreen.data.frames import to_float64, to_text
from evergreen.data.instants import read_instants
from evergreen.data.row_errors import Mask, RowErrors
from evergreen.data.written_text import blank_missing, is_text, parse_decimals, parse_integers, plain_number
from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    import pandas as pd


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


@dataclass(frozen=True, slots=True, eq=False)
class Reader:
    """Reads the columns of a batch by the contract.

    Attributes:
        spec: the model; its `reading` says how values are written.
        words: texts that mean a missing value.
        errors: where rows are rejected.
    """

    spec: ModelSpec
    words: frozenset[str]
    errors: RowErrors

    def read(self, raw: pd.Series, name: str, column: Any) -> pd.Series:
        """Read a column as the type of the contract's `column`; what cannot be read is null, and its row rejected."""
        import pandas as pd

        kind = kind_of(column.dtype)
        if isinstance(raw.dtype, pd.CategoricalDtype):
            raw = raw.astype(raw.cat.categories.dtype)
        if holds := _unreadable(raw):
            self.errors.reject(raw.notna(), f"{name}: {holds}, which no column of a contract holds")
            raw = pd.Series(None, index=raw.index, dtype="str", name=raw.name)
        if name in self.spec.keys and kind != "time":
            _reject_inexact_keys(raw, name, self.errors)
        if is_text(raw):
            raw = blank_missing(raw, self.words, trimmed=kind != "text")
            if kind in ("integer", "number"):
                raw = plain_number(raw, self.spec.reading.numbers.get(name) if self.spec.reading else None)
        if kind == "text":
            # Keys are joined on elsewhere, so they stay as they were written.
            return to_text(raw) if name in self.spec.keys else _compose(to_text(raw))
        if kind == "flag":
            return _coerce_flags(raw, name, self.errors)
        if is_text(raw):
            return self._read_integers(raw, name) if kind == "integer" else self._read_decimals(raw, name)
        return _coerce_numbers(raw, name, kind, self.errors)

    def read_times(self, raw: pd.Series, name: str, others: Sequence[pd.Series] = ()) -> pd.Series:
        """Read a column of times as UTC.

        Args:
            raw: the times as they came.
            name: of the column.
            others: the other keys, which tell series apart: a clock time that the zone repeats is resolved in each.

        Raises:
            ModelFileError: times carry no offset, and the model file does not say which zone they are in.
        """
        layout = self.spec.reading.times.get(name, "") if self.spec.reading else ""
        if is_text(raw):
            raw = blank_missing(raw, self.words, trimmed=True)
        return read_instants(raw, name, self.spec, self.errors, layout, others)

    def _read_decimals(self, raw: pd.Series, name: str) -> pd.Series:
        numbers, wrong = parse_decimals(raw)
        self._reject_texts(raw, name, wrong)
        infinite = np.isinf(numbers.to_numpy())
        self.errors.reject(infinite, f"{name}: infinite")
        return numbers.mask(infinite) if infinite.any() else numbers

    def _read_integers(self, raw: pd.Series, name: str) -> pd.Series:
        numbers, wrong, fraction, too_large = parse_integers(raw)
        self._reject_texts(raw, name, wrong)
        self.errors.reject(too_large, f"{name}: too large")
        if not fraction.any():
            return numbers
        # 1.50 and 1e3 are numbers: whole ones are taken as far as a float has every digit of them.
        amounts = parse_decimals(raw[fraction])[0]
        whole = (amounts == amounts.round()) & (amounts.abs() < 2**53)
        fraction[fraction] = ~whole
        self.errors.reject(fraction, f"{name}: not a whole number")
        numbers = numbers.astype("Int64")
        numbers[whole.index[whole]] = amounts[whole].astype("int64")
        return numbers if numbers.isna().any() else numbers.astype("int64")

    def _reject_texts(self, raw: pd.Series, name: str, wrong: Mask) -> None:
        """Reject texts that are no numbers, with what they look like."""
        if not wrong.any():
            return
        texts = raw[wrong]
        for pattern, looks in _NOTATIONS.items():
            alike = wrong.copy()
            alike[wrong] = texts.str.fullmatch(pattern).to_numpy(dtype=bool)
            self.errors.reject(alike, f"{name}: not a number; it looks like one {looks}, see Reading(numbers=...)")
        self.errors.reject(wrong, f"{name}: not a number")


_SPACES = "\u00a0\u202f"
_GROUPED = rf"\d[\d.,'{_SPACES} ]*"
_SIGN = rf"(?:[^\w]{{1,4}}|[{_SPACES} ]?(?:EUR|USD|GBP|CHF|JPY|SEK|NOK|DKK|PLN|CZK|kr|Fr)[{_SPACES} ]?)"
"""A currency or a percent sign beside a number; the letter of a code such as 12A is none."""
_NOTATIONS = {
    rf"[+-]?{_GROUPED}[.,'{_SPACES} ]\d+": "with a decimal comma or separators between thousands",
    rf"{_SIGN}{_GROUPED}|[+-]?{_GROUPED}{_SIGN}": "with a currency or another sign",
}


def _unreadable(raw: pd.Series) -> str:
    """What a column of objects holds that no contract can describe; empty if it holds none of it."""
    import pandas as pd

    if raw.dtype != object:
        return ""
    nested = list, tuple, dict, np.ndarray
    first = next((value for value in raw if isinstance(value, nested) or not pd.isna(value)), None)
    if isinstance(first, bytes | bytearray):
        return "bytes"
    return "lists or records" if isinstance(first, nested) else ""


def _reject_inexact_keys(raw: pd.Series, name: str, errors: RowErrors) -> None:
    """Reject keys that may have lost digits on their way here."""
    import pandas as pd

    if is_text(raw):
        # In a column of texts 1E3 is a code; a spreadsheet writes a point, or the sign of the exponent.
        lost = raw.str.fullmatch(r"\s*[+-]?\d(\.\d+[eE]\+?|[eE]\+)\d+\s*").fillna(False).to_numpy(dtype=bool)
        reason = "a key in scientific notation, which has lost digits; write it in full"
        errors.reject(lost, f"{name}: {reason}")
    elif pd.api.types.is_float_dtype(raw.dtype):
        values = to_float64(raw).to_numpy()
        inexact = ~np.isnan(values) & ~((values == np.round(values)) & (np.abs(values) < 2**53))
        errors.reject(inexact, f"{name}: a key that is a float and no whole number below 2^53; give it as text")


def _compose(texts: pd.Series) -> pd.Series:
    """Texts in Unicode's composed form: a letter and its accent are one character, as most programs write them."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = pa.array(texts)
    if pc.all(pc.string_is_ascii(cells)).as_py() is not False:
        return texts
    # Not Arrow's utf8_normalize, which gives the decomposed form where the composed one is asked for.
    coded = cells.dictionary_encode()
    words = [unicodedata.normalize("NFC", word) for word in coded.dictionary.to_pylist()]
    composed = pa.array(words, cells.type).take(coded.indices)
    return pd.Series(pd.array(composed, dtype="str"), index=texts.index, name=texts.name)


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
    if kind == "integer" and raw.dtype == object and pd.api.types.infer_dtype(raw, skipna=True) == "decimal":
        # As texts, which have every digit of them.
        digits = raw.map(lambda value: format(value, "f"), na_action="ignore").astype("str")
        numbers, wrong, fraction, too_large = parse_integers(digits)
        errors.reject(wrong | fraction, f"{name}: not a whole number")
        errors.reject(too_large, f"{name}: too large")
        return numbers
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
