"""One side of the part `scale`, in a process of its own; prints one JSON object.

`python -m benchmarks.scaled search ROUNDS ROWSxCOMBINATIONS ...`, or `backtest FILE DAYS FOLDER ROUNDS`
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from evergreen.spec.model import ModelSpec
    from evergreen.training.workers import FitWorkers

WORKERS = 2


def main() -> None:
    """Measure what is named."""
    kind, *words = sys.argv[1:]
    print(json.dumps(SIDES[kind](*words)))


def search(rounds: str, *sizes: str) -> dict[str, Any]:
    """The search of `bike_demand` and its last fit: in this process, and with the folds on a cluster that is up."""
    import models
    from evergreen.settings import load_settings
    from evergreen.training.dask_cluster import open_cluster
    from evergreen.training.fit import fit
    from evergreen.training.workers import FitWorkers

    folder = load_settings().models
    loaded = models.load("bike_demand", folder)
    spec, first = loaded.spec, _hours(1_000)
    read_model = partial(models.load_same, spec.name, folder, loaded.hash, loaded.recipe)
    fit(spec, first, None)
    began, before = time.perf_counter(), time.process_time()
    with FitWorkers(partial(open_cluster, "", WORKERS), read_model) as workers:
        # The first fit on a worker imports, as the first one here did.
        fit(spec, first, None, workers=workers)
        client = workers.backend.cluster.client

        def processor() -> float:
            return time.process_time() + float(sum(client.run(time.process_time).values()))

        start = {"seconds": time.perf_counter() - began, "processor": processor() - before}
        start["mb"] = statistics.median(client.run(_resident_mb).values())
        told = {}
        for size in sizes:
            rows, combinations = map(int, size.split("x"))
            told[size] = _searched(_widened(spec, combinations), _hours(rows), workers, int(rounds), processor)
    return {"start": start, "sizes": told}


def _widened(spec: ModelSpec, combinations: int) -> ModelSpec:
    """The model with an even number of combinations to try; with four they are those that it ships with."""
    import numpy as np

    rates = np.linspace(0.1, 0.2, combinations // 2).round(4).tolist()
    grid = {**spec.search.grid, "model__learning_rate": tuple(rates)}
    return spec.model_copy(update={"search": spec.search.model_copy(update={"grid": grid})})


def _searched(
    spec: ModelSpec, frame: pd.DataFrame, workers: FitWorkers, rounds: int, processor: Callable[[], float]
) -> dict[str, Any]:
    """Pairs of a fit here and one on the workers, at one size."""
    import numpy as np

    from evergreen.training.fit import fit

    times: dict[str, list[float]] = {"one process": [], "dask": []}
    spent: dict[str, list[float]] = {"one process": [], "dask": []}
    for _ in range(rounds):
        tried = []
        for name, side in (("one process", None), ("dask", workers)):
            before, began = processor(), time.perf_counter()
            tried.append(fit(spec, frame, None, workers=side).tried)
            times[name].append(time.perf_counter() - began)
            spent[name].append(processor() - before)
        if tried[0] != tried[1]:
            raise RuntimeError("the values of the search differ between one process and the workers")
    return {
        "seconds": {name: statistics.median(held) for name, held in times.items()},
        "processor": {name: statistics.median(held) for name, held in spent.items()},
        "ratio": statistics.median(
            there / here for here, there in zip(times["one process"], times["dask"], strict=True)
        ),
        "mb": float(np.sum(frame.memory_usage(deep=True))) / 1e6,
    }


def backtest(file: str, days: str, place: str, rounds: str) -> dict[str, Any]:
    """A whole backtest with nothing known from before: in one process, in two, and on a cluster of two workers."""
    import models
    from benchmarks.weeks import MODEL, read
    from evergreen.backtest.job_cache import JobCache
    from evergreen.backtest.job_runner import JobRunner, JobSource, processes
    from evergreen.backtest.request import Request, named, steps_of
    from evergreen.backtest.run import run
    from evergreen.backtest.simulation import SimulationPlan
    from evergreen.data.observations import Observations
    from evergreen.ingest.ingest import ingest
    from evergreen.settings import load_settings
    from evergreen.training.dask_cluster import ClusterExecutor, open_cluster

    settings = load_settings()
    loaded = models.load(MODEL, settings.models)
    observations = Observations(settings.lake_uri, loaded.spec)
    stream = read(Path(file), timedelta(days=7))
    stream.land(settings.landing, None, (stream.rows["at"].min() + timedelta(days=int(days))).to_pydatetime())
    ingest(loaded.spec, settings, now=datetime.now(UTC))
    reader = partial(models.load_same, MODEL, settings.models, loaded.hash, loaded.recipe)

    def once(number: int, name: str, opened: AbstractContextManager[Any]) -> tuple[float, str, int]:
        began = time.perf_counter()
        cache = JobCache(Path(place) / f"{number}-{name}")
        source = JobSource(reader, settings.lake_uri, cache, loaded.hash, observations.snapshot().version)
        jobs = source.context()
        with opened as pool:
            executor: Executor | None = ClusterExecutor(pool) if name == "dask" else pool
            runner = JobRunner(jobs, source, executor)
            steps = steps_of(jobs.history)
            plan = SimulationPlan(steps, loaded.hash, train_time=timedelta(hours=1), recipe=loaded.recipe)
            found = run(runner, plan, Request(named(["every 14 days", "on drift"], loaded.spec)))
        told = str([(row.variant, row.error, row.retrains, row.rejected) for row in found.rows])
        return time.perf_counter() - began, told, len(steps) - 1

    opened: dict[str, Callable[[], AbstractContextManager[Any]]] = {
        "one process": nullcontext,
        "two processes": lambda: processes(WORKERS),
        "dask": lambda: open_cluster("", WORKERS),
    }
    times: dict[str, list[float]] = {name: [] for name in opened}
    spent: dict[str, list[float]] = {name: [] for name in opened}
    told = set()
    for number in range(int(rounds)):
        for name, side in opened.items():
            before = _processor()
            seconds, outcome, steps = once(number, name, side())
            times[name].append(seconds)
            spent[name].append(_processor() - before)
            told.add(outcome)
    if len(told) != 1:
        raise RuntimeError("the sides of the backtest came to other figures")
    here = times["one process"]
    return {
        "steps": steps,
        "seconds": {name: statistics.median(held) for name, held in times.items()},
        "processor": {name: statistics.median(held) for name, held in spent.items()},
        "ratio": {
            name: statistics.median(b / a for a, b in zip(here, held, strict=True)) for name, held in times.items()
        },
    }


def _processor() -> float:
    """Processor seconds of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _resident_mb() -> float:
    import os

    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _hours(rows: int) -> Any:
    """Simulated hours as the table of observations has them, as many as asked for."""
    from datetime import date

    import pandas as pd

    from evergreen.sources.simulator import simulate
    from models.bike_demand import prepare

    years = [prepare(simulate(date(2011, 1, 1), 730, seed=seed, growth=0.0)) for seed in range(rows // 16_000 + 1)]
    frame = pd.concat(years, ignore_index=True).head(rows)
    return frame.assign(at=pd.date_range("2000-01-01", periods=rows, freq="h", tz="UTC"))


SIDES: dict[str, Callable[..., dict[str, Any]]] = {"search": search, "backtest": backtest}

if __name__ == "__main__":
    main()
