"""The features of a model, inferred from the columns of data: the type of each, or why it is left out.

A feature may be missing in any later row, be a decimal where all were whole, or have a new category: the pipeline takes
all of this, and the drift report tells of it. So that no file is refused for it, every number that is no key is a
decimal, every feature may be missing, and a flag of a text file is a category like yes and no.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evergreen.model_files.column_types import Column, as_numbers, dtype_kind, rows_text, time_layouts
from evergreen.model_files.target import Target

if TYPE_CHECKING:
    import pandas as pd

MAX_CATEGORIES = 100
"""A text column with more distinct values than this is encoded by the target; with codes, trees find little in it."""

MIN_REPEATS = 3
"""A value of fewer rows says nothing of the target that another row could use."""

MIN_WORDS = 4
"""Texts of which most have this many words are sentences, and no names of their rows."""

ID_WORDS = frozenset(("id", "ids", "uuid", "guid", "key", "pk", "index", "rowid", "rownum", "unnamed", "no", "nr"))

FREE_TEXT = "free text"

GROWS = "an identifier: the numbers grow from row to row, and none comes twice"

MIN_RUNNING = 20
"""Fewer rows may be in the order of any column by chance."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A column that is no feature, and why.

    Attributes:
        name: of the column.
        why: the reason.
        identifies: it is different in every row, so that it may be a key.
        only_grows: nothing but that its numbers grow from row to row speaks against it.
    """

    name: str
    why: str
    identifies: bool = False
    only_grows: bool = False


def infer_feature(raw: pd.Series, target: pd.Series, inferred: Target, *, is_text: bool) -> Column | LeftOut:
    """Infer what a column is as a feature, or why it is none.

    `is_text` says that its cells are texts of a file, whatever they mean.
    """
    name, kind = str(raw.name), dtype_kind(raw)
    if why := _useless_reason(raw, target, inferred):
        return LeftOut(name, why)
    if as_numbers(raw) is not None:
        if why := _identifier_reason(raw, name, kind):
            return LeftOut(name, why, identifies=True, only_grows=why == GROWS)
        # From 2^53 on a decimal would lose digits.
        is_long = kind == "i" and bool(raw.abs().max() >= 2**53)
        return Column(name, "int" if is_long else "float", nullable=True)
    if kind == "b":
        return Column(name, "str" if is_text else "bool", nullable=True)
    if not (why := _no_category_reason(raw)):
        return Column(name, "str", nullable=True)
    return LeftOut(name, why, identifies=raw.is_unique and not why.startswith(FREE_TEXT))


def _useless_reason(raw: pd.Series, target: pd.Series, inferred: Target) -> str:
    """Why nothing can be learned from a column of any type; empty if something can."""
    distinct = int(raw.nunique())
    if distinct + bool(raw.isna().any()) < 2:
        return "it is the same in every row" if distinct else "it is missing in every row"
    if _copies_target(raw, target, inferred):
        return "it says the same as the target in every row, which is not known beforehand"
    return ""


def _no_category_reason(raw: pd.Series) -> str:
    """Why a column of text is no category; empty if it is one."""
    text, distinct = raw.dropna().astype("object").map(str), int(raw.nunique())
    if time_layouts(text):
        return "a time; derive a feature from it in prepare() to use it, or take it for the time of a row with --time"
    if distinct > len(raw) / 2 or (distinct > MAX_CATEGORIES and _is_seldom_repeated(text)):
        many = f"{distinct:,} different texts in {rows_text(len(raw))}"
        if text.str.count(r"\S+").median() >= MIN_WORDS:
            return f"{FREE_TEXT}: {many}; see Text in docs/model-files.md"
        return f"{'an identifier' if distinct == len(raw) else 'identifiers or free text'}: {many}"
    if distinct > MAX_CATEGORIES and _runs_on(text):
        return f"identifiers that run on: most of the last rows have a value that none before them has ({distinct:,})"
    return ""


def _is_seldom_repeated(text: pd.Series) -> bool:
    """Whether most rows have a value that fewer than `MIN_REPEATS` rows have."""
    counts = text.value_counts()
    return bool(counts[counts >= MIN_REPEATS].sum() < len(text) / 2)


def _runs_on(text: pd.Series) -> bool:
    """Whether most rows of the last quarter have a value that is new there, as the numbers of invoices are."""
    cut = len(text) * 3 // 4
    return bool(text.iloc[cut:].isin(set(text.iloc[:cut])).mean() < 0.5)


def _identifier_reason(raw: pd.Series, name: str, kind: str) -> str:
    """Why a column of numbers only names or counts its rows; empty if it does not."""
    if kind not in "iu" or raw.nunique() < len(raw):
        return ""
    words = {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}
    if words & ID_WORDS:
        return "an identifier: every row has its own number"
    grows = len(raw) >= MIN_RUNNING and bool(raw.is_monotonic_increasing)
    return GROWS if grows else ""


def _copies_target(raw: pd.Series, target: pd.Series, inferred: Target) -> bool:
    """Whether a column is the target under another name: equal, or with exactly one value for each class."""
    has_target = target.notna()
    column, target = raw[has_target], target[has_target]
    if column.isna().any():
        return False
    numbers, target_numbers = as_numbers(column), as_numbers(target)
    if numbers is not None and target_numbers is not None and bool((numbers == target_numbers).all()):
        return True
    if inferred.task == "regression" or column.nunique() != len(inferred.classes):
        return False
    column_text, target_text = column.astype("object").map(str), target.astype("object").map(str)
    if bool((column_text == target_text).all()):
        return True
    pairs = (column_text.str.len().astype(str) + ":" + column_text + target_text).nunique()
    # Two values can agree with two classes by chance if there are few rows.
    return pairs == len(inferred.classes) and (pairs > 2 or min(rows for _, rows in inferred.classes) >= 20)
