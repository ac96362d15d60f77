"""False alarms and delays of the drift verdict, beside Evidently's default preset: 50 columns, seeded.

`python -m benchmarks alarms --windows N`. No window of the first part has drifted, so every FAIL there is a needless
retrain. In the second part a shift is planted in a number of columns, and what is told is the first window whose report
FAILs. One of the columns is the prediction of a champion that adds up the numeric ones, each by the root of its
importance; that is what the second of our verdicts weighs columns by.

Ours is `evergreen.drift.compare` as a monitor calls it, without the page. The preset's scores come from the functions
that it calls itself, because it takes four seconds a window to draw its page; the first windows are put through the
preset as well, and the part stops if any of its tests ends otherwise.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from benchmarks.measure import Finding, Scale, console, table

if TYPE_CHECKING:
    import pandas as pd

Done = TypeVar("Done")

REFERENCE_ROWS, CURRENT_ROWS, SMALL_ROWS = 5_000, 500, 100
"""The last is the fewest that a report takes by default."""
NUMERIC = tuple(f"n{place}" for place in range(35))
CATEGORICAL = tuple(f"c{place}" for place in range(15))
COLUMNS = (*NUMERIC, *CATEGORICAL)
PREDICTION = NUMERIC[0]
FEATURES = COLUMNS[1:]
SMOOTH = tuple(name for place, name in enumerate(NUMERIC) if place % 7 not in (2, 3) and name != PREDICTION)
"""Numbers without ties: one that moves by any amount is another value, which everyone sees at once."""
CARDINALITIES = (2, 3, 5, 8, 20, 50, 100, 300)
SPREADS = ((0.0, 1.0), (1.0, 1.22), (3.0, 1.73), (0.0, 0.6), (0.0, 1.21), (0.5, 0.29), (0.0, 2.6))
"""About the middle and the standard deviation of each shape of number; of heavy tails, as their quartiles tell it."""
GAPS = {"n3": 0.02, "n11": 0.2, "n19": 0.5, "c4": 0.05, "c9": 0.3}
"""Columns with missing values, and their share."""
FEWEST_WINDOWS = 100
LONGEST = 20
"""Windows after which a planted shift counts as not found."""
OURS = ("equal weights", "importance weights", "any column")
PRESET = ("preset: dataset drift", "preset: any test")
POLICIES: Mapping[str, Mapping[str, Any]] = {
    "equal weights": {},
    "importance weights": {"weigh": "importance"},
    "any column": {"share": 1e-9},
}


@dataclass(frozen=True, slots=True)
class Shift:
    """What is planted.

    Attributes:
        kind: `mean`, by `size` standard deviations (of heavy tails, of the normal law with their quartiles);
            `category`, a new one in the share `size` of the rows; `missing`, that share of the values more.
        columns: in how many columns.
        important: in those that the champion leans on most, or least.
        gradual: at full size after ten windows, rising evenly, or from the first on.
    """

    kind: str
    size: float
    columns: int
    important: bool = True
    gradual: bool = False

    @property
    def told(self) -> str:
        """In words."""
        what = {"mean": f"{self.size:g} sd", "category": f"new category {self.size:.0%}"}
        how = "gradual" if self.gradual else "abrupt"
        which = "important" if self.important else "unimportant"
        return f"{what.get(self.kind, f'missing {self.size:.0%}')}, {self.columns} {which}, {how}"


SHIFTS = (
    *(
        Shift("mean", size, columns, important, gradual)
        for important, gradual in ((True, False), (False, False), (True, True))
        for columns in (1, 5, 24)
        for size in (0.25, 0.5, 1.0)
    ),
    *(Shift(kind, 0.2, columns, True) for kind in ("category", "missing") for columns in (1, 5)),
)


def run(scale: Scale, folder: Path, api: str) -> list[Finding]:
    """Count the alarms over windows without drift, then wait for those over windows with it."""
    checked, repeats = max(scale.windows // 20, 1), max(scale.windows // 200, 1)
    with multiprocessing.get_context("spawn").Pool(min(2, os.cpu_count() or 1)) as pool:
        quiet, small = (
            _progress(
                f"windows of {rows} rows without drift",
                pool.imap_unordered(functools.partial(window, rows=rows, checked=drawn), range(scale.windows)),
                scale.windows,
            )
            for rows, drawn in ((CURRENT_ROWS, checked), (SMALL_ROWS, 0))
        )
        # A trial run plants one shift only.
        places = range(len(SHIFTS)) if scale.windows >= FEWEST_WINDOWS else (2,)
        jobs = [(place, seed) for place in places for seed in range(repeats)]
        delays = _progress("planted shifts", pool.imap_unordered(series, jobs), len(jobs))
    _alarm_table(f"{CURRENT_ROWS} rows a window", quiet, checked)
    _alarm_table(f"{SMALL_ROWS} rows a window", small, 0)
    _delay_table(delays)
    worst = max(sum(one[name] for one in held) / len(held) for held in (quiet, small) for name in OURS)
    return [Finding("alarms: false retrains, worst of ours", f"{worst:.1%}", "at most 5%", worst <= 0.05)]


def window(seed: int, rows: int = CURRENT_ROWS, checked: int = 0) -> dict[str, bool]:
    """Which verdicts fail on one window without drift; the first `checked` are put through the preset itself too."""
    part = 0 if rows == CURRENT_ROWS else 2
    old, new = frame(REFERENCE_ROWS, seed, part), frame(rows, seed, part + 1)
    return verdicts(old, new, importances(seed)) | preset(old, new, drawn=seed < checked)


def series(job: tuple[int, int]) -> tuple[int, dict[str, int | None]]:
    """The first window, from 1, that each verdict fails on after a shift; None within 20 for not found."""
    place, seed = job
    shift, weights = SHIFTS[place], importances(seed)
    old = frame(REFERENCE_ROWS, seed, 4)
    first: dict[str, int | None] = dict.fromkeys((*OURS, *PRESET))
    for number in range(1, LONGEST + 1):
        grown = min(number / 10, 1.0) if shift.gradual else 1.0
        new = planted(frame(CURRENT_ROWS, seed, 4 + number), shift, shift.size * grown, weights, seed)
        failed: dict[str, bool] = {}
        if not all(first[name] for name in OURS):
            failed |= verdicts(old, new, weights)
        if not all(first[name] for name in PRESET):
            failed |= preset(old, new, drawn=False)
        first |= {name: number for name in failed if failed[name] and first[name] is None}
    return place, first


def frame(rows: int, seed: int, part: int) -> pd.DataFrame:
    """Rows of one law for each seed: numbers of seven shapes, categories of eight cardinalities, some with gaps."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng([seed, part])
    shapes: Sequence[Callable[[], Any]] = (
        lambda: rng.normal(size=rows),
        lambda: rng.lognormal(0.0, 1.0, rows),
        lambda: rng.poisson(3.0, rows),
        lambda: np.where(rng.random(rows) < 0.8, 0.0, rng.exponential(1.0, rows)),
        lambda: rng.standard_t(2.0, rows),
        lambda: rng.uniform(size=rows).round(2),
        lambda: np.where(rng.random(rows) < 0.5, rng.normal(-2, 1, rows), rng.normal(3, 0.5, rows)),
    )
    columns: dict[str, Any] = {name: shapes[place % 7]().astype("float64") for place, name in enumerate(NUMERIC)}
    for place, name in enumerate(CATEGORICAL):
        count = CARDINALITIES[place % 8]
        shares = np.ones(count) if place < 8 else 1 / np.arange(1, count + 1)
        codes = rng.choice(count, rows, p=shares / shares.sum())
        columns[name] = np.array([f"k{code}" for code in range(count)], dtype=object)[codes]
    made = pd.DataFrame(columns)
    made = made.assign(**{name: made[name].mask(rng.random(rows) < share) for name, share in GAPS.items()})
    return made.assign(**{PREDICTION: prediction(made, seed)})


