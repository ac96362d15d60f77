"""Cells as a file has them: which are missing, which number or time a text means.

Nothing here depends on the other cells of a column, so that a row means the same in any file, piece or order.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from evergreen.data.row_errors import Mask
from evergreen.spec.data import Notation, Reading

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MISSING_BEFORE = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"}
    | {"NULL", "NaN", "None", "n/a", "nan", "null"}
)
"""The words that pandas takes for missing. A model file without `reading` was written when pandas read the files."""

ACCOUNTING_NEGATIVE = r"^\(([^()]*)\)$"
"""A negative amount as accounts have it: (1,234.50) is -1234.5."""

_SPACE = "[ \u00a0\u202f]"

WHOLE = r"^[+-]?\d+$"
WHOLE_WITH_POINT = r"^[+-]?\d+\.0*$"
DECIMAL = r"^[+-]?(\d+\.?\d*|\.\d+)$"
SCIENTIFIC = r"^[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+$"
EXPONENT_OF_A_FLOAT = r"^[+-]?(\d[eE][+-]\d\d+|\d+\.\d+[eE][+-]?\d+)$"
"""As programs write floats (1.5e-07, 1E+20): a code such as 1E3 or 12E12 is no number unless the contract says so."""

MINUS = "\u2212"
"""The minus sign of typography, which is no hyphen."""
MINUS_BEHIND = r"^([\d.,' ]*\d[\d.,' ]*)-$"
"""A minus behind the digits, as SAP writes it."""


def missing_words(reading: Reading | None, *, written: bool) -> frozenset[str]:
    """The texts that mean a missing value; `written` are cells of a file that has nothing but texts."""
    if reading is not None:
        return frozenset(("", *reading.missing))
    return MISSING_BEFORE if written else frozenset()


def is_text(column: pd.Series) -> bool:
    """Whether a column holds texts, or nothing."""
    import pandas as pd

    if isinstance(column.dtype, pd.StringDtype):
        return True
    return column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) in ("string", "empty")


def blank_missing(column: pd.Series, words: frozenset[str], *, trimmed: bool) -> pd.Series:
    """A column of texts whose missing cells are NaN; `trimmed` leaves out white space around each text."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = pa.array(column.astype("str"))
    if trimmed:
        cells = pc.utf8_trim_whitespace(cells)
    if words:
        is_missing = pc.is_in(cells, pa.array(sorted(words), cells.type))
        if not trimmed and not pc.any(is_missing).as_py():
            return column.astype("str")
        cells = pc.if_else(is_missing, None, cells)
    return pd.Series(pd.array(cells, dtype="str"), index=column.index, name=column.name)


def repeats_header(frame: pd.DataFrame) -> Mask:
    """Which rows say the name of every column again, as files do that were made of several; shape (n,)."""
    found = np.full(len(frame), len(frame.columns) > 1)
    for name in frame.columns:
        if not found.any():
            break
        found &= (frame[name].str.strip() == str(name)).to_numpy(dtype=bool) if is_text(frame[name]) else False
    return found


def plain_number(column: pd.Series, notation: Notation | None) -> pd.Series:
    """Texts in a notation as texts with a decimal point and nothing else but digits; other texts stay as they are."""
    if notation is None:
        return column
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = pc.replace_substring_regex(pa.array(column), ACCOUNTING_NEGATIVE, r"-\1")
    for mark in map(re.escape, notation.remove):
        # At an end only: 4%2 is no 42.
        cells = pc.replace_substring_regex(cells, rf"^([+-]?){_SPACE}*{mark}{_SPACE}*", r"\1")
        cells = pc.replace_substring_regex(cells, rf"{_SPACE}*{mark}{_SPACE}*$", "")
    cells = pc.replace_substring_regex(pc.utf8_trim_whitespace(cells), MINUS_BEHIND, r"-\1")
    cells = pc.if_else(pc.starts_with(cells, MINUS), pc.replace_substring(cells, MINUS, "-", max_replacements=1), cells)
    point = re.escape(notation.decimal)
    group = re.escape(notation.thousands) if notation.thousands else None
    body = rf"(\d{{1,3}}({group}\d{{3}})+|\d+)" if group else r"\d+"
    fits = pc.fill_null(pc.match_substring_regex(cells, rf"^[+-]?({body}({point}\d*)?|{point}\d+)$"), False)
    plain = cells
    if notation.thousands:
        plain = pc.replace_substring(plain, notation.thousands, "")
    plain = pc.replace_substring(plain, notation.decimal, ".")
    # What does not fit is marked, or "1.5" in a column of decimal commas would pass for a number.
    mark = pa.scalar("\u2000", cells.type)
    other = pc.binary_join_element_wise(cells, mark, pa.scalar("", cells.type)) if notation.decimal != "." else cells
    return pd.Series(pd.array(pc.if_else(fits, plain, other), dtype="str"), index=column.index, name=column.name)


def parse_decimals(column: pd.Series) -> tuple[pd.Series, Mask]:
    """Texts as float64, NaN for what is none; returns them, and which texts are no number."""
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = pa.array(column)
    try:
        values = cells.cast(pa.float64())
        finite = pc.fill_null(pc.is_finite(values), True)
        if pc.all(finite).as_py():
            return _numbers(values, column, "float64"), np.zeros(len(column), dtype=bool)
    except pa.ArrowInvalid:
        pass
    # Words such as inf and nan are no number either; a number beyond the range of float64 becomes infinite.
    fits = pc.fill_null(pc.match_substring_regex(cells, f"{DECIMAL}|{SCIENTIFIC}"), False)
    values = pc.if_else(fits, cells, None).cast(pa.float64())
    return _numbers(values, column, "float64"), _to_mask(pc.and_(cells.is_valid(), pc.invert(fits)))


