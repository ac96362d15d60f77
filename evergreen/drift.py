"""Does the current window still look like the rows that the champion was trained on?

Evidently computes the score of every column and draws the report (`evergreen.drift_report`). What reaches it is made
safe here first, because it drops nulls and infinite values unseen, skips columns that it cannot type, and dies of one
empty column. So: missing, infinite, unseen, constant and misplaced values are judged by plain rules, and every column
is cut into cells by the reference: deciles for numbers, the frequent categories for text.

Deciles, because that is what the thresholds of the population stability index were made for, because one outlier
cannot stretch them, and because no cell of the reference is nearly empty. Measured on 300 draws without any shift, 100
current against 20,000 reference rows, threshold 0.25: Evidently's own equal-width bins raise an alarm in up to 10 % of
the columns, 31 % once both sides are clipped to the reference's outer quantiles; the cells made here in at most 1 %,
and a shift of one standard deviation is always found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from evergreen.drift_report import draw
from evergreen.frames import numbers, texts
from evergreen.spec import DriftPolicy
from evergreen.verdicts import Verdict

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["numeric", "categorical"]

ROWS = 20_000
"""Rows compared on either side; more cost time and change a score by less than 0.005."""
DECILES = 10
CATEGORIES = 50
FEWEST_CELLS = 4
FREQUENT = 5
"""Rows expected in a category's cell, at least: Cochran (1954), Biometrics 10(4)."""
ONE_IN_A_THOUSAND = 3.0902
"""The standard normal quantile at 0.999."""
OTHER = "(all other categories)"


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """What was found in one column.

    Attributes:
        verdict: INCONCLUSIVE where it could not be judged.
        score: what was measured; None where nothing could be.
        method: Evidently's name of the score, or the rule that decided without one: `missing`, `type`, `unseen`.
        threshold: a score above this fails; None without a score.
        missing_reference: share of missing or infinite values, 0 to 1.
        missing_current: likewise, in the current rows.
        unseen: share of the current values, the missing ones aside, that the reference does not hold. Counted for
            categories and for constant columns.
        reason: one sentence, or several joined by semicolons.
    """

    name: str
    kind: Kind
    verdict: Verdict
    score: float | None
    method: str
    threshold: float | None
    missing_reference: float
    missing_current: float
    unseen: float
    reason: str


@dataclass(frozen=True, slots=True)
class DriftReport:
    """The outcome of one comparison.

    Attributes:
        share: drifted columns as a share of the judged ones; 0 where none was judged.
        threshold: the report fails from this share on.
        columns: in the order numeric, categorical; empty where there are too few rows.
        html: Evidently's page; None where it was not asked for or had nothing to draw.
        json: the same as JSON.
    """

    verdict: Verdict
    share: float
    threshold: float
    columns: tuple[ColumnDrift, ...]
    reference_rows: int
    current_rows: int
    reason: str
    html: Path | None = None
    json: Path | None = None

    @property
    def drifted(self) -> tuple[str, ...]:
        """Names of the columns that failed."""
        return tuple(column.name for column in self.columns if column.verdict is Verdict.FAIL)


@dataclass(frozen=True, slots=True)
class _Look:
    """A column after the guards: what is known, what is wrong already, and the cells to be scored, if any."""

    column: ColumnDrift
    problems: tuple[str, ...] = ()
    cells: tuple[pd.Series, pd.Series] | None = None
    chance: float = 0.0


def compare(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    policy: DriftPolicy,
    *,
    numeric: Sequence[str],
    categorical: Sequence[str],
    folder: Path | None,
    seed: int = 0,
) -> DriftReport:
    """Compare the current rows with the reference, column by column.

    Args:
        reference: rows that the champion was trained on; a sample of them is enough.
        current: what came since. Columns that are not named are ignored.
        numeric: columns compared as numbers, whatever their dtype.
        categorical: columns compared as text.
        folder: where `report.html` and `report.json` go, made if need be; None writes no files.
        seed: of the samples that are taken above 20,000 rows.

    Raises:
        OSError: the report cannot be written.
    """
    sizes = len(reference), len(current)
    if min(sizes) < policy.min_rows:
        few, side = (sizes[1], "current") if sizes[1] < policy.min_rows else (sizes[0], "reference")
        reason = f"{few} {side} row{'' if few == 1 else 's'}; at least {policy.min_rows} are needed."
        return DriftReport(Verdict.INCONCLUSIVE, 0.0, policy.share, (), *sizes, reason)

    before, after = sample(reference, seed=seed), sample(current, seed=seed)
    looks = [_look(name, "numeric", before, after, policy) for name in numeric]
    looks += [_look(name, "categorical", before, after, policy) for name in categorical]
    cells = {look.column.name: look.cells for look in looks if look.cells is not None}
    bounds = {look.column.name: look.column.missing_reference + policy.missing for look in looks}
    drawn = draw(cells, method=policy.method, threshold=policy.threshold, missing=bounds, folder=folder)
    columns = tuple(
        _judged(look, drawn.scores.get(look.column.name), drawn.failed.get(look.column.name), policy) for look in looks
    )
    return _verdict(columns, policy, sizes, drawn.html, drawn.json)