def prediction(rows: pd.DataFrame, seed: int) -> pd.Series:
    """What the champion of a seed says: it adds up the numeric features, far values no further than three spreads."""
    weights = importances(seed)
    terms = []
    for place, name in enumerate(NUMERIC):
        if name != PREDICTION:
            centre, spread = SPREADS[place % 7]
            terms.append(weights[name] ** 0.5 * ((rows[name] - centre) / spread).clip(-3, 3).fillna(0.0))
    total: pd.Series = sum(terms[1:], start=terms[0])
    return total


def importances(seed: int) -> dict[str, float]:
    """What a champion may lean on: a few features on which much depends, and a long tail, in seeded order."""
    import numpy as np

    found = np.random.default_rng([seed, 99]).permutation(0.8 ** np.arange(len(FEATURES)))
    return dict(zip(FEATURES, (found / found.sum()).tolist(), strict=True))


def planted(new: pd.DataFrame, shift: Shift, size: float, weights: Mapping[str, float], seed: int) -> pd.DataFrame:
    """A window with the shift in it, at `size`."""
    import numpy as np

    rng = np.random.default_rng([seed, 77])
    of_kind = CATEGORICAL if shift.kind == "category" else SMOOTH
    ranked = sorted(of_kind, key=lambda name: weights[name], reverse=shift.important)[: shift.columns]
    if shift.kind == "mean":
        moved = new.assign(**{name: new[name] + size * SPREADS[NUMERIC.index(name) % 7][1] for name in ranked})
        return moved.assign(**{PREDICTION: prediction(moved, seed)})
    hit = {name: rng.random(len(new)) < size for name in ranked}
    fill = "never seen" if shift.kind == "category" else None
    changed = new.assign(**{name: new[name].mask(rows, fill) for name, rows in hit.items()})
    return changed.assign(**{PREDICTION: prediction(changed, seed)})


