"""One column of a drift report: what is wrong with it at sight, the cells it is scored by, and its verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from evergreen.data.frames import to_float64, to_text
from evergreen.drift import significance
from evergreen.drift.binning import CATEGORIES, DECILES, categories, deciles, fair_categories
from evergreen.ledger.drift_scores import ColumnDrift, ColumnKind
from evergreen.spec.monitoring import DriftPolicy
from evergreen.verdicts import Verdict

if TYPE_CHECKING:
    import pandas as pd

FEWEST_CELLS = 4


@dataclass(frozen=True, slots=True)
class Look:
    """A column after the guards.

    Attributes:
        problems: what is wrong with it already.
        doubts: what would be, were it not to be expected by chance.
        cells: what is to be scored, if anything.
        values: what the cells were cut from, where there are cells.
    """

    column: ColumnDrift
    problems: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    cells: tuple[pd.Series, pd.Series] | None = None
    values: tuple[pd.Series, pd.Series] | None = None


def look(
    name: str, kind: ColumnKind, reference: pd.DataFrame, current: pd.DataFrame, policy: DriftPolicy, level: float
) -> Look:
    """Put one column through the guards, and cut it into cells if it gets through."""
    column = ColumnDrift(name, kind, Verdict.INCONCLUSIVE, None, "missing", None, 0.0, 0.0, 0.0, "")
    if name not in current:
        return Look(replace(column, missing_current=1.0), ("missing from the current rows",))
    if name not in reference:
        return Look(replace(column, missing_reference=1.0, reason="missing from the reference rows"))
    try:
        old = _plain(reference[name], kind)
    except (TypeError, ValueError):
        return Look(replace(column, method="type", reason="the reference holds something else than numbers"))
    try:
        new = _plain(current[name], kind)
    except (TypeError, ValueError):
        return Look(replace(column, method="type"), ("the current rows hold something else than numbers",))
    return _guarded(column, old, new, policy, level)


def _guarded(column: ColumnDrift, old: pd.Series, new: pd.Series, policy: DriftPolicy, level: float) -> Look:
    """Judge what a score cannot see, and cut into cells what it can."""
    known, values = old.dropna(), new.dropna()
    column = replace(
        column,
        missing_reference=float(old.isna().mean()),
        missing_current=float(new.isna().mean()),
        unseen=_unseen(known, values, column.kind),
    )
    problems, doubts = _findings(column, old, new, policy, level)
    if known.empty or values.empty:
        reason = "no value to compare" + (" with" if known.empty else "")
        return Look(replace(column, reason=reason), problems, doubts)
    if known.nunique() == 1:
        scored = replace(column, score=column.unseen, method="unseen", threshold=policy.unseen)
        return Look(scored, problems, doubts)

    sizes = len(known), len(values)
    cut, most = (deciles, DECILES) if column.kind == "numeric" else (categories, CATEGORIES)
    cells = cut(known, values, _cells(sizes, policy, most, level))
    column = replace(column, method=policy.method, threshold=policy.threshold)
    pair = cells[0].reindex(old.index), cells[1].reindex(new.index)
    return Look(column, problems, doubts, pair, (known, values))


def _plain(column: pd.Series, kind: ColumnKind) -> pd.Series:
    """A column as float64 or text under a plain index; infinite values count as missing."""
    plain = to_float64(column) if kind == "numeric" else to_text(column)
    plain = plain.mask(np.isinf(plain)) if kind == "numeric" else plain
    return plain.reset_index(drop=True)


def _unseen(known: pd.Series, values: pd.Series, kind: ColumnKind) -> float:
    """Share of the values that the reference does not hold; of varying numbers nothing is ever unseen."""
    if values.empty or (kind == "numeric" and known.nunique() > 1):
        return 0.0
    return float((~values.isin(known.unique())).mean())


def _findings(
    column: ColumnDrift, old: pd.Series, new: pd.Series, policy: DriftPolicy, level: float
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is wrong with a column whatever its score, and what chance may have done to it."""
    found: list[tuple[str, float]] = []
    if column.missing_current > column.missing_reference + policy.missing:
        gaps = int(new.isna().sum()), len(new), int(old.isna().sum()), len(old)
        told = f"missing or infinite in {column.missing_current:.1%} of the current rows"
        found.append((f"{told} and in {column.missing_reference:.1%} of the reference", significance.of_rise(*gaps)))
    # Where the reference is empty, a few stray values are no drift: what counts is how many rows hold one.
    if column.unseen * (1 - column.missing_current if column.missing_reference == 1 else 1) > policy.unseen:
        told = f"{column.unseen:.1%} of the current values are unknown to the reference"
        found.append((told, _strangers(column, old.dropna(), new.dropna(), len(old), len(new))))
    problems = tuple(told for told, p in found if p <= level)
    return problems, tuple(f"{told}, {_by_chance(p, level)}" for told, p in found if p > level)


