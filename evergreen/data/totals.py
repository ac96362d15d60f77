"""A row that sums up the others: reports write one below, or above, their data."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    import pandas as pd

TOTAL_WORDS = re.compile(r"(?i)(grand |sub)?totals?|sum|summe|gesamt|insgesamt|mittel(wert)?|mean|average|somme|suma")

MIN_ROWS = 30
"""Among fewer rows nothing is unlike all others."""


def find_total(rows: pd.DataFrame, spec: ModelSpec) -> tuple[int, str] | None:
    """Find the row that looks like a total among the rows of a regression.

    Its target lies outside of all others, and it says nothing of the case itself: of its features at least half are
    empty, each in no other row, or one of them is called a total, as no other row is.

    Args:
        rows: checked rows with a target, in the contract's types.
        spec: the model.

    Returns:
        The row's position and why, a clause for a message; None where no row is such.
    """
    if spec.task != "regression" or len(rows) < MIN_ROWS:
        return None
    target = rows[spec.target].astype("float64")
    for position in {int(target.argmax()), int(target.argmin())} if target.notna().any() else ():
        others = target.drop(target.index[position])
        value = float(target.iloc[position])
        if not (value > others.max() or value < others.min()):
            continue
        if why := _says_nothing(rows, spec, position):
            return position, f"{why}, and {spec.target} lies outside of all others"
    return None


def _says_nothing(rows: pd.DataFrame, spec: ModelSpec, position: int) -> str:
    """Why a row says nothing of a case itself; empty if it does."""
    # A batch of labels has none.
    features = [name for name in spec.features.all if name in rows]
    row = rows.iloc[position]
    for name in set(features) & set(spec.features.categorical):
        alike = rows[name] == row[name] if TOTAL_WORDS.fullmatch(str(row[name]).strip()) else None
        if alike is not None and int(alike.sum()) == 1:
            return f"{name} is {str(row[name])[:20]!r}"
    empty = [name for name in features if row.isna()[name] and int(rows[name].isna().sum()) == 1]
    if not empty or 2 * len(empty) < len(features):
        return ""
    shown = ", ".join(empty[:3]) + (" and more" if len(empty) > 3 else "")
    return f"{shown} {'is' if len(empty) == 1 else 'are'} empty in this row alone"