def parse_integers(column: pd.Series) -> tuple[pd.Series, Mask, Mask, Mask]:
    """Texts as int64, every digit of them; null for what is none.

    Returns:
        The integers, and which texts are no number, have a fraction or an exponent, and are beyond int64.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = pa.array(column)
    none = np.zeros(len(column), dtype=bool)
    # Arrow takes 0x10 for 16, so the letters are looked at first.
    if pc.all(pc.fill_null(pc.match_substring_regex(cells, r"^-?\d{1,18}$"), True)).as_py():
        return _numbers(cells.cast(pa.int64()), column, "int64"), none, none, none
    whole = pc.match_substring_regex(cells, f"{WHOLE}|{WHOLE_WITH_POINT}")
    number = pc.match_substring_regex(cells, f"{DECIMAL}|{SCIENTIFIC}")
    whole, number = pc.fill_null(whole, False), pc.fill_null(number, False)
    digits = pc.replace_substring_regex(pc.if_else(whole, cells, None), r"\.0*$", "")
    digits = pc.replace_substring_regex(digits, r"^\+?(-?)0*(\d)", r"\1\2")
    short = pc.fill_null(pc.match_substring_regex(digits, r"^-?\d{1,19}$"), False)
    # Nineteen digits fit or do not; as decimals they can be compared before they are cast.
    exact = pc.if_else(short, digits, None).cast(pa.decimal128(19, 0))
    fits = pc.fill_null(
        pc.and_(
            pc.less_equal(exact, pa.scalar(2**63 - 1, pa.decimal128(19, 0))),
            pc.greater_equal(exact, pa.scalar(-(2**63), pa.decimal128(19, 0))),
        ),
        False,
    )
    values = pc.if_else(fits, exact, None).cast(pa.int64())
    no_number = _to_mask(pc.and_(cells.is_valid(), pc.invert(number)))
    fraction = _to_mask(pc.and_(number, pc.invert(whole)))
    return _numbers(values, column, "int64"), no_number, fraction, _to_mask(whole) & ~_to_mask(fits)


def guessed_kind(column: pd.Series) -> str:
    """What a column of texts, NaN where one is missing, holds: null, int, long, float, bool or str.

    A whole number of 16 digits or more (`long`) does not fit into a float, and so not beside a missing one.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = pa.array(column).drop_null()
    if not len(cells):
        return "null"

    def holds(pattern: str) -> bool:
        return bool(pc.all(pc.match_substring_regex(cells, pattern)).as_py())

    if holds(r"^-?(0|[1-9]\d{0,17})$"):
        has_long = bool(pc.any(pc.match_substring_regex(cells, r"\d{16}")).as_py())
        kind = "long" if has_long else "int"
        return kind if len(cells) == len(column) else join_kinds({kind, "null"})
    if holds(rf"^-?((0|[1-9]\d*)(\.\d*)?|\.\d+)$|{EXPONENT_OF_A_FLOAT}"):
        return "str" if pc.any(pc.match_substring_regex(cells, r"^-?\d{16,}$")).as_py() else "float"
    return "bool" if holds(r"^(true|false|True|False|TRUE|FALSE)$") else "str"


def join_kinds(kinds: set[str]) -> str:
    """The kind of a column whose pieces have these kinds."""
    if kinds <= {"int", "long"}:
        return "int"
    if len(kinds) == 1:
        return kinds.pop()
    if kinds <= {"int", "float", "null"}:
        return "float"
    return "bool" if kinds == {"bool", "null"} else "str"


def as_kind(column: pd.Series, kind: str, words: frozenset[str]) -> pd.Series:
    """A column of texts as one of the kinds of `guessed_kind`, with what is in `words` as missing."""
    import pandas as pd

    if kind == "str":
        return blank_missing(column, words, trimmed=False)
    cells = blank_missing(column, words, trimmed=True)
    if kind in ("int", "long"):
        return parse_integers(cells)[0]
    if kind == "bool":
        flags = cells.str.lower().map({"true": True, "false": False})
        return flags if flags.isna().any() else pd.Series(flags.astype(bool))
    return parse_decimals(cells)[0]


def guess_types(frame: pd.DataFrame, texts: frozenset[str], words: frozenset[str]) -> pd.DataFrame:
    """Cells as numbers where a column holds nothing else, as a `prepare` of a model file without `reading` expects.

    Columns named in `texts` stay text: the contract says what they are. Texts such as 02139 and 1E3 are no numbers.
    """
    columns = {}
    for name in frame.columns:
        column = frame[name]
        if is_text(column):
            kind = "str" if name in texts else guessed_kind(blank_missing(column, words, trimmed=True))
            column = as_kind(column, kind, words)
        columns[name] = column
    return frame.assign(**columns)


def _numbers(values: pa.Array, column: pd.Series, dtype: str) -> pd.Series:
    import pandas as pd

    if dtype == "int64" and values.null_count:
        is_null = _to_mask(values.is_null())
        filled = values.fill_null(0).to_numpy(zero_copy_only=False)
        return pd.Series(pd.arrays.IntegerArray(filled.copy(), is_null), index=column.index, name=column.name)
    return pd.Series(values.to_numpy(zero_copy_only=False), index=column.index, name=column.name)


def _to_mask(values: pa.Array) -> Mask:
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=bool)
