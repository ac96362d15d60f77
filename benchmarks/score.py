"""Scoring a Parquet file of `bike_demand` against `pipeline.predict` on its frame in memory and writing Parquet.

The rate is that of the work itself: for the script, predicting and writing, with the frame in memory and the pipeline
loaded; for the `score` flow, from before the file is opened to the last commit, in a process that has scored before, as
one that serves runs has. Whole processes are shown beside it. Memory is the peak of a process beyond its imports.
"""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path

from benchmarks.bikes import Bikes
from benchmarks.measure import Finding, Run, Scale, alternate, fresh, middle, python, sides_table, table, within

SCRIPT, OURS = "predict + to_parquet", "score flow"
LEAST, MOST_MB = 0.7, 600.0


def run(scale: Scale, folder: Path, api: str) -> list[Finding]:
    """Measure the rate at the scale's rows, and the memory at these and at its many rows."""
    bikes = Bikes(folder / "score", api)
    bikes.prepare(scale.retrain_rows)
    data = bikes.folder / "data"
    few, many = (data / f"{rows}.parquet" for rows in (scale.rows, scale.many))
    fresh(python("benchmarks.given", "hours", few, scale.rows))
    fresh(python("benchmarks.given", "hours", data / "first.parquet", 1000))
    sides = {
        SCRIPT: lambda: fresh(python("benchmarks.sides", "predict", bikes.home, few, data / "said.parquet")),
        OURS: lambda: _score(bikes, few, scale.rows),
    }
    runs = alternate(sides, scale)
    sides_table(f"Scoring {scale.rows:,} rows, whole processes, server running", runs, SCRIPT)
    rates = {name: [_rate(one, scale.rows) for one in held] for name, held in runs.items()}
    shown = [
        (name, f"{statistics.median(held):,.0f}", f"{min(held):,.0f}", f"{max(held):,.0f}")
        for name, held in rates.items()
    ]
    table("Rows a second, without process start and imports", ("", "median", "slowest", "fastest"), shown)
    share = statistics.median(ours / script for ours, script in zip(rates[OURS], rates[SCRIPT], strict=True))
    fresh(python("benchmarks.given", "hours", many, scale.many))
    bare = fresh(python("benchmarks.sides", "scoring")).peak_mb
    peaks = {
        scale.rows: middle(runs[OURS], lambda one: one.peak_mb),
        scale.many: _score(bikes, many, scale.many).peak_mb,
    }
    table(
        f"Memory; imports alone: {bare:.0f} MB",
        ("rows", "peak MB", "above import"),
        [(f"{rows:,}", round(peak), round(peak - bare)) for rows, peak in peaks.items()],
    )
    return [
        Finding(
            "score against predict + to_parquet, rows a second", f"{share:.2f}", f"at least {LEAST:g}", share >= LEAST
        ),
        *(
            within(f"score: {rows:,} rows, peak memory above import", round(peak - bare), MOST_MB, " MB")
            for rows, peak in peaks.items()
        ),
    ]


def _score(bikes: Bikes, file: Path, rows: int) -> Run:
    """Score a file that the log does not know."""
    shutil.rmtree(bikes.home)
    shutil.copytree(bikes.folder / "prepared", bikes.home)
    done = fresh(python("benchmarks.sides", "score", bikes.folder / "data" / "first.parquet", file), bikes.environment)
    assert (done.told["rows_in"], done.told["rows_scored"]) == (rows, rows), done.told
    return done


def _rate(done: Run, rows: int) -> float:
    told = done.told
    return float(told["rows_per_second"] if "rows_per_second" in told else rows / told["seconds"])
