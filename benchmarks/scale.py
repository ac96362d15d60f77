"""From which size a cluster of two workers on this machine pays: of a search, of a backtest, and of scoring.

Ratios are taken within pairs in one process (search, backtest) or of processes that follow each other (scoring). Both
sides of every pair came to the same figures, or the part ends with an error.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import psutil

from benchmarks.bikes import Bikes
from benchmarks.measure import PROJECT, Finding, Run, Scale, console, fresh, python, table
from benchmarks.scaled import WORKERS

SEARCHED = ((2_000, 4), (20_000, 4), (80_000, 4), (80_000, 16), (80_000, 32))
"""Rows, and combinations that are tried."""
REPLAYED, SCORED = (70, 280), (100_000, 500_000)
"""Days, and rows."""


def run(scale: Scale, folder: Path, api: str) -> list[Finding]:
    """Measure the three, each at several sizes."""
    few = not scale.details
    console.print(f"[dim]  load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores[/]")
    searched = _show_search(SEARCHED[:1] if few else SEARCHED, 1 if few else 3)
    bikes = Bikes(folder / "scale-bikes", api)
    bikes.prepare(scale.retrain_rows)
    _show_runs(bikes, scale.retrain_rows)
    scored = _scores(bikes, (5_000,) if few else SCORED)
    replayed = _backtests(folder, REPLAYED[:1] if few else REPLAYED, 1)
    console.print(f"[dim]  load {os.getloadavg()[0]:.1f} at the end[/]")
    found = {
        "search": searched,
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


def _show_search(sizes: tuple[tuple[int, int], ...], rounds: int) -> float:
    """Print what a search takes by its rows and combinations; returns the ratio at the largest size."""
    words = [f"{rows}x{combinations}" for rows, combinations in sizes]
    done = fresh(python("benchmarks.scaled", "search", rounds, *words))
    start, told = done.told["start"], done.told["sizes"]
    console.print(
        f"[dim]  A cluster of {WORKERS} workers until its first fit is done: {start['seconds']:.1f} s, "
        f"{start['processor']:.1f} processor seconds; then {start['mb']:.0f} MB a worker. "
        f"Peak of the run's own process: {done.peak_mb:.0f} MB.[/]"
    )
    shown = [
        (
            *(f"{rows:,}", combinations, one["mb"]),
            *(*one["seconds"].values(), *one["processor"].values(), one["ratio"]),
            "yes" if start["seconds"] + one["seconds"]["dask"] < one["seconds"]["one process"] else "no",
        )
        for (rows, combinations), one in zip(sizes, told.values(), strict=True)
    ]
    header = ("rows", "tried", "MB", "here, s", "up, s", "here, cpu s", "up, cpu s", "ratio")
    title = "Search in 3 folds and the last fit, here and on a cluster that is up already"
    table(title, (*header, "pays with its start"), shown)
    return float(told[words[-1]]["ratio"])


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
        (
            *("days", "steps"),
            *(f"{name}, s" for name in names),
            *(f"{name}, processor s" for name in names),
            *(f"{name}, ratio" for name in names[1:]),
        ),
        [
            (
                days,
                done.told["steps"],
                *(done.told["seconds"][name] for name in names),
                *(done.told["processor"][name] for name in names),
                *(done.told["ratio"][name] for name in names[1:]),
            )
            for days, done in runs.items()
        ],
    )
    return runs


def _show_runs(bikes: Bikes, rows: int) -> None:
    """What each scheduled run of one model takes, of its own process and of the Prefect server, and what it leaves."""
    bikes.restore()
    named = (
        ("retrain, a fifth of the rows new", "retrain"),
        ("monitor, after it", "monitor"),
        ("score, all rows", "score"),
        ("monitor, nothing new", "monitor"),
        ("score, nothing new", "score"),
        ("retrain, nothing new", "retrain"),
    )
    shown = []
    for title, command in named:
        before = _servers_seconds(), _kilobytes(bikes.home)
        done = bikes.evergreen(command)
        server, grown = _servers_seconds() - before[0], _kilobytes(bikes.home) - before[1]
        shown.append((title, done.cpu, server, done.wall, round(done.peak_mb), round(grown)))
    header = ("", "processor s", "the server's", "wall s", "peak MB", "kB more in the state folder")
    table(f"Runs of a model of {rows:,} rows", header, shown)
    for name in ("observations", "predictions"):
        place = bikes.home / "lake" / "bike_demand" / name
        console.print(f"[dim]  {name}: {1000 * _kilobytes(place) / rows:.0f} bytes a row[/]")


def _servers_seconds() -> float:
    """Processor seconds of the processes that this one has started and that still run: those of the Prefect server."""
    spent = 0.0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            spent += times.user + times.system
    return spent


def _kilobytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1000


def _scores(bikes: Bikes, sizes: tuple[int, ...]) -> dict[int, float]:
    """The ratio of the seconds of the cluster and of one thread, start of the cluster included, by rows."""
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
        seconds, processor = {}, {}
        for name, variables in sides.items():
            console.print(f"[dim]  scoring, {rows:,} rows, {name}[/]")
            shutil.rmtree(bikes.home)
            shutil.copytree(bikes.folder / "prepared", bikes.home)
            words = python("benchmarks.sides", "score", data / "first.parquet", file)
            done = fresh(words, bikes.environment | variables)
            if done.told["rows_scored"] != rows:
                raise RuntimeError(f"{done.told['rows_scored']} of {rows} rows were scored")
            seconds[name], processor[name] = rows / done.told["rows_per_second"], done.cpu
        one = seconds["one thread"]
        ratios[rows] = seconds["dask"] / one
        shown.append((f"{rows:,}", *seconds.values(), *processor.values(), seconds["two threads"] / one, ratios[rows]))
    header = (
        "rows",
        *(f"{name}, s" for name in sides),
        *(f"{name}, processor s" for name in sides),
        "two threads, ratio",
        "dask, ratio",
    )
    table("Scoring a Parquet file, start of the cluster included", header, shown)
    return ratios
