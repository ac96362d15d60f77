"""What a backtest takes on the real UCI hourly file, and what its choice on 2011 is worth in 2012.

Of six policies and the model file's own over two years of weeks: against the time of its distinct fits and reports, a
second time with nothing new, and with a quarter, a half and all of the history.
"""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.measure import PROJECT, Finding, Run, Scale, console, fresh, python, table, within

WORKERS = 2
HISTORIES = (183, 366, 731)


def run(scale: Scale, folder: Path, api: str) -> list[Finding]:
    """Replay histories of three lengths, the longest one twice."""
    data = Path(os.environ.get("EVERGREEN_TEST_DATA", PROJECT.parent / "shared" / "data"))
    real = data / "bike_sharing" / "hour.csv"
    if not real.exists():
        console.print(f"[dim]The UCI hourly file is not in {data}; nothing was measured.[/]")
        return []
    lengths = HISTORIES if scale.details else (70,)
    runs = {days: _replayed(real, days, folder) for days in lengths}
    whole = runs[lengths[-1]]
    table("Policies", ("", "error", "95 %", "to never", "to oracle", "retrains", "in vain"), _rows(whole))
    console.print(whole.told["reason"])
    # The script would count as processor time of the first run; of this one only what comes before it is timed.
    again = _replayed(real, lengths[-1], folder, script=True)
    header = ("", "error", "a script, same days", "times", "retrains", "promoted")
    table("Beside a plain script that refits whenever the policy asks", header, _beside(again))
    shown = [
        (f"{days} days", done.told["replayed"], f"{done.told['wall']:.0f} s", f"{done.told['fresh_seconds']:.0f} s")
        for days, done in runs.items()
    ]
    table(
        f"Cost, {WORKERS} processes",
        ("history", "steps", "wall", "processor time of fits, reports and gates"),
        [*shown, ("again", again.told["replayed"], f"{again.told['wall']:.1f} s", "0")],
    )
    share = whole.told["wall"] / (whole.told["fresh_seconds"] / WORKERS)
    findings = [
        within("backtest: its time by that of its distinct fits and reports", share, 1.5),
        within("backtest: likewise, in processor time", whole.cpu / whole.told["fresh_seconds"], 1.5),
        within("backtest: two years of weeks", whole.told["wall"], 180, " s"),
        within("backtest: again, with nothing new", again.told["wall"], 10, " s"),
    ]
    for one in again.told["beside"]:
        findings.append(within(f"{one['name']}: error by a script's", one["error"] / one["script"], 1.02))
    if len(runs) > 1:
        first, last = (runs[days].told for days in (lengths[0], lengths[-1]))
        growth = (last["fresh_seconds"] / last["replayed"]) / (first["fresh_seconds"] / first["replayed"])
        findings.append(within("backtest: cost of a step, four times the history by one", growth, 1.5))
    return findings


def _replayed(file: Path, days: int, folder: Path, *, script: bool = False) -> Run:
    console.print(f"[dim]  {days} days[/]")
    home = folder / f"backtest-{days}"
    environment = {"EVERGREEN_HOME": str(home), "EVERGREEN_MODELS": str(PROJECT / "benchmarks" / "models")}
    beside = ["--script"] if script else []
    return fresh(python("benchmarks.replayed", file, days, "--workers", WORKERS, *beside), environment)


def _rows(done: Run) -> list[tuple[object, ...]]:
    return [
        (
            one["name"],
            one["error"],
            " to ".join(f"{end:.4g}" for end in one["interval"] or ()),
            *(one["regret"][name] for name in ("never", "oracle")),
            one["retrains"],
            one["rejected"],
        )
        for one in done.told["policies"]
    ]


def _beside(done: Run) -> list[tuple[object, ...]]:
    return [
        (
            one["name"],
            one["error"],
            one["script"],
            f"{one['error'] / one['script']:.3f}",
            one["asked"],
            one["promoted"],
        )
        for one in done.told["beside"]
    ]
