"""A hundred models in one project: what `deployments sync` and `apply`, `status` and the first page cost.

The model files are copies of a shipped one. What is stored of them is copied from one model whose tables were written
commit by commit: hourly reports of drift and performance, and the runs that made them. The Prefect server's own time is
told apart: it makes the runs of every schedule while it is asked.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from benchmarks.measure import PROJECT, Finding, Run, Scale, fresh, python, table, within

if TYPE_CHECKING:
    from evergreen.settings import Settings

MODELS, HOURS = 100, 480
MOST_CPU, MOST_WALL = 60.0, 2.0
_MODEL = (PROJECT / "models" / "iris.py").read_text()
_COLUMNS = 8


def run(scale: Scale, folder: Path, api: str) -> list[Finding]:
    """Measure each step in a process of its own, twice: the first time, and where nothing has changed since."""
    count, hours = (MODELS, HOURS) if scale.details else (4, 30)
    place = folder / "fleet"
    fresh(python("benchmarks.fleet", "build", place, count, hours))
    environment = {"PREFECT_API_URL": api, "PREFECT_HOME": str(place / "prefect")}
    environment |= {"EVERGREEN_HOME": str(place / "home"), "EVERGREEN_MODELS": str(place / "models")}
    rows: list[tuple[object, ...]] = []
    findings = []
    for step in ("sync", "apply", "automations", "status", "index"):
        words = python("deployments.cli", "status") if step == "status" else python("benchmarks.fleet", step, place)
        for again in (False, True):
            before = _server_seconds(api)
            done = fresh(words, environment)
            server = _server_seconds(api) - before
            rows.append((f"{step}{', again' if again else ''}", done.wall, done.cpu, server, round(done.peak_mb)))
            findings += _judge(step, done, count, again=again)
    table(
        f"{count} models, {3 * count} deployments, {hours} reports of each kind for each model",
        ("", "wall s", "CPU s", "server's CPU s", "peak MB"),
        rows,
    )
    return findings


def _judge(step: str, done: Run, count: int, *, again: bool) -> list[Finding]:
    what = f"{step} of {count} models{', again' if again else ''}"
    if step in ("sync", "apply", "automations"):
        return [within(f"{what}, processor time", done.cpu, MOST_CPU, " s")]
    seconds = done.told.get("seconds", done.wall)
    return [within(f"{what}, wall time", float(seconds), MOST_WALL, " s")]


def build(place: Path, count: int, hours: int) -> None:
    """Write the model files, and what is stored of each model."""
    from evergreen.settings import Settings

    settings = Settings(home=place / "home", models=place / "models")
    settings.models.mkdir(parents=True)
    shutil.copy(PROJECT / "prefect.yaml", place)
    names = [f"model_{number:03}" for number in range(count)]
    for name in names:
        (settings.models / f"{name}.py").write_text(_MODEL.replace('name="iris"', f'name="{name}"'))
    _store(settings, names[0], hours)
    for name in names[1:]:
        shutil.copytree(Path(settings.lake_uri, names[0]), Path(settings.lake_uri, name))


def _store(settings: Settings, model: str, hours: int) -> None:
    """A champion that was promoted, and what its hourly monitor runs stored since."""
    from evergreen.decision import Decision
    from evergreen.details.watch import DriftDetail, PerformanceDetail
    from evergreen.ledger.decisions import Decisions
    from evergreen.ledger.drift_scores import ColumnDrift
    from evergreen.ledger.promotions import Move, Promotions
    from evergreen.runs.history import Run as FlowRun
    from evergreen.runs.history import Runs
    from evergreen.verdicts import Verdict

    now, lake = datetime.now(UTC), settings.lake_uri
    since = now - timedelta(hours=hours + 1)
    Promotions(lake, model).write(Move("first", since, "promote", "done", None, 1, "schedule", "first", "retrain"))
    decisions, runs = Decisions(lake, model), Runs(lake, model)
    drift = DriftDetail(
        share=0.0, threshold=0.3, columns=(), report=None, confirmed=True, failed=(0, 1), needed=1, answered_by=""
    )
    performance = PerformanceDetail("log_loss", 0.2, (0.1, 0.3), 0.2, 200)
    columns = [
        ColumnDrift(f"column_{number}", "numeric", Verdict.PASS, 0.05, "PSI", 0.2, 0.0, 0.0, 0.0, "")
        for number in range(_COLUMNS)
    ]
    for hour in range(hours):
        at = now - timedelta(hours=hours - hour)
        decisions.record(Decision(f"drift-{hour}", "drift", at, "PASS", 1, hour, "", "nothing drifted", drift))
        decisions.record_scores(f"drift-{hour}", at, 1, columns)
        decisions.record(
            Decision(f"performance-{hour}", "performance", at, "PASS", 1, hour, "", "as at promotion", performance)
        )
        runs.record(FlowRun("monitor", f"run-{hour}", at, 3.0, 100, 0.5, "PASS", 2.0))


def _server_seconds(api: str) -> float:
    """Processor seconds of the process that listens at a port of this machine."""
    import psutil

    port = urlsplit(api).port
    for connection in psutil.net_connections("tcp"):
        if (
            connection.status == psutil.CONN_LISTEN
            and connection.laddr
            and connection.laddr.port == port
            and connection.pid
        ):
            times = psutil.Process(connection.pid).cpu_times()
            return float(times.user + times.system)
    return 0.0


def _sync(place: Path, settings: Settings) -> dict[str, Any]:
    from deployments.manifest import sync

    return {"changes": len(sync.sync(settings, place / "prefect.yaml").changes)}


def _apply(place: Path, settings: Settings) -> dict[str, Any]:
    from deployments.manifest import apply

    return {"deployed": len(apply.apply(settings.environment, place / "prefect.yaml").deployed)}


def _automations(_place: Path, settings: Settings) -> dict[str, Any]:
    from deployments.automations import sync

    return {"made": len(sync.sync(settings).made)}


def _index(_place: Path, settings: Settings) -> dict[str, Any]:
    from deployments.stack.page_server import PageCache
    from evergreen.pages.links import PageLinks

    began = time.perf_counter()
    letters = len(PageCache(settings, PageLinks()).index())
    return {"letters": letters, "seconds": time.perf_counter() - began}


STEPS: Mapping[str, Callable[[Path, Settings], dict[str, Any]]] = {
    "sync": _sync,
    "apply": _apply,
    "automations": _automations,
    "index": _index,
}


def main() -> None:
    """One step in a process of its own: `python -m benchmarks.fleet STEP FOLDER`."""
    from evergreen.settings import load_settings

    if sys.argv[1] == "build":
        build(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
        return
    print(json.dumps(STEPS[sys.argv[1]](Path(sys.argv[2]), load_settings())))


if __name__ == "__main__":
    main()
