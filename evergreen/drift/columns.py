"""One column of a drift report: what plain rules say of it, the bins that it is scored by, and its verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from evergreen.data.frames import to_float64, to_text
from evergreen.drift import significance
from evergreen.drift.binning import CATEGORIES, DECILES, categories, deciles, fair_categories
from evergreen.ledger.drift_scores import ColumnDrift, ColumnKind
from evergreen.spec.monitoring import DriftThresholds
from evergreen.verdicts import Verdict

if TYPE_CHECKING:
    import pandas as pd

MIN_BINS = 4


@dataclass(frozen=True, slots=True)
class ColumnInspection:
    """A column after the plain rules.

    Attributes:
        problems: what is wrong with it whatever its score.
        doubts: what would be wrong, were it not to be expected by chance.
        bins: what is to be scored, reference and current; None where there is nothing to score.
        values: what the bins were cut from, where there are bins.
    """

    column: ColumnDrift
    problems: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    bins: tuple[pd.Series, pd.Series] | None = None
    values: tuple[pd.Series, pd.Series] | None = None


def inspect_column(
    name: str,
    kind: ColumnKind,
    reference: pd.DataFrame,
    current: pd.DataFrame,
    thresholds: DriftThresholds,
    level: float,
) -> ColumnInspection:
    """Judge one column by the plain rules, and cut it into bins where it can be scored."""
    column = ColumnDrift(name, kind, Verdict.INCONCLUSIVE, None, "missing", None, 0.0, 0.0, 0.0, "")
    if name not in current:
        return ColumnInspection(replace(column, missing_current=1.0), ("missing from the current rows",))
    if name not in reference:
        return ColumnInspection(replace(column, missing_reference=1.0, reason="missing from the reference rows"))
    try:
        old = _plain(reference[name], kind)
    except (TypeError, ValueError):
        return ColumnInspection(
            replace(column, method="type", reason="the reference holds something else than numbers")
        )
    try:
        new = _plain(current[name], kind)
    except (TypeError, ValueError):
        return ColumnInspection(replace(column, method="type"), ("the current rows hold something else than numbers",))
    return _inspect(column, old, new, thresholds, level)


def _inspect(
    column: ColumnDrift, old: pd.Series, new: pd.Series, thresholds: DriftThresholds, level: float
) -> ColumnInspection:
    """Judge what a score cannot see, and cut into bins what it can."""
    known, values = old.dropna(), new.dropna()
    column = replace(
        column,
        missing_reference=float(old.isna().mean()),
        missing_current=float(new.isna().mean()),
        unseen=_unseen(known, values, column.kind),
    )
    problems, doubts = _check(column, old, new, thresholds, level)
    if known.empty or values.empty:
        reason = "no value to compare" + (" with" if known.empty else "")
        return ColumnInspection(replace(column, reason=reason), problems, doubts)
    if known.nunique() == 1:
        scored = replace(column, score=column.unseen, method="unseen", threshold=thresholds.unseen)
        return ColumnInspection(scored, problems, doubts)

    sizes = len(known), len(values)
    cut, most = (deciles, DECILES) if column.kind == "numeric" else (categories, CATEGORIES)
    bins = cut(known, values, _bin_count(sizes, thresholds, most, level))
    column = replace(column, method=thresholds.method, threshold=thresholds.threshold)
    pair = bins[0].reindex(old.index), bins[1].reindex(new.index)
    return ColumnInspection(column, problems, doubts, pair, (known, values))


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


def _check(
    column: ColumnDrift, old: pd.Series, new: pd.Series, thresholds: DriftThresholds, level: float
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is wrong with a column whatever its score, and what chance may have brought about."""
    suspicions: list[tuple[str, float]] = []
    if column.missing_current > column.missing_reference + thresholds.missing:
        gaps = int(new.isna().sum()), len(new), int(old.isna().sum()), len(old)
        words = f"missing or infinite in {column.missing_current:.1%} of the current rows"
        suspicions.append(
            (f"{words} and in {column.missing_reference:.1%} of the reference", significance.fisher_pvalue(*gaps))
        )
    # Where the reference is empty, a few stray values are no drift: what counts is how many rows hold one.
    if column.unseen * (1 - column.missing_current if column.missing_reference == 1 else 1) > thresholds.unseen:
        words = f"{column.unseen:.1%} of the current values are unknown to the reference"
        suspicions.append((words, _unknown_pvalue(column, old.dropna(), new.dropna(), len(old), len(new))))
    problems = tuple(words for words, p in suspicions if p <= level)
    return problems, tuple(f"{words}, {_by_chance(p, level)}" for words, p in suspicions if p > level)


