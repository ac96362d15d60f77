"""What the whole loop is worth over a year in which labels come a week late: the error of what was really predicted.

The real UCI hourly file where it is (EVERGREEN_TEST_DATA names the folder that holds `bike_sharing/hour.csv`), and two
simulated years: one in which the law of demand changes, and one in which nothing does.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import PROJECT, Finding, Run, Scale, console, fresh, python, table, within


@dataclass(frozen=True, slots=True)
class Year:
    """A file to walk through, and what the cron retrains every so many weeks; 0 for never."""

    name: str
    file: Path
    schedule: int


def run(scale: Scale, folder: Path, api: str) -> list[Finding]:
    """Walk through each year in a process of its own, and tell what was gained over keeping the first champion."""
    until = "2013-01-03" if scale.details else "2012-01-19"
    folder = folder / "year"
    folder.mkdir()
    findings, shown = [], []
    for year in _years(folder):
        done = _walked(year, folder, api, until)
        told = done.told
        asked = [reason for week in told["weeks"] for reason in week["asked"]]
        outcomes = [outcome for week in told["weeks"] for outcome in week["outcomes"]]
        shown.append(
            (
                year.name,
                told["mae_first"],
                told["mae"],
                f"{1 - told['mae'] / told['mae_first']:.0%}",
                told["mae_script"],
                len(asked) - asked.count("schedule"),
                asked.count("schedule"),
                outcomes.count("promoted"),
                f"{done.wall:.0f} s",
            )
        )
        # What was walked stands even where the part is stopped before its table.
        console.print(*shown[-1], dict(Counter(asked)), dict(Counter(outcomes)), sep="; ", markup=False)
        findings += _findings(year, asked, told) if scale.details else []
    header = (
        "a year, labels 7 days late",
        *("first champion", "the loop", "less", "a script, same days", "by event", "by cron", "promoted", ""),
    )
    table("Mean absolute error of what was predicted", header, shown)
    return findings


def _findings(year: Year, asked: list[str], told: Mapping[str, Any]) -> list[Finding]:
    if year.name.startswith("nothing"):
        return [within(f"{year.name}: retrains that nobody needed", len(asked) - asked.count("schedule"), 0)]
    gain, script = 1 - told["mae"] / told["mae_first"], told["mae"] / told["mae_script"]
    return [
        Finding(f"{year.name}: error less than the first champion's", f"{gain:.0%}", "at least 40%", gain >= 0.4),
        Finding(f"{year.name}: error by a script's, same days", f"{script:.3f}", "at most 1.02", script <= 1.02),
    ]


def _years(folder: Path) -> list[Year]:
    data = Path(os.environ.get("EVERGREEN_TEST_DATA", PROJECT.parent / "shared" / "data"))
    real = data / "bike_sharing" / "hour.csv"
    found = [Year(f"UCI, {name}", real, schedule) for name, schedule in (("by event", 0), ("and weekly", 1))]
    if not real.exists():
        console.print(f"[dim]The UCI hourly file is not in {data}; it is left out.[/]")
        found = []
    for name, scenario in (("the law changes", "concept"), ("nothing changes", "none")):
        file = folder / f"{scenario}.csv"
        fresh(python("benchmarks.given", "years", file, scenario))
        found.append(Year(name, file, 4))
    return found


def _walked(year: Year, folder: Path, api: str, until: str) -> Run:
    home = folder / year.name.replace(" ", "-").replace(",", "")
    environment = {
        "EVERGREEN_HOME": str(home),
        "EVERGREEN_MODELS": str(PROJECT / "benchmarks" / "models"),
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_API_URL": api,
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
    }
    console.print(f"[dim]  {year.name}[/]")
    return fresh(python("benchmarks.weeks", year.file, until, "--schedule", year.schedule), environment)
