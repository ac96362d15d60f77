"""How often a candidate that is no better passes on rows that depend on their neighbours, and what an interval costs.

`python -m benchmarks intervals --windows N` judges N pairs of equal models on each simulated stream: hourly errors, of
which a part wanders (an AR(1)) and the rest is noise. A pair passes where the improvement is proven at a level of 5 %.
Three judges look at the same rows: the gate's own, blocks of days as long as the dependence asks; days one by one; and
rows one by one, which is the invalid one. Then the real UCI hourly file where it is (EVERGREEN_TEST_DATA as in `year`):
pairs of trees that learned two random halves of the same hours, judged on the 41 days after them; these do differ a
little, by the chance of what they learned. Last, the processor time of one interval of each built-in metric.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import PROJECT, Finding, Scale, console, table
from evergreen.data.clusters import Clusters
from evergreen.data.predictions import Predictions
from evergreen.evaluation.bootstrap import Comparison, Groups, paired_bootstrap
from evergreen.spec.metric import KNOWN, Metric

LEVEL = 0.05
DAY = timedelta(days=1)
STREAMS = tuple((days, hourly) for days in (25, 41, 120) for hourly in (0.0, 0.9, 0.98, 0.99))
"""Days that judge, and the autocorrelation of the wandering part from one hour to the next."""
DAYS_TO_SEE = 40
"""Of fewer days a part of the dependence is not to be seen, and equal models pass too often."""
Days = np.ndarray[Any, np.dtype[np.int64]]
JUDGES: Mapping[str, Callable[[Days], Groups]] = {
    "blocks": lambda days: Clusters(days, DAY),
    "days": lambda days: days,
    "rows (invalid)": lambda days: None,
}


def run(scale: Scale, folder: Path, api: str) -> list[Finding]:
    """Print the table of equal models, simulated and real, and the table of times."""
    pairs = max(4, scale.windows // 2)
    rows, worst = [], 0.0
    for days, hourly in STREAMS:
        shares = judge_pairs(simulated_pairs(days, hourly, pairs))
        if days >= DAYS_TO_SEE:
            worst = max(worst, shares["blocks"][0])
        rows.append((f"{days} days, {hourly:g} an hour, {hourly**24:.2f} a day", *_cells(shares)))
    data = Path(os.environ.get("EVERGREEN_TEST_DATA", PROJECT.parent / "shared" / "data"))
    real = data / "bike_sharing" / "hour.csv"
    if real.exists():
        rows.append(("UCI 2011 and 2012, 41 days", *_cells(judge_pairs(real_pairs(real, max(1, pairs // 25))))))
    else:
        console.print(f"[dim]The UCI hourly file is not in {data}; it is left out.[/]")
    title = f"Equal models that pass (and have no interval), {pairs} pairs a stream"
    table(title, ("stream", *JUDGES), rows)
    seconds = {name: interval_seconds(name, scale.rows) for name in KNOWN}
    table(
        f"One interval of {scale.rows:,} rows",
        ("metric", "processor s"),
        [(name, f"{s:.2f}") for name, s in seconds.items()],
    )
    slowest = max(seconds, key=seconds.__getitem__)
    return [
        Finding(
            "intervals: equal models that pass, worst of 40 days or more", f"{worst:.1%}", "at most 8%", worst <= 0.08
        ),
        Finding(
            f"intervals: slowest metric, {slowest}", f"{seconds[slowest]:.1f} s", "at most 3 s", seconds[slowest] <= 3
        ),
    ]


def judge_pairs(pairs: Iterator[tuple[Any, Any, Any, Days]]) -> dict[str, tuple[float, float]]:
    """The share of pairs that pass, either of the two taken for the candidate, and without interval, by judge."""
    found: dict[str, list[tuple[float, bool]]] = {name: [] for name in JUDGES}
    for y, one, two, days in pairs:
        for name, groups in JUDGES.items():
            comparison = _compare(Metric(name="mae"), y, one, two, groups(days))
            passes = (float(comparison.low > 0) + float(comparison.high < 0)) / 2
            found[name].append((passes, bool(np.isnan(comparison.low))))
    means = {name: np.mean(each, axis=0) for name, each in found.items()}
    return {name: (float(passed), float(without)) for name, (passed, without) in means.items()}


def simulated_pairs(days: int, hourly: float, pairs: int) -> Iterator[tuple[Any, Any, Any, Days]]:
    """Truth and two models that are equal in the long run, on so many days of hours."""
    rows = 24 * days
    for seed in range(pairs):
        random = np.random.default_rng([seed, days])
        common = np.exp(0.5 * wander(hourly, rows, random))
        one, two = (common * (0.7 * wander(hourly, rows, random) + 0.7 * random.normal(size=rows)) for _ in range(2))
        yield np.zeros(rows), one, two, np.arange(rows) // 24


def wander(hourly: float, rows: int, random: np.random.Generator) -> Any:
    """A stationary AR(1) of variance one."""
    from scipy.signal import lfilter

    settled = 24 * 20
    series = lfilter([1.0], [1.0, -hourly], random.normal(size=rows + settled))
    return np.asarray(series)[settled:] * np.sqrt(1 - hourly**2)


def real_pairs(
    file: Path, splits: int, *, learned: int = 120, judged: int = 41
) -> Iterator[tuple[Any, Any, Any, Days]]:
    """Trees of two random halves of the hours before, every four weeks of the UCI file, `splits` times each."""
    import pandas as pd
    from sklearn.ensemble import HistGradientBoostingRegressor

    frame = pd.read_csv(file)
    days = (pd.to_datetime(frame["dteday"]) - pd.Timestamp("2011-01-01")).dt.days.to_numpy()
    x = frame[["season", "hr", "workingday", "weathersit", "temp", "atemp", "hum", "windspeed"]].to_numpy(dtype=float)
    y = frame["cnt"].to_numpy(dtype=float)
    for start in range(learned, int(days.max()) - judged, 28):
        judging = (days >= start) & (days < start + judged)
        for seed in range(splits):
            recent = (days >= start - learned) & (days < start)
            first = recent & (np.random.default_rng([start, seed]).random(len(days)) < 0.5)
            given = [
                HistGradientBoostingRegressor(max_iter=60, random_state=seed).fit(x[rows], y[rows]).predict(x[judging])
                for rows in (first, recent & ~first)
            ]
            yield y[judging], given[0], given[1], np.asarray(days[judging], dtype=np.int64)


def interval_seconds(name: str, rows: int) -> float:
    """What one paired interval over a year of days takes, in seconds of processor time."""
    random = np.random.default_rng(0)
    days = Clusters(np.arange(rows) * 365 // rows, DAY)
    kind = KNOWN[name]
    y: Any
    if kind.task == "regression":
        y = random.normal(size=rows)
        models = [Predictions(y + random.normal(size=rows)) for _ in range(2)]
    else:
        y = random.integers(2, size=rows)
        chances = [1 / (1 + np.exp(-(y + random.normal(size=rows)))) for _ in range(2)]
        models = [Predictions((p > 0.5).astype(int), np.stack([1 - p, p], axis=1), (0, 1)) for p in chances]
    began = time.process_time()
    paired_bootstrap(Metric(name=name), y, models[0], models[1], groups=days, level=LEVEL, seed=1)
    return time.process_time() - began


def _compare(metric: Metric, y: Any, one: Any, two: Any, groups: Groups) -> Comparison:
    return paired_bootstrap(metric, y, Predictions(one), Predictions(two), groups=groups, level=LEVEL, seed=1)


def _cells(shares: Mapping[str, tuple[float, float]]) -> tuple[str, ...]:
    return tuple(f"{passed:.1%} ({without:.0%})" for passed, without in shares.values())
