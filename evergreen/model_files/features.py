"""The features of a model, inferred from the columns of data: the type of each, or why it is left out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evergreen.model_files.column_types import Column, as_numbers, dtype_kind, quote_name, rows_text, time_layouts
from evergreen.model_files.target import MAX_CATEGORIES, Target

if TYPE_CHECKING:
    import pandas as pd

LEAKAGE_CORRELATION = 0.95
"""From this correlation with the target on, a column may be the target under another name."""

ID_WORDS = frozenset(("id", "ids", "uuid", "guid", "key", "pk", "index", "rowid", "rownum", "unnamed"))


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A column that is no feature, and why; `identifies`: it is different in every row, so that it may be a key."""

    name: str
    why: str
    identifies: bool = False


def infer_feature(
    raw: pd.Series, target: pd.Series, inferred: Target, *, has_time: bool, notes: list[str]
) -> Column | LeftOut:
    """Infer what a column is as a feature, or why it is none.

    With a time column (`has_time`), a running number adds nothing. What a person should know is added to `notes`.
    """
    name, nullable, kind = str(raw.name), bool(raw.isna().any()), dtype_kind(raw)
    numbers = as_numbers(raw)
    if why := _useless_reason(raw, target, inferred):
        return LeftOut(name, why)
    if numbers is not None:
        if why := _identifier_reason(raw, name, kind, has_time):
            return LeftOut(name, why, identifies=True)
        _note_leakage(numbers, target, inferred, notes)
        return Column(name, "int" if kind == "i" else "float", nullable)
    if kind == "b":
        return Column(name, "bool", nullable)
    why = _no_category_reason(raw)
    return LeftOut(name, why, identifies=raw.is_unique) if why else Column(name, "str", nullable)


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
        return "a time; derive a feature from it in prepare() to use it"
    if distinct > MAX_CATEGORIES or distinct > len(raw) / 2:
        what = "an identifier" if distinct == len(raw) else "identifiers or free text"
        return f"{what}: {distinct:,} different texts in {rows_text(len(raw))}"
    return ""


def _identifier_reason(raw: pd.Series, name: str, kind: str, has_time: bool) -> str:
    """Why a column of numbers only names or counts its rows; empty if it does not."""
    if kind not in "iu" or raw.nunique() < len(raw):
        return ""
    words = {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}
    if words & ID_WORDS:
        return "an identifier: every row has its own number"
    return "it only counts the rows" if has_time and bool((raw.diff().dropna() == 1).all()) else ""


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


def _note_leakage(numbers: pd.Series, target: pd.Series, inferred: Target, notes: list[str]) -> None:
    """Add a note if a column is nearly the target of a regression."""
    target_numbers = as_numbers(target) if inferred.task == "regression" else None
    if target_numbers is None:
        return
    import numpy as np

    both = np.isfinite(numbers) & np.isfinite(target_numbers)
    x, y = numbers[both].to_numpy(), target_numbers[both].to_numpy()
    if len(x) < 30 or x.std() == 0 or y.std() == 0:
        return
    if abs(float(np.corrcoef(x, y)[0, 1])) >= LEAKAGE_CORRELATION:
        name = quote_name(str(numbers.name))
        notes.append(f"{name} moves with the target: take it out of the features if it is known only afterwards")
