"""Replay the history of a model under several policies, in processes beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from evergreen.backtest.job_cache import Store
from evergreen.backtest.job_pool import Pool, Source, Spent
from evergreen.backtest.report import Backtest
from evergreen.backtest.request import Request, named, steps_of
from evergreen.backtest.run import run
from evergreen.backtest.scores import Prices
from evergreen.backtest.simulation import Course
from evergreen.registry.lineage import of_code
from evergreen.runs.context import Workspace
from evergreen.timestamps import as_utc
from models import spec_of


@task(cache_policy=NO_CACHE, timeout_seconds=12 * 3600, task_run_name="replay")
def replay(
    workspace: Workspace, asked: Mapping[str, Any], delay: timedelta | None, pool: Executor | None, workers: int
) -> Backtest:
    """What every policy would have brought; `asked` are the fields of a `Request`, as they were typed."""
    spec, settings, logger = workspace.spec, workspace.settings, get_run_logger()
    times: dict[str, Any] = {name: as_utc(value) for name, value in asked.items() if isinstance(value, datetime)}
    request = Request(
        **dict(asked)
        | times
        | {
            "policies": named(asked["policies"], spec),
            "prices": Prices(asked["prices"].get("retrain"), asked["prices"].get("error")),
        }
    )
    store = Store(settings.root / "backtest" / spec.name)
    version = workspace.observations.snapshot().version
    reader = partial(spec_of, spec.name, settings.models)
    source = Source(reader, settings.lake_uri, store, workspace.spec_hash, version, delay)
    bench = source.bench()
    steps = steps_of(bench.history, request.since)
    course = Course(steps, workspace.spec_hash, request.schedule, request.train_time, of_code())

    def progress(spent: Spent) -> None:
        logger.debug("replay: %s", spent)

    logger.info("replay: %d steps from %s to %s", len(steps) - 1, f"{steps[0]:%Y-%m-%d}", f"{steps[-1]:%Y-%m-%d}")
    found = run(bench, Pool(bench, source, pool, workers, progress), course, request)
    logger.info("replay: %s", found.spent)
    return found