def verdicts(old: pd.DataFrame, new: pd.DataFrame, weights: Mapping[str, float]) -> dict[str, bool]:
    """Whether our report fails, by policy; the columns are compared once."""
    from evergreen.drift.compare import compare, report_verdict
    from evergreen.spec.monitoring import DriftThresholds
    from evergreen.training import importance
    from evergreen.verdicts import Verdict

    sizes, counted = (len(old), len(new)), importance.weights(weights, FEATURES, (PREDICTION,))
    found = compare(old, new, DriftThresholds(), numeric=NUMERIC, categorical=CATEGORICAL, folder=None)
    reports = {
        name: report_verdict(found.columns, DriftThresholds(**policy), sizes, counted)
        for name, policy in POLICIES.items()
    }
    return {name: report.verdict is Verdict.FAIL for name, report in reports.items()}


def preset(old: pd.DataFrame, new: pd.DataFrame, *, drawn: bool) -> dict[str, bool]:
    """Whether `DataDriftPreset()` as it comes says that the data set drifted, and whether any of its tests fails.

    Raises:
        RuntimeError: it was `drawn`, and says something else than its own functions do.
    """
    from evidently.legacy.calculations.stattests import get_stattest
    from evidently.legacy.core import ColumnType

    drifted = set()
    for kind, names in ((ColumnType.Numerical, NUMERIC), (ColumnType.Categorical, CATEGORICAL)):
        for name in names:
            before, after = old[name].dropna(), new[name].dropna()
            if get_stattest(before, after, kind, None)(before, after, kind, None).drifted:
                drifted.add(name)
    if drawn and drifted != (said := _drawn(old, new)):
        raise RuntimeError(f"the preset finds drift in {sorted(said)}, its functions in {sorted(drifted)}")
    return {"preset: dataset drift": len(drifted) / len(COLUMNS) >= 0.5, "preset: any test": bool(drifted)}


def _drawn(old: pd.DataFrame, new: pd.DataFrame) -> set[str]:
    """The columns whose test fails in the preset's own report, its default tests included."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset

        kinds = DataDefinition(numerical_columns=list(NUMERIC), categorical_columns=list(CATEGORICAL))
        sides = [Dataset.from_pandas(side, data_definition=kinds) for side in (new, old)]
        tests = Report([DataDriftPreset()], include_tests=True).run(*sides).dict()["tests"]
    failed = [test["metric_config"]["params"] for test in tests if test["status"].value == "FAIL"]
    columns = {params["column"] for params in failed if "column" in params}
    # The one test without a column is that of the data set: less than half of the columns drifted.
    if (len(columns) < len(failed)) != (len(columns) / len(COLUMNS) >= 0.5):
        raise RuntimeError(f"the preset's data set test does not follow from its {len(columns)} columns")
    return columns


def wilson(hits: int, of: int) -> tuple[float, float]:
    """The two-sided 95 % interval of a share: Wilson (1927), Journal of the American Statistical Association 22."""
    z = 1.959964
    middle, spread = hits + z * z / 2, z * (hits * (of - hits) / of + z * z / 4) ** 0.5
    return max((middle - spread) / (of + z * z), 0.0), min((middle + spread) / (of + z * z), 1.0)


def _progress(what: str, done: Iterator[Done], of: int) -> list[Done]:
    """Collect what processes answer, telling every twentieth part."""
    held: list[Done] = []
    for number, one in enumerate(done, start=1):
        held.append(one)
        if number % max(of // 20, 1) == 0 or number == of:
            console.print(f"[dim]  {what}: {number} of {of}[/]")
    return held


def _alarm_table(title: str, held: Sequence[Mapping[str, bool]], checked: int) -> None:
    rows = []
    for name in (*OURS, *PRESET):
        hits = sum(one[name] for one in held)
        low, high = wilson(hits, len(held))
        rows.append((name, len(held), hits, f"{hits / len(held):.1%}", f"{low:.1%} to {high:.1%}"))
    note = f"; the preset itself was run on {min(checked, len(held))} of them" if checked else ""
    table(f"False retrains without drift, {title}{note}", ("fails by", "windows", "failed", "rate", "95 %"), rows)


def _delay_table(delays: Sequence[tuple[int, Mapping[str, int | None]]]) -> None:
    rows = []
    for place, shift in enumerate(SHIFTS):
        held = [first for number, first in delays if number == place]
        if held:
            rows.append((shift.told, *(_delay([first[name] for first in held]) for name in (*OURS, *PRESET))))
    title = "Windows until the first failed report: median (share never found in 20)"
    table(title, ("planted", *OURS, *PRESET), rows)


def _delay(found: Sequence[int | None]) -> str:
    lost = sum(one is None for one in found) / len(found)
    middle = statistics.median(LONGEST + 1 if one is None else one for one in found)
    return f"{'never' if middle > LONGEST else f'{middle:g}'} ({lost:.0%})"