def _unknown_pvalue(column: ColumnDrift, known: pd.Series, values: pd.Series, old: int, new: int) -> float:
    """The p-value of so many unknown values.

    Compared with the values that the reference holds only once, which the rest of it does not know either (Good 1953,
    Biometrika 40). Where most of them are such, the column is an identifier: that is told, not excused.
    """
    if known.empty:
        return significance.fisher_pvalue(len(values), new, 0, old)
    once = 0 if column.kind == "numeric" else int((known.value_counts() == 1).sum())
    unknown = round(column.unseen * len(values))
    return significance.fisher_pvalue(unknown, len(values), once if 2 * once <= len(known) else 0, len(known))


def _bin_count(sizes: tuple[int, int], thresholds: DriftThresholds, most: int, level: float) -> int:
    """The largest number of bins at which chance does not reach the threshold; small windows get fewer."""
    for bins in range(most, MIN_BINS, -1):
        if significance.score_bound(bins, sizes, thresholds.method, level) <= thresholds.threshold:
            return bins
    return MIN_BINS


def _by_chance(p: float, level: float) -> str:
    return f"which so few rows may reach by chance (p {p:.2g}, and at most {level:.2g} counts)"


def column_verdict(
    inspection: ColumnInspection, score: float | None, error: str | None, thresholds: DriftThresholds, level: float
) -> ColumnDrift:
    """One column's verdict, from the guards and its score."""
    column, problems, doubts = inspection.column, list(inspection.problems), list(inspection.doubts)
    verdict, reason = Verdict.PASS, column.reason
    if inspection.bins is None:
        verdict = Verdict.INCONCLUSIVE if column.score is None else Verdict.PASS
        reason = reason or f"the reference is constant, and {column.unseen:.1%} of the current values differ from it"
    elif error is not None or score is None or not math.isfinite(score):
        verdict = Verdict.INCONCLUSIVE
        reason = f"{thresholds.method} could not be computed ({error or 'not a number'})"
    else:
        column = replace(column, score=score)
        reason = f"{thresholds.method} {score:.3f}, at most {thresholds.threshold:g}"
        if score > thresholds.threshold:
            reason = f"{thresholds.method} {score:.3f} is above {thresholds.threshold:g}"
            p = _pvalue(inspection, thresholds, level)
            (problems if p <= level else doubts).insert(
                0, reason if p <= level else f"{reason}, {_by_chance(p, level)}"
            )
    if problems:
        return replace(column, verdict=Verdict.FAIL, reason="; ".join(problems))
    if doubts:
        return replace(column, verdict=Verdict.INCONCLUSIVE, reason="; ".join(doubts))
    return replace(column, verdict=verdict, reason=reason)


def _pvalue(inspection: ColumnInspection, thresholds: DriftThresholds, level: float) -> float:
    """The p-value of a column's bins, or of the category that grew the most."""
    if inspection.bins is None or inspection.values is None:
        return 1.0
    if inspection.column.kind == "numeric":
        return significance.g_test_pvalue(*inspection.bins)
    known, values = inspection.values
    bins = _bin_count((len(known), len(values)), thresholds, CATEGORIES, level)
    return min(
        significance.g_test_pvalue(*fair_categories(known, values, bins)),
        significance.largest_growth_pvalue(known, values),
    )
