"""`evergreen retrain bike_demand` against the same library calls in a straight line, and where its time goes."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.bikes import Bikes
from benchmarks.measure import Finding, Run, Scale, alternate, asked, console, ratio, sides_table, table, within

IMPORTED = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+([\w.]+)")
STRAIGHT = {
    "ingest": ("ingest",),
    "detect": ("champion", "detect"),
    "fit": ("fit", "log model"),
    "register": ("register",),
    "gate": ("gate",),
    "promote": ("promote",),
    "record": ("ledgers",),
}
"""The script's steps under the names of the flow's tasks."""


def run(scale: Scale, folder: Path, api: str) -> list[Finding]:
    """Measure both sides in alternating processes, each from the same state."""
    bikes = Bikes(folder / "retrain", api)
    bikes.prepare(scale.retrain_rows)
    phases: list[Mapping[str, float]] = []

    def evergreen() -> Run:
        done = bikes.retrain()
        phases.append(_phases(api, done))
        return done

    sides = {"straight line": bikes.straight_line, "evergreen retrain": evergreen}
    if scale.details:
        sides["straight line, collector tuned"] = bikes.tuned_line
    runs = alternate(sides, scale)
    for script, ours in zip(runs["straight line"], runs["evergreen retrain"], strict=True):
        _require_same_work(script.told, ours.told)
    sides_table(f"Retrain of bike_demand, {scale.retrain_rows:,} rows, server running", runs, "straight line")
    _show_steps(phases[scale.warmups :], runs)
    if scale.details:
        console.print(
            "[dim]`evergreen` lets Python's cycle collector run less often than Python's default, which the script "
            "keeps; the last row of the first table is the script with the same setting.[/]"
        )
        traced = {"evergreen retrain": bikes.retrain, "straight line": bikes.straight_line}
        _show_imports({side: again(("-X", "importtime")).err for side, again in traced.items()})
    whole = ratio(runs["evergreen retrain"], runs["straight line"])
    return [within("retrain against a straight line, wall time", whole, 1.10)]


def _require_same_work(script: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Both came to the same figures, so neither did less."""
    metric = ours["metric"]
    assert ours["outcome"] == "promoted", ours["explanation"]
    assert abs(script["mae"] - metric["value"]) < 1e-9, (script["mae"], metric)
    assert abs(script["champion_mae"] - metric["champion_value"]) < 1e-9, (script["champion_mae"], metric)
    assert all(abs(a - b) < 1e-9 for a, b in zip(script["interval"], metric["interval"], strict=True)), metric
    drifted = {name for name, score in script["scores"].items() if score > 0.25}
    assert drifted == set(ours["drift"]["columns"]), (script["scores"], ours["drift"])


def _phases(api: str, done: Run) -> dict[str, float]:
    """Seconds from the process's start to its exit, as the server's record of the run divides them."""
    ended = {"state": {"type": {"any_": ["COMPLETED"]}}}
    flow = asked(api, "flow_runs/filter", {"flow_runs": ended, "sort": "START_TIME_DESC", "limit": 1})[0]
    tasks = _task_runs(api, flow["id"])
    start, end = _seconds(flow["start_time"]), _seconds(flow["end_time"])
    found: dict[str, float] = {"start": start - done.began}
    for task in tasks:
        name = task["name"].split("-")[0]
        found[name] = found.get(name, 0.0) + _seconds(task["end_time"]) - _seconds(task["start_time"])
    found["between"] = end - start - sum(value for name, value in found.items() if name != "start")
    found["exit"] = done.ended - end
    return found


def _task_runs(api: str, flow: str) -> list[dict[str, Any]]:
    """The task runs of a flow run. The server records them from a queue, a moment after they happened."""
    body = {"flow_runs": {"id": {"any_": [flow]}}, "limit": 200}
    before: list[dict[str, Any]] = []
    for _ in range(300):
        found = asked(api, "task_runs/filter", body)
        if found and len(found) == len(before) and all(task["end_time"] for task in found):
            return list(found)
        before = found
        time.sleep(0.2)
    raise RuntimeError("the server did not record the task runs within a minute")


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _show_steps(phases: Sequence[Mapping[str, float]], runs: Mapping[str, Sequence[Run]]) -> None:
    """Print where the time of both goes; medians, so columns need not add up exactly."""
    script = {
        name: statistics.median(run.told["steps"].get(name, 0.0) for run in runs["straight line"])
        for name in runs["straight line"][0].told["steps"]
    }
    imports = sum(value for name, value in script.items() if name.startswith("import"))
    told = {name: sum(script[part] for part in parts) for name, parts in STRAIGHT.items()}
    rest = statistics.median(run.wall - sum(run.told["steps"].values()) for run in runs["straight line"])
    named = {
        "start": ("Python, imports, Prefect's start", imports),
        "between": ("between the steps: Prefect, the lock, the result", 0.0),
        "exit": ("from the end to the exit", rest),
    }
    names = list(dict.fromkeys(name for phase in phases for name in phase))
    rows = []
    for name in names:
        title, other = named.get(name, (name, told.get(name, 0.0)))
        rows.append((title, statistics.median(phase.get(name, 0.0) for phase in phases), other))
    table("Where the time goes, seconds", ("", "evergreen retrain", "straight line"), rows)
    console.print("[dim]Imports fall into the step that needs them first; the script has them all at the start.[/]")


def imports_by_library(traces: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Seconds by library and side, from what `python -X importtime` writes."""
    found: dict[str, dict[str, float]] = {}
    for side, trace in traces.items():
        for own, module in IMPORTED.findall(trace):
            library = found.setdefault(module.split(".")[0], dict.fromkeys(traces, 0.0))
            library[side] += int(own) / 1e6
    return found


def _show_imports(traces: Mapping[str, str]) -> None:
    """Print the twenty libraries that take longest."""
    found = imports_by_library(traces)
    ordered = sorted(found.items(), key=lambda item: -max(item[1].values()))
    rows: list[tuple[object, ...]] = [(name, *times.values()) for name, times in ordered[:20]]
    rows.append(("all", *(sum(times[side] for times in found.values()) for side in traces)))
    table("Imports by library, seconds, traced with -X importtime", ("", *traces), rows)
    console.print("[dim]Tracing makes imports slower; read these as shares.[/]")
