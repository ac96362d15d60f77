"""The drift report of a million rows against what importing Evidently costs, from frames and from the lake."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import PROJECT, Finding, Run, Scale, alternate, fresh, middle, python, sides_table, within


def run(scale: Scale, folder: Path, api: str) -> list[Finding]:
    """Measure whole processes, so that nothing a report needs is left out."""
    place = folder / "drift"
    home = _champion(place, scale.rows, api)
    fresh(python("benchmarks.sides", "frames", place, scale.rows))
    sides = {
        "importing Evidently": lambda: fresh(python("benchmarks.sides", "importing")),
        "compare two frames": lambda: fresh(python("benchmarks.sides", "compare", place)),
        "detect from the lake": lambda: fresh(python("benchmarks.sides", "detect", home)),
    }
    runs = alternate(sides, scale)
    sides_table(f"Drift of {scale.rows:,} rows x 12 columns", runs, "importing Evidently")
    bare = runs["importing Evidently"]
    findings = []
    for name in ("compare two frames", "detect from the lake"):
        findings.append(within(f"drift: {name}, beyond the import", _beyond(runs[name], bare), 6.0, " s"))
        findings.append(within(f"drift: {name}, peak memory", middle(runs[name], lambda r: r.peak_mb), 1500.0, " MB"))
    return findings


def _beyond(runs: Sequence[Run], bare: Sequence[Run]) -> float:
    return statistics.median(one.wall - other.wall for one, other in zip(runs, bare, strict=True))


def _champion(place: Path, rows: int, api: str) -> Path:
    """A state folder whose champion knows 2,000 rows and whose lake holds `rows` more; not measured."""
    home = place / "home"
    landing = home / "landing" / "wide"
    landing.mkdir(parents=True)
    fresh(python("benchmarks.given", "wide", place, rows))
    shutil.move(place / "history.csv", landing / "1.csv")
    told = fresh(
        python("deployments.cli", "retrain", "wide", "--json"),
        {
            "EVERGREEN_HOME": str(home),
            "EVERGREEN_MODELS": str(PROJECT / "benchmarks" / "models"),
            "PREFECT_HOME": str(home / "prefect"),
            "PREFECT_API_URL": api,
        },
    ).told
    if told["outcome"] != "promoted":
        raise RuntimeError(f"the champion was not promoted: {told}")
    shutil.move(place / "news.csv", landing / "2.csv")
    fresh(python("benchmarks.sides", "ingest", home))
    return home
