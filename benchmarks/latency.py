"""From an event to the first line of a flow's code, on the stack of `evergreen up` as it ships; and what it costs idle.

The flow imports what a retraining imports and does nothing, so that a run is not in the next one's way. Each event is
emitted by a process of its own, as a monitor run does, and reaches the stack at another moment of the worker's poll.
"""

from __future__ import annotations

import itertools
import json
import random
import statistics
import time
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import psutil

from benchmarks.measure import Finding, Scale, asked, console, fresh, python, table, within

DEPLOYMENT = "canary"
_AUTOMATION = "benchmark latency"
_EVENTS = 9
_IDLE_SECONDS = 40
_SETTLE_SECONDS = 20


_CANARIES = {"name": {"any_": ["canary"]}}
_PARTS = {
    "trigger fired": "trigger: the automation fires",
    "run made": "scheduling: the flow run is made",
    "taken up": "poll: the worker takes it up",
    "process": "process: Python starts",
    "imported": "imports: Prefect's engine and the flow",
    "running": "engine: the run is told to be running",
    "first line": "first line of the flow",
}

Times = dict[str, float]
"""Seconds since 1970 of what happened between an event and a first line."""


def run(scale: Scale, folder: Path, api: str) -> list[Finding]:
    """Bring up a stack of the benchmark's own, and end it; the server that the other parts use is not touched."""
    tiny = not scale.details
    home = folder / "latency"
    told = home / "told"
    told.mkdir(parents=True)
    environment = {"EVERGREEN_HOME": str(home)}
    began = fresh(python("deployments.cli", "up", "--detach", "--json"), environment)
    try:
        own = str(began.told["api"])
        environment |= {"PREFECT_API_URL": own, "PREFECT_HOME": str(home / "prefect")}
        _deploy(own, told)
        starts = [_start(own, environment, told, number) for number in range(2 if tiny else _EVENTS + 1)]
        idle, memory = _idle(home, tiny)
        _add_triggers(own, starts)
    finally:
        fresh(python("deployments.cli", "down", "--json"), {"EVERGREEN_HOME": str(home)})
    starts = starts[1:]
    _show(starts)
    median = statistics.median(times["first line"] - times["sent"] for times in starts)
    return [
        within("evergreen up, from nothing to healthy", began.wall, 60, " s"),
        within("event to the first line of flow code, median", median, 3, " s"),
        within("idle CPU of the whole stack, of one core", idle, 10, " %"),
        Finding("memory of the whole stack", f"{memory:.0f} MB", "told", True),
    ]


def _deploy(api: str, told: Path) -> None:
    """A deployment that is started as those of prefect.yaml are, and a trigger like theirs."""
    shipped = asked(api, "deployments/filter", {"limit": 1, "flows": {"name": {"any_": ["retrain"]}}})[0]
    flow = asked(api, "flows/", {"name": "canary"})["id"]
    deployment = asked(
        api,
        "deployments/",
        {
            "name": DEPLOYMENT,
            "flow_id": flow,
            "entrypoint": "benchmarks.canary.canary",
            **{name: shipped[name] for name in ("work_pool_name", "job_variables", "pull_steps")},
        },
    )["id"]
    trigger = {"type": "event", "posture": "Reactive", "threshold": 1, "within": 0, "expect": ["benchmark.latency"]}
    action = {
        "type": "run-deployment",
        "source": "selected",
        "deployment_id": deployment,
        "parameters": {"place": str(told), "event": "{{ event.payload.event }}"},
    }
    asked(api, "automations/", {"name": _AUTOMATION, "trigger": trigger, "actions": [action]})


def _start(api: str, environment: Mapping[str, str], told: Path, number: int) -> Times:
    """Emit one event and follow it."""
    time.sleep(random.Random(number).uniform(1, 3))
    name = f"event-{number}"
    sent = float(fresh(python("benchmarks.canary", name), environment).told["sent"])
    deadline = time.monotonic() + 60
    while not (told / name).exists():
        if time.monotonic() > deadline:
            raise RuntimeError("the flow did not start within a minute; see the logs folder of the stack")
        time.sleep(0.05)
    run = asked(api, "flow_runs/filter", {"sort": "EXPECTED_START_TIME_DESC", "limit": 1, "flows": _CANARIES})[0]
    assert run["parameters"]["event"] == name, run
    with urllib.request.urlopen(f"{api}/flow_run_states/?flow_run_id={run['id']}", timeout=30) as answer:  # noqa: S310
        states = {state["name"]: _seconds(state["timestamp"]) for state in json.load(answer)}
    times = json.loads((told / name).read_text()) | {"sent": sent, "run made": states["Scheduled"]}
    times |= {"taken up": states["Pending"], "running": states["Running"]}
    console.print(f"[dim]  event {number or 'to warm up'}: {times['first line'] - sent:.2f} s[/]")
    return dict(times)


def _add_triggers(api: str, starts: Sequence[Times]) -> None:
    """When the automation fired; its events reach the database some seconds later, in the order of ours."""
    wanted = {"filter": {"event": {"name": ["prefect.automation.triggered"]}, "order": "ASC"}, "limit": 50}
    fired = [_seconds(event["occurred"]) for event in asked(api, "events/filter", wanted)["events"]]
    assert len(fired) == len(starts), (len(fired), len(starts))
    for times, at in zip(starts, fired, strict=True):
        times["trigger fired"] = at


def _idle(home: Path, tiny: bool) -> tuple[float, float]:
    """CPU of every process of the stack in % of one core, and their memory in MB (shared pages counted once)."""
    time.sleep(_SETTLE_SECONDS)
    daemon = int((home / "stack" / "supervisord.pid").read_text())
    processes = [psutil.Process(daemon), *psutil.Process(daemon).children(recursive=True)]
    seconds = 2 if tiny else _IDLE_SECONDS
    before = {process: _cpu(process) for process in processes}
    began = time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - began
    rows = []
    for process in processes:
        used = 100 * (_cpu(process) - before[process]) / passed
        rows.append((_name(process), used, round(process.memory_full_info().pss / 1e6)))
    table(f"The stack, idle for {passed:.0f} s", ("", "% of one core", "MB"), rows)
    return sum(row[1] for row in rows), float(sum(row[2] for row in rows))


def _cpu(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


def _name(process: psutil.Process) -> str:
    words = process.cmdline()
    return " ".join(words[words.index("-m") + 1 :][:3]) if "-m" in words else process.name()


def _show(starts: Sequence[Times]) -> None:
    rows = []
    for before, after in itertools.pairwise(("sent", *_PARTS)):
        spent = [times[after] - times[before] for times in starts]
        rows.append((f"{_PARTS[after]}", statistics.median(spent), min(spent), max(spent)))
    whole = [times["first line"] - times["sent"] for times in starts]
    rows.append(("from the event to the first line", statistics.median(whole), min(whole), max(whole)))
    table(f"Parts of a start, {len(starts)} events, seconds", ("", "median", "fastest", "slowest"), rows)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
