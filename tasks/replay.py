"""Replay the history of a model under several policies, in processes beside each other."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Executor
from datetime import timedelta
from functools import partial
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from evergreen.backtest.job_cache import JobCache
from evergreen.backtest.job_runner import JobRunner, JobSource
from evergreen.backtest.progress import Forecast, Report, Watch
from evergreen.backtest.report import Backtest
from evergreen.backtest.request import PLACES, Request, named, place_of, require_no_times, steps_of
from evergreen.backtest.run import run
from evergreen.backtest.scores import Prices
from evergreen.backtest.simulation import SimulationPlan
from evergreen.markdown import many
from evergreen.registry.lineage import of_code
from evergreen.runs.context import RunContext
from models import load_same
from tasks import run_logger


@task(cache_policy=NO_CACHE, timeout_seconds=12 * 3600, task_run_name="replay")
def replay(
    context: RunContext, fields: Mapping[str, Any], delay: timedelta | None, pool: Executor | None, workers: int = 1
) -> Backtest:
    """Simulate every policy, in so many processes of `pool`; `fields` are those of a backtest `Request`, as typed."""
    spec, settings, logger = context.spec, context.settings, run_logger(context.spec.name)
    times = {name: place_of(fields[name], spec, name) for name in PLACES if fields.get(name) is not None}
    require_no_times(spec, label_delay=delay, train_time=fields.get("train_time"))
    request = Request(
        **dict(fields)
        | times
        | {
            "policies": named(fields["policies"], spec),
            "prices": Prices(fields["prices"].get("retrain"), fields["prices"].get("error")),
        }
    )
    cache = JobCache(settings.backtest(spec.name))
    version = context.observations.snapshot().version
    reader = partial(load_same, spec.name, settings.models, context.spec_hash, context.recipe)
    source = JobSource(reader, settings.lake_uri, cache, context.spec_hash, version, delay)
    jobs = source.context()
    steps = steps_of(jobs.history, request.since)
    plan = SimulationPlan(
        steps, context.spec_hash, request.schedule, request.train_time, of_code(), recipe=context.recipe
    )

    def begin(forecast: Forecast) -> None:
        logger.info("replay: %s", forecast.describe(workers))

    def show(report: Report) -> None:
        # A terminal draws a bar of the share, and a pipe gets a line now and then.
        logger.debug("replay: %s", report, extra={"share_done": report.share})

    logger.info(
        "replay: %s from %s to %s",
        many(len(steps) - 1, "step"),
        *(jobs.history.clock.name(steps[end]) for end in (0, -1)),
    )
    watch = Watch(time.monotonic, begin, show)
    result = run(JobRunner(jobs, source, pool, watch.spend), plan, request, watch)
    logger.info("replay: %s", result.spent)
    return result
