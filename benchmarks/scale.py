"""From which size a cluster of two workers on this machine pays: of a search, of a backtest, and of scoring.

Ratios are taken within pairs in one process (search, backtest) or of processes that follow each other (scoring). Both
sides of every pair came to the same figures, or the part ends with an error.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from benchmarks.bikes import Bikes
from benchmarks.measure import PROJECT, Finding, Run, Scale, console, fresh, python, table
from benchmarks.scaled import WORKERS

SEARCHED, REPLAYED, SCORED = (2_000, 20_000, 80_000), (70, 140), (100_000, 1_000_000)


def run(scale: Scale, folder: Path, api: str) -> list[Finding]:
    """Measure the three, each at several sizes."""
    few = not scale.details
    console.print(f"[dim]  load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores[/]")
    started = fresh(python("benchmarks.scaled", "start")).told
    table(
        f"A cluster of {WORKERS} workers on this machine, seconds",
        ("", "", "a worker, MB"),
        [
            ("until it is up", started["up"], ""),
            ("first job, imports", started["imports"], f"{started['mb'][0]:.0f} to {started['mb'][1]:.0f}"),
            ("until it is down", started["down"], ""),
        ],
    )
    searched = {rows: _search(rows, 1 if few else 3) for rows in (SEARCHED[:1] if few else SEARCHED)}
    _show_search(searched)
    replayed = _backtests(folder, REPLAYED[:1] if few else REPLAYED, 1)
    scored = _scores(folder, api, scale, (5_000,) if few else SCORED)
    console.print(f"[dim]  load {os.getloadavg()[0]:.1f} at the end[/]")
    found = {
        "search": searched[max(searched)].told["ratio"],
        "backtest": replayed[max(replayed)].told["ratio"]["dask"],
        "scoring": scored[max(scored)],
    }
    return [
        Finding(
            f"{what} on {WORKERS} Dask workers by one process, largest size",
            f"{ratio:.2f}",
            "told",
            True,
        )
        for what, ratio in found.items()
    ]


def _search(rows: int, rounds: int) -> Run:
    console.print(f"[dim]  search, {rows:,} rows[/]")
    return fresh(python("benchmarks.scaled", "search", rows, rounds))


def _show_search(runs: Mapping[int, Run]) -> None:
    shown = []
    for rows, done in runs.items():
        told = done.told
        here, dask = told["seconds"]["one process"], told["seconds"]["dask"]
        shown.append(
            (
                f"{rows:,}",
                f"{told['mb']:.0f}",
                here,
                dask,
                told["ratio"],
                " to ".join(f"{end:.2f}" for end in told["ratios"]),
                "yes" if told["start"] + dask < here else "no",
            )
        )
    header = ("rows", "MB", "one process, s", "cluster that is up, s", "ratio", "of the pairs", "pays with its start")
    table("Search of 4 combinations in 3 folds, and the last fit", header, shown)


def _backtests(folder: Path, lengths: tuple[int, ...], rounds: int) -> dict[int, Run]:
    file = folder / "scale-hours.csv"
    fresh(python("benchmarks.given", "years", file, "none"))
    runs = {}
    for days in lengths:
        console.print(f"[dim]  backtest, {days} days[/]")
        home = folder / f"scale-{days}"
        environment = {"EVERGREEN_HOME": str(home), "EVERGREEN_MODELS": str(PROJECT / "benchmarks" / "models")}
        runs[days] = fresh(python("benchmarks.scaled", "backtest", file, days, home / "cache", rounds), environment)
    names = list(runs[lengths[0]].told["seconds"])
    table(
        "Backtest of two policies, nothing known from before, starts of processes included",
        ("days", "steps", *(f"{name}, s" for name in names), *(f"{name}, ratio" for name in names[1:])),
        [
            (
                days,
                done.told["steps"],
                *(done.told["seconds"][name] for name in names),
                *(done.told["ratio"][name] for name in names[1:]),
            )
            for days, done in runs.items()
        ],
    )
    return runs


def _scores(folder: Path, api: str, scale: Scale, sizes: tuple[int, ...]) -> dict[int, float]:
    """The ratio of the rates of the cluster and of one thread, start of the cluster included, by rows."""
    bikes = Bikes(folder / "scale-score", api)
    bikes.prepare(scale.retrain_rows)
    data = bikes.folder / "data"
    fresh(python("benchmarks.given", "hours", data / "first.parquet", 1000))
    sides = {
        "one thread": {"EVERGREEN_WORKERS": "1"},
        "two threads": {"EVERGREEN_WORKERS": "2"},
        "dask": {"EVERGREEN_WORKERS": str(WORKERS), "EVERGREEN_RUNNER": "dask"},
    }
    shown, ratios = [], {}
    for rows in sizes:
        file = data / f"{rows}.parquet"
        fresh(python("benchmarks.given", "hours", file, rows))
        seconds = {}
        for name, variables in sides.items():
            console.print(f"[dim]  scoring, {rows:,} rows, {name}[/]")
            shutil.rmtree(bikes.home)
            shutil.copytree(bikes.folder / "prepared", bikes.home)
            words = python("benchmarks.sides", "score", data / "first.parquet", file)
            done = fresh(words, bikes.environment | variables)
            if done.told["rows_scored"] != rows:
                raise RuntimeError(f"{done.told['rows_scored']} of {rows} rows were scored")
            seconds[name] = rows / done.told["rows_per_second"]
        one = seconds["one thread"]
        ratios[rows] = seconds["dask"] / one
        shown.append((f"{rows:,}", *seconds.values(), seconds["two threads"] / one, ratios[rows]))
    header = ("rows", *(f"{name}, s" for name in sides), "two threads, ratio", "dask, ratio")
    table("Scoring a Parquet file, start of the cluster included", header, shown)
    return ratios
