"""One backtest in a process of its own: `python -m benchmarks.replayed FILE DAYS`; prints one JSON object.

FILE is an hourly file of the UCI schema, whose counts become known a week later; its first DAYS days are the history.
Where the lake holds the file already, nothing is landed again.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.weeks import MODEL, Stream, read, refit_by_script

if TYPE_CHECKING:
    from evergreen.backtest.job_runner import JobRunner
    from evergreen.backtest.simulation import SimulationPlan


def main() -> None:
    """Land, replay, tell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("days", type=int)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--script", action="store_true", help="stand a plain script beside it, which takes minutes")
    given = parser.parse_args()

    import models
    from evergreen.backtest.job_cache import JobCache
    from evergreen.backtest.job_runner import JobRunner, JobSource, processes
    from evergreen.backtest.request import Request, steps_of
    from evergreen.backtest.run import run
    from evergreen.backtest.simulation import SimulationPlan
    from evergreen.data.observations import Observations
    from evergreen.ingest.ingest import ingest
    from evergreen.settings import load_settings
    from evergreen.spec import Every, OnDrift, OnPerformance, any_of

    settings = load_settings()
    loaded = models.load(MODEL, settings.models)
    observations = Observations(settings.lake_uri, loaded.spec)
    stream = read(given.file, timedelta(days=7))
    end = stream.rows["at"].min() + timedelta(days=given.days)
    if not observations.table.exists():
        stream.land(settings.landing, None, end.to_pydatetime())
        ingest(loaded.spec, settings, now=datetime.now(UTC))
    began = time.perf_counter()
    reader = partial(models.load_spec, MODEL, settings.models)
    store = JobCache(settings.root / "backtest" / MODEL)
    source = JobSource(reader, settings.lake_uri, store, loaded.hash, observations.snapshot().version)
    bench = source.context()
    steps = steps_of(bench.history)
    turn = datetime(2012, 1, 5, tzinfo=UTC)
    with processes(given.workers) as executor:
        pool = JobRunner(bench, source, executor)
        asked = Request(report_from=turn if steps[4] < turn < steps[-4] else None)
        plan = SimulationPlan(steps, loaded.hash, recipe=loaded.recipe)
        found = run(pool, plan, asked)
        wall = time.perf_counter() - began
        since = asked.report_from or steps[len(steps) // 2]
        policies: dict[str, Any] = {
            "every week": Every(days=7),
            "on drift or performance": any_of(OnDrift(), OnPerformance()),
        }
        stream = Stream(stream.rows[stream.rows["known_at"] < end])
        beside = [
            {"name": name} | _beside_script(pool, plan, stream, policies[name], since)
            for name in policies
            if given.script
        ]
    spent = {"fresh": pool.spent.fresh, "seconds": pool.spent.seconds, "fresh_seconds": pool.spent.fresh_seconds}
    print(json.dumps(found.to_json() | spent | {"wall": wall, "replayed": len(steps) - 1, "beside": beside}))


def _beside_script(
    pool: JobRunner, plan: SimulationPlan, stream: Stream, policy: Any, since: datetime
) -> dict[str, Any]:
    """The error of a policy in the steps from `since` on, and of a script that refits whenever the policy asks."""
    import numpy as np

    from evergreen.backtest.scores import series
    from evergreen.backtest.simulation import Simulation

    simulation = Simulation(pool, plan, policy)
    result = pool.run({"policy": simulation.run})["policy"]
    served = [step for step in result.predicted if step.start >= since]
    mine = series(simulation.spec, simulation.heavy.history, served)
    moments = sorted({each.at for each in result.trained})
    # What the script had learned before the last refit that serves these steps, nobody asks for.
    moments = moments[max(sum(moment <= served[0].start for moment in moments) - 1, 0) :]
    script = refit_by_script(stream, moments, plan.steps[-1])
    rows = stream.rows.loc[script.index]
    rows = rows[rows["at"] >= served[0].start]
    return {
        "error": mine.value(),
        "script": float(np.abs(script.loc[rows.index] - rows["cnt"]).mean()),
        "asked": sum(each.at >= since for each in result.trained),
        "promoted": sum(each.at >= since and each.outcome == "promoted" for each in result.trained),
        "rows": [float(mine.rows.sum()), len(rows)],
    }


if __name__ == "__main__":
    main()