def _strangers(column: ColumnDrift, known: pd.Series, values: pd.Series, old: int, new: int) -> float:
    """The p-value of so many unknown values.

    Compared with the values that the reference holds only once, which the rest of it does not know either (Good 1953,
    Biometrika 40). Where most of them are such, the column is an identifier: that is told, not excused.
    """
    if known.empty:
        return significance.of_rise(len(values), new, 0, old)
    once = 0 if column.kind == "numeric" else int((known.value_counts() == 1).sum())
    unknown = round(column.unseen * len(values))
    return significance.of_rise(unknown, len(values), once if 2 * once <= len(known) else 0, len(known))


def _cells(sizes: tuple[int, int], policy: DriftPolicy, most: int, level: float) -> int:
    """The finest cut at which chance does not reach the threshold; small windows are cut more coarsely."""
    for cells in range(most, FEWEST_CELLS, -1):
        if significance.score_bound(cells, sizes, policy.method, level) <= policy.threshold:
            return cells
    return FEWEST_CELLS


def _by_chance(p: float, level: float) -> str:
    return f"which so few rows may reach by chance (p {p:.2g}, and at most {level:.2g} counts)"


def judged(found: Look, score: float | None, error: str | None, policy: DriftPolicy, level: float) -> ColumnDrift:
    """One column's verdict, from the guards and its score."""
    column, problems, doubts = found.column, list(found.problems), list(found.doubts)
    verdict, reason = Verdict.PASS, column.reason
    if found.cells is None:
        verdict = Verdict.INCONCLUSIVE if column.score is None else Verdict.PASS
        reason = reason or f"the reference is constant, and {column.unseen:.1%} of the current values differ from it"
    elif error is not None or score is None or not math.isfinite(score):
        verdict = Verdict.INCONCLUSIVE
        reason = f"{policy.method} could not be computed ({error or 'not a number'})"
    else:
        column = replace(column, score=score)
        reason = f"{policy.method} {score:.3f}, at most {policy.threshold:g}"
        if score > policy.threshold:
            reason = f"{policy.method} {score:.3f} is above {policy.threshold:g}"
            p = _likelihood(found, policy, level)
            (problems if p <= level else doubts).insert(
                0, reason if p <= level else f"{reason}, {_by_chance(p, level)}"
            )
    if problems:
        return replace(column, verdict=Verdict.FAIL, reason="; ".join(problems))
    if doubts:
        return replace(column, verdict=Verdict.INCONCLUSIVE, reason="; ".join(doubts))
    return replace(column, verdict=verdict, reason=reason)


def _likelihood(found: Look, policy: DriftPolicy, level: float) -> float:
    """How likely chance alone is to bring about a column's cells, or the category that grew the most."""
    if found.cells is None or found.values is None:
        return 1.0
    if found.column.kind == "numeric":
        return significance.of_cells(*found.cells)
    known, values = found.values
    cells = _cells((len(known), len(values)), policy, CATEGORIES, level)
    return min(significance.of_cells(*fair_categories(known, values, cells)), significance.of_growth(known, values))