def sample(frame: pd.DataFrame, rows: int = ROWS, *, seed: int) -> pd.DataFrame:
    """Take `rows` rows, one at random from each of as many equal stretches of the frame.

    Its order, which is time, is covered evenly and kept. A frame that is small enough comes back itself.
    """
    if len(frame) <= rows:
        return frame
    edges = np.arange(rows + 1) * len(frame) // rows
    picks = edges[:-1] + (np.random.default_rng(seed).random(rows) * np.diff(edges)).astype(np.int64)
    return frame.iloc[picks]


def _look(name: str, kind: Kind, reference: pd.DataFrame, current: pd.DataFrame, policy: DriftPolicy) -> _Look:
    """Put one column through the guards, and cut it into cells if it gets through."""
    column = ColumnDrift(name, kind, Verdict.INCONCLUSIVE, None, "missing", None, 0.0, 0.0, 0.0, "")
    if name not in current:
        return _Look(replace(column, missing_current=1.0), ("missing from the current rows",))
    if name not in reference:
        return _Look(replace(column, missing_reference=1.0, reason="missing from the reference rows"))
    try:
        old = _plain(reference[name], kind)
    except (TypeError, ValueError):
        return _Look(replace(column, method="type", reason="the reference holds something else than numbers"))
    try:
        new = _plain(current[name], kind)
    except (TypeError, ValueError):
        return _Look(replace(column, method="type"), ("the current rows hold something else than numbers",))
    return _weighed(column, old, new, policy)


def _weighed(column: ColumnDrift, old: pd.Series, new: pd.Series, policy: DriftPolicy) -> _Look:
    """Judge what a score cannot see, and cut into cells what it can."""
    known, values = old.dropna(), new.dropna()
    column = replace(
        column,
        missing_reference=float(old.isna().mean()),
        missing_current=float(new.isna().mean()),
        unseen=_unseen(known, values, column.kind),
    )
    problems = _problems(column, policy)
    if known.empty or values.empty:
        return _Look(replace(column, reason="no value to compare" + (" with" if known.empty else "")), problems)
    if known.nunique() == 1:
        return _Look(replace(column, score=column.unseen, method="unseen", threshold=policy.unseen), problems)

    sizes = len(known), len(values)
    cut, most = (_deciles, DECILES) if column.kind == "numeric" else (_categories, CATEGORIES)
    cells = cut(known, values, _cells(sizes, policy, most))
    there = set(cells[0].unique()) | set(cells[1].unique())
    column = replace(column, method=policy.method, threshold=policy.threshold)
    pair = cells[0].reindex(old.index), cells[1].reindex(new.index)
    return _Look(column, problems, pair, _chance(len(there), sizes, policy.method))


def _plain(column: pd.Series, kind: Kind) -> pd.Series:
    """A column as float64 or text under a plain index; infinite values count as missing."""
    plain = numbers(column) if kind == "numeric" else texts(column)
    plain = plain.mask(np.isinf(plain)) if kind == "numeric" else plain
    return plain.reset_index(drop=True)


def _unseen(known: pd.Series, values: pd.Series, kind: Kind) -> float:
    """Share of the values that the reference does not hold; of varying numbers nothing is ever unseen."""
    if values.empty or (kind == "numeric" and known.nunique() > 1):
        return 0.0
    return float((~values.isin(known.unique())).mean())


def _problems(column: ColumnDrift, policy: DriftPolicy) -> tuple[str, ...]:
    """What is wrong with a column whatever its score."""
    problems = []
    if column.missing_current > column.missing_reference + policy.missing:
        problems.append(
            f"missing or infinite in {column.missing_current:.1%} of the current rows"
            f" and in {column.missing_reference:.1%} of the reference"
        )
    # Where the reference is empty, a few stray values are no drift: what counts is how many rows hold one.
    if column.unseen * (1 - column.missing_current if column.missing_reference == 1 else 1) > policy.unseen:
        problems.append(f"{column.unseen:.1%} of the current values are unknown to the reference")
    return tuple(problems)


