"""`python -m benchmarks [PART ...]`: measure everything that is quick, or the named parts, and print the tables."""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    alarms,
    audit,
    backtest,
    burden,
    challengers,
    drift,
    fleet,
    harm,
    ingest,
    intervals,
    latency,
    leases,
    memory,
    retrain,
    scale,
    score,
    serving,
    start,
    unchanged,
    year,
)
from benchmarks.measure import Finding, Scale, console, prefect_server, table

PARTS: dict[str, Callable[[Scale, Path, str], list[Finding]]] = {
    "retrain": retrain.run,
    "unchanged": unchanged.run,
    "start": start.run,
    "drift": drift.run,
    "ingest": ingest.run,
    "memory": memory.run,
    "latency": latency.run,
    "alarms": alarms.run,
    "intervals": intervals.run,
    "score": score.run,
    "year": year.run,
    "backtest": backtest.run,
    "burden": burden.run,
    "audit": audit.run,
    "harm": harm.run,
    "challengers": challengers.run,
    "serving": serving.run,
    "fleet": fleet.run,
    "leases": leases.run,
    "scale": scale.run,
}
LONG = (
    "alarms",
    "intervals",
    "year",
    "backtest",
    "burden",
    "audit",
    "harm",
    "challengers",
    "serving",
    "fleet",
    "leases",
    "scale",
)
"""They take most of an hour: measured where they are named."""
TINY = Scale(rounds=1, warmups=0, rows=5_000, many=10_000, details=False, batches=(1, 3), windows=4)
"""Enough to see that every part still runs; its figures mean nothing."""


def main() -> None:
    """Measure in a temporary folder, against a Prefect server of its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"any of: {', '.join(PARTS)}; by default all but {', '.join(LONG)}"
    )
    parser.add_argument("--rounds", type=int, default=Scale().rounds, help="measured pairs (default: %(default)s)")
    windows = "windows without drift of the part alarms (default: %(default)s)"
    parser.add_argument("--windows", type=int, default=Scale().windows, help=windows)
    many = "rows of the larger file of the part score (default: %(default)s)"
    parser.add_argument("--many", type=int, default=Scale().many, help=many)
    tiny = "the smallest sizes, to see that everything runs"
    parser.add_argument("--tiny", "--quick", action="store_true", help=tiny)
    given = parser.parse_args()
    unknown = [part for part in given.parts if part not in PARTS]
    if unknown:
        parser.error(f"unknown part {unknown[0]!r}; there are: {', '.join(PARTS)}")
    size = TINY if given.tiny else Scale(rounds=given.rounds, many=given.many, windows=given.windows)
    findings: list[Finding] = []
    with tempfile.TemporaryDirectory(prefix="evergreen-benchmarks-") as place:
        folder = Path(place)
        with prefect_server(folder / "server") as api:
            for part in given.parts or [part for part in PARTS if part not in LONG]:
                console.print(f"[bold]{part}[/]")
                findings += PARTS[part](size, folder, api)
    marks = {True: "[green]met[/]", False: "[red]missed[/]"}
    rows = [(one.what, one.value, one.target, marks[one.met]) for one in findings]
    where = f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end"
    table(f"Findings ({where})", ("", "measured", "target", ""), rows)


if __name__ == "__main__":
    main()
