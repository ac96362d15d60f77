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

from benchmarks.weeks import MODEL, read


def main() -> None:
    """Land, replay, tell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("days", type=int)
    parser.add_argument("--workers", type=int, default=2)
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

    settings = load_settings()
    loaded = models.load(MODEL, settings.models)
    observations = Observations(settings.lake_uri, loaded.spec)
    if not observations.table.exists():
        stream = read(given.file, timedelta(days=7))
        end = stream.rows["at"].min() + timedelta(days=given.days)
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
        found = run(pool, SimulationPlan(steps, loaded.hash, recipe=loaded.recipe), asked)
    spent = {"fresh": pool.spent.fresh, "seconds": pool.spent.seconds, "fresh_seconds": pool.spent.fresh_seconds}
    print(json.dumps(found.to_json() | spent | {"wall": time.perf_counter() - began, "replayed": len(steps) - 1}))


if __name__ == "__main__":
    main()