def _deciles(known: pd.Series, values: pd.Series, most: int) -> tuple[pd.Series, pd.Series]:
    """Cut numbers at the reference's quantiles; a value that fills a whole cell gets one of its own.

    Without that, a column of 95 % zeros would have nothing to tell a zero from a negative number.
    """
    steps = np.arange(1, most) / most
    quantiles, times = np.unique(np.quantile(known.to_numpy(), steps, method="lower"), return_counts=True)
    edges: list[float] = []
    shown: list[float] = []
    for value, ties in zip(quantiles.tolist(), times.tolist(), strict=True):
        edges += [math.nextafter(value, -math.inf), value] if ties > 1 else [value]
        shown += [value, value] if ties > 1 else [value]
    names = [f"01: up to {shown[0]:g}"]
    for place, (low, high) in enumerate(pairwise(shown), start=2):
        names.append(f"{place:02}: {high:g}" if low == high else f"{place:02}: over {low:g} up to {high:g}")
    names.append(f"{len(names) + 1:02}: over {shown[-1]:g}")
    return _named(known, names, edges), _named(values, names, edges)


def _named(values: pd.Series, names: list[str], edges: list[float]) -> pd.Series:
    import pandas as pd

    cells = np.searchsorted(np.array(edges), values.to_numpy(dtype="float64"), side="left")
    return pd.Series(np.array(names, dtype=object)[cells], index=values.index, dtype="str")


def _categories(known: pd.Series, values: pd.Series, most: int) -> tuple[pd.Series, pd.Series]:
    """Keep the categories that are frequent on both sides taken together; the rest is one cell.

    Taken together, so that a rare category that takes over is seen. Only those that the reference holds: how many
    are new is judged apart.
    """
    old, new = known.value_counts(normalize=True), values.value_counts(normalize=True)
    pooled = (old + new.reindex(old.index).fillna(0.0)) / 2
    frequent = pooled[pooled * min(len(known), len(values)) >= FREQUENT]
    ranked = sorted(frequent.items(), key=lambda item: (-item[1], str(item[0])))
    everything = len(ranked) == len(old) <= most and bool(new.index.isin(old.index).all())
    kept = [str(name) for name, _ in ranked[: most if everything else most - 1]]
    return known.where(known.isin(kept), OTHER), values.where(values.isin(kept), OTHER)


def _cells(sizes: tuple[int, int], policy: DriftPolicy, most: int) -> int:
    """The finest cut at which chance does not reach the threshold; small windows are cut more coarsely."""
    for cells in range(most, FEWEST_CELLS, -1):
        if _chance(cells, sizes, policy.method) <= policy.threshold:
            return cells
    return FEWEST_CELLS


def _chance(cells: int, sizes: tuple[int, int], method: str) -> float:
    """The score that two samples of one distribution exceed once in a thousand times.

    Without a shift the population stability index is distributed as (1/n + 1/m) times chi-squared with cells - 1
    degrees of freedom: Yurdakul and Naranjo (2020), Journal of Risk Model Validation 14(4). To second order the
    Kullback-Leibler divergence is half of it, and the Hellinger and Jensen-Shannon distances the root of its eighth.
    The quantile is that of Wilson and Hilferty (1931).
    """
    free = max(cells - 1, 1)
    chi_squared = free * (1 - 2 / (9 * free) + ONE_IN_A_THOUSAND * math.sqrt(2 / (9 * free))) ** 3
    psi = chi_squared * sum(1 / size for size in sizes)
    return {"psi": psi, "kl_div": psi / 2}.get(method, math.sqrt(psi / 8))


def _judged(look: _Look, score: float | None, error: str | None, policy: DriftPolicy) -> ColumnDrift:
    """One column's verdict, from the guards and its score."""
    column, problems, verdict, reason = look.column, list(look.problems), Verdict.PASS, look.column.reason
    if look.cells is None:
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
            if score > look.chance:
                problems.insert(0, reason)
            else:
                verdict = Verdict.INCONCLUSIVE
                reason += f", but so few rows reach {look.chance:.3f} by chance"
    if problems:
        return replace(column, verdict=Verdict.FAIL, reason="; ".join(problems))
    return replace(column, verdict=verdict, reason=reason)


def _verdict(
    columns: tuple[ColumnDrift, ...],
    policy: DriftPolicy,
    sizes: tuple[int, int],
    html: Path | None,
    json: Path | None,
) -> DriftReport:
    """The report's verdict, from its columns'."""
    judged = [column for column in columns if column.verdict is not Verdict.INCONCLUSIVE]
    if not judged:
        reason = "No column could be judged" + (f": {columns[0].name}: {columns[0].reason}." if columns else ".")
        return DriftReport(Verdict.INCONCLUSIVE, 0.0, policy.share, columns, *sizes, reason, html, json)
    drifted = [column.name for column in judged if column.verdict is Verdict.FAIL]
    share = len(drifted) / len(judged)
    verdict = Verdict.FAIL if share >= policy.share else Verdict.PASS
    reason = f"{len(drifted)} of {len(judged)} columns drifted, {share:.0%}; the report fails at {policy.share:.0%}" + (
        f": {', '.join(drifted)}." if drifted else "."
    )
    return DriftReport(verdict, share, policy.share, columns, *sizes, reason, html, json)
