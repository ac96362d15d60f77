"""What a command costs before it does anything: libraries, and a Prefect server where none is set.

`EVERGREEN_BENCHMARK_BEFORE` may name the folder of another checkout with its own `.venv`: then its commands run in turn
with ours.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import PROJECT, Finding, Run, Scale, alternate, fresh, ratio, sides_table, within

HALF = 0.5
"""How much of the former time a command without a server may take."""


def run(scale: Scale, folder: Path, api: str) -> list[Finding]:
    """Measure `status` beside a bare `import mlflow`, then a monitoring with nothing new and a first retraining."""
    checkouts = {"now": PROJECT}
    if before := os.environ.get("EVERGREEN_BENCHMARK_BEFORE"):
        checkouts["before"] = Path(before).resolve()
    for name, checkout in checkouts.items():
        _command(checkout, folder / "start" / name, "retrain")
    bare = {"import mlflow": lambda: fresh([sys.executable, "-c", "import mlflow"])}
    status = bare | {f"status, {name}": _side(checkout, folder, name, "status") for name, checkout in checkouts.items()}
    runs = alternate(status, scale)
    sides_table("evergreen status", runs, "import mlflow")
    value = ratio(runs["status, now"], runs["import mlflow"])
    findings = [within("status against a bare import of mlflow, wall time", value, 1.3)]
    for title, command, home_is_fresh in (
        ("monitor with nothing new", "monitor", False),
        ("the first retrain of a fresh home", "retrain", True),
    ):
        sides = {name: _side(checkout, folder, name, command, home_is_fresh) for name, checkout in checkouts.items()}
        runs = alternate(sides, scale)
        against = "before" if "before" in runs else "now"
        sides_table(f"{title}, no server set", runs, against)
        if against == "before":
            findings.append(within(f"{title} against before, wall time", ratio(runs["now"], runs["before"]), HALF))
    return findings


def _side(checkout: Path, folder: Path, name: str, command: str, fresh_home: bool = False) -> Callable[[], Run]:
    home = folder / "start" / (f"{name}-fresh" if fresh_home else name)

    def measured() -> Run:
        if fresh_home:
            shutil.rmtree(home, ignore_errors=True)
        return _command(checkout, home, command)

    return measured


def _command(checkout: Path, home: Path, command: str) -> Run:
    """Run a command of a checkout for `iris`, without a Prefect server."""
    words = [str(checkout / ".venv" / "bin" / "evergreen"), command, "iris", "--json"]
    return fresh(words, {"EVERGREEN_HOME": str(home)})
