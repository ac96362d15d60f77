"""What the texts of a file mean: which words stand for missing values, and how numbers are written in each column.

The findings become the `reading` of the model file, where a person sees and corrects them.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evergreen.data.column_names import plain_names
from evergreen.data.totals import TOTAL_WORDS
from evergreen.data.written_text import (
    ACCOUNTING_NEGATIVE,
    MINUS,
    MINUS_BEHIND,
    MISSING_BEFORE,
    as_kind,
    blank_missing,
    guessed_kind,
    is_text,
    plain_number,
    repeats_header,
)
from evergreen.model_files.column_types import MAX_NON_NUMERIC, quote_name
from evergreen.spec.data import Notation, Reading

if TYPE_CHECKING:
    import pandas as pd

DOUBTFUL_WORDS = frozenset({"NA", "None", "-", "--", "?", ".", "n.a.", "N.A.", "k.A."})
"""Words that mean a missing value among numbers, and may mean themselves among texts: Namibia, a plan called None."""

SURE_WORDS = MISSING_BEFORE - DOUBTFUL_WORDS - {""}

COMMON_WORDS = ("N/A", "NULL", "NaN", "n/a", "nan", "null")
"""The sure words that programs write most; a model file names them whether or not they occur so far."""

_SENTINEL = re.compile(r"-?(9{2,}|9{2,}\.9+|1|32768|2147483648)")

_SPACES = " \u00a0\u202f"
_MARK = r"([^\d\s.,+'-]{0,3})"
_SIGN = re.compile(rf"^[+-]?{_MARK}[{_SPACES}]?[+-]?[\d.][\d.,'{_SPACES}]*?[{_SPACES}]?{_MARK}$")
_CURRENCIES = frozenset(
    {"EUR", "USD", "GBP", "CHF", "JPY", "CNY", "INR", "SEK", "NOK", "DKK", "PLN", "CZK", "kr", "Fr"}
)


@dataclass(frozen=True, slots=True, eq=False)
class Recognised:
    """The rows with their values as they are meant.

    Attributes:
        rows: numbers where a column holds numbers, texts elsewhere.
        reading: how the values are written.
        notes: what a person should know, one line each.
        texts: the columns whose cells are texts of a file, whatever they mean.
    """

    rows: pd.DataFrame
    reading: Reading
    notes: tuple[str, ...]
    texts: frozenset[str] = frozenset()


def recognise(frame: pd.DataFrame) -> Recognised:
    """Find out what the texts of a frame mean; columns that are typed already stay as they are."""
    frame = frame.set_axis(plain_names(list(frame.columns)), axis=1)
    texts = [name for name in frame.columns if is_text(frame[name])]
    notes: list[str] = []
    if texts and _has_units(frame, texts):
        frame = frame.iloc[1:].reset_index(drop=True)
        notes.append("row 1 holds units, no values: it will go to quarantine")
    if (again := repeats_header(frame)).any():
        notes.append(f"row {int(again.argmax()) + 1} is the header again: such rows will go to quarantine")
        frame = frame[~again].reset_index(drop=True)
    has_totals = bool(texts) and _has_totals(frame, texts)
    if has_totals:
        notes.append(
            f"row {len(frame)}, the last of them, looks like a total: it was left out, and such rows are refused"
        )
        frame = frame.iloc[:-1]
    every_word = frozenset(("", *SURE_WORDS, *DOUBTFUL_WORDS))
    numbers: dict[str, Notation] = {}
    kinds: dict[str, str] = {}
    for name in texts:
        cells = blank_missing(frame[name], every_word, trimmed=True)
        kinds[name] = guessed_kind(cells)
        if kinds[name] == "str" and (notation := find_notation(cells, str(name), notes)) is not None:
            numbers[str(name)], kinds[name] = notation, "number"
    missing = _missing_words(frame, kinds, notes)
    words = frozenset(("", *missing))
    columns = {}
    for name, kind in kinds.items():
        if kind == "number":
            plain = plain_number(blank_missing(frame[name], words, trimmed=True), numbers[str(name)])
            columns[name] = as_kind(plain, guessed_kind(plain), words)
        else:
            columns[name] = as_kind(frame[name], kind, words)
    rows = frame.assign(**columns)
    notes += _find_sentinels(rows)
    # Words that always mean a missing value are named before they come, so that no later file is refused for them.
    words_to_come = sorted({*missing, *(COMMON_WORDS if texts else ())})
    reading = Reading(missing=tuple(words_to_come), numbers=numbers, refuse_totals=has_totals)
    return Recognised(rows, reading, tuple(notes), frozenset(map(str, texts)))


def find_notation(cells: pd.Series, name: str, notes: list[str]) -> Notation | None:
    """How the numbers of a column of texts are written; None where it holds none.

    What was found is added to `notes`, with three values.
    """
    present = cells.dropna()
    sample = present.drop_duplicates().head(5_000)
    if not len(sample) or not sample.str.contains(r"\d", regex=True).all():
        return None
    plain = sample.str.replace(ACCOUNTING_NEGATIVE, r"-\1", regex=True)
    signs = plain.str.replace(MINUS_BEHIND, r"-\1", regex=True).str.replace(MINUS, "-").str.extract(_SIGN)
    marks = sorted({str(mark) for column in signs for mark in signs[column].dropna() if mark}, key=len, reverse=True)
    if not all(map(_is_sign, marks)):
        return None
    fitting = [notation for notation in _candidates(tuple(marks)) if _fits(sample, notation)]
    if not fitting:
        return None
    found = fitting[0]
    telling = sample[~sample.str.fullmatch(r"[+-]?\d+(\.\d+)?")]
    shown = ", ".join(quote_name(value) for value in telling.head(3))
    meant = plain_number(sample, found)
    rivals = [other for other in fitting[1:] if not plain_number(sample, other).equals(meant)]
    doubt = " (it could be a decimal comma as well: check it)" if rivals else ""
    notes.append(
        f"{quote_name(name)} holds numbers {_describe(found)}, such as {shown}{doubt}: see Reading in the file"
    )
    return found


def _is_sign(mark: str) -> bool:
    """Whether a text beside digits is a currency or a percent sign; the letter of a code such as A12 is not."""
    return mark in _CURRENCIES or all(unicodedata.category(letter) == "Sc" or letter in "%‰" for letter in mark)


def _candidates(marks: tuple[str, ...]) -> list[Notation]:
    """The notations to try, the plainest first; grouped digits before decimals, because 5,676 is rarely 5.676."""
    plain = [Notation(remove=marks)]
    groups = [Notation(decimal=".", thousands=group, remove=marks) for group in (",", " ", "'", "\u00a0", "\u202f")]
    commas = [Notation(decimal=",", thousands=group, remove=marks) for group in ("", ".", " ", "'", "\u00a0", "\u202f")]
    return [*plain, *groups, *commas]


def _fits(sample: pd.Series, notation: Notation) -> bool:
    """Whether nearly all texts are numbers in a notation, none with a leading zero as codes have it."""
    marks = [mark for mark in (notation.thousands, "," if notation.decimal == "," else "", *notation.remove) if mark]
    if not marks and not sample.str.match(f"{MINUS_BEHIND}|{MINUS}").any():
        return False
    if marks and not sample.map(lambda text: any(mark in text for mark in marks)).any():
        return False
    plain = plain_number(sample, notation)
    is_number = plain.str.fullmatch(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)")
    if notation.thousands:
        # 1234 beside 1,234 says that the comma does not group digits; 0,123 is a fraction.
        is_number &= ~sample.str.contains(r"(?<!\d)0[,.' ]\d{3}(?!\d)", regex=True)
        body = sample.str.replace(r"[^\d.,' ]", "", regex=True)
        ungrouped = body.str.match(r"\d{4,}")
        is_number &= ~ungrouped
    return bool((~is_number).mean() <= MAX_NON_NUMERIC)


def _describe(notation: Notation) -> str:
    parts = []
    if notation.decimal == ",":
        parts.append("a decimal comma")
    if notation.thousands:
        parts.append(f"{notation.thousands!r} between thousands")
    if notation.remove:
        parts.append(f"a sign ({' '.join(notation.remove)})")
    return f"with {' and '.join(parts or ['a minus of another kind'])}"


def _missing_words(frame: pd.DataFrame, kinds: dict[str, str], notes: list[str]) -> list[str]:
    """The words that stand for missing values: the sure ones, and the doubtful ones that stand among numbers."""
    counts: dict[str, dict[str, int]] = {}
    for name in kinds:
        cells = blank_missing(frame[name], frozenset(), trimmed=True)
        found = cells[cells.isin(SURE_WORDS | DOUBTFUL_WORDS)].value_counts()
        for word in found.index:
            counts.setdefault(str(word), {})[name] = int(found[word])
    missing = [
        word
        for word, columns in sorted(counts.items())
        if word in SURE_WORDS or any(kinds[name] not in ("str", "null") for name in columns)
    ]
    for word, columns in sorted(counts.items()):
        count = sum(columns.values())
        where = f"{count:,} cell{'' if count == 1 else 's'} of {', '.join(map(quote_name, columns))}"
        if word in missing:
            notes.append(f"{word!r} in {where} is taken for missing: see Reading in the file")
        else:
            notes.append(f"{word!r} in {where} is kept as text; if it means missing, add it to Reading(missing=...)")
    return missing


def _find_sentinels(rows: pd.DataFrame) -> list[str]:
    """Numbers that stand for missing ones, such as -999: far from all others, further than these from each other."""
    import pandas as pd

    notes = []
    for name in rows.columns:
        if not pd.api.types.is_numeric_dtype(rows[name].dtype) or pd.api.types.is_bool_dtype(rows[name].dtype):
            continue
        counts = rows[name].value_counts()
        for value in (counts.index.min(), counts.index.max()) if len(counts) > 10 else ():
            others = counts.index[counts.index != value]
            gap = min(abs(float(others.min()) - float(value)), abs(float(others.max()) - float(value)))
            if _SENTINEL.fullmatch(f"{value:.10g}") and counts[value] > 1 and gap > float(others.max() - others.min()):
                notes.append(
                    f"{value:.10g} in {counts[value]:,} cells of {quote_name(str(name))} is far from all others; if it "
                    f"means missing, add it to Reading(missing=...) as the file writes it"
                )
    return notes


def _has_units(frame: pd.DataFrame, texts: list[str]) -> bool:
    """Whether the first row holds texts above columns of numbers, and no number at all."""
    if len(frame) < 3 or frame[texts].iloc[0].str.contains(r"\d$", regex=True, na=False).any():
        return False
    words = frozenset(("", *SURE_WORDS, *DOUBTFUL_WORDS))
    above = blank_missing(frame[texts].iloc[0], words, trimmed=True)
    # The last row may be a total.
    below = {name: blank_missing(frame[name].iloc[1:-1], words, trimmed=True) for name in texts}
    return any(isinstance(above[name], str) and _are_numbers(cells) for name, cells in below.items())


def _has_totals(frame: pd.DataFrame, texts: list[str]) -> bool:
    """Whether the last row sums up the others: it is called so, or lacks what no other row lacks."""
    if len(frame) < 30:
        return False
    last = frame[texts].iloc[-1].str.strip()
    is_empty = last.isin(["", "-"])
    is_never_empty = ~frame[texts].iloc[:-1].apply(lambda cells: cells.str.strip().isin(["", "-"])).any()
    lacking = int((is_empty & is_never_empty).sum())
    called_so = last.str.fullmatch(TOTAL_WORDS).fillna(False) & ~frame[texts].iloc[:-1].isin(list(last)).any()
    return lacking > 0 and (bool(called_so.any()) or 2 * lacking >= len(texts))


def _are_numbers(cells: pd.Series) -> bool:
    return guessed_kind(cells) in ("int", "float") or find_notation(cells, "", []) is not None
