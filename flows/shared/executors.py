"""Run tasks in parallel: in threads of the flow's process, or on a Dask cluster if the settings say so.

The choice is made when a flow runs, not at import, so that one deployment serves both. Dask is imported only if used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from typing import Any

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

import models
from evergreen.backtest.job_runner import processes
from evergreen.runs.context import RunContext
from evergreen.settings import Settings
from evergreen.training.dask_cluster import ClusterExecutor, open_cluster, own_cluster, require_scheduler, without_dask
from evergreen.training.workers import FitWorkers

_MOST = 4


def workers(settings: Settings) -> int:
    """The number of tasks that run in parallel, in threads or on the run's own cluster."""
    return settings.workers or min(_MOST, os.cpu_count() or 1)


def task_runner(settings: Settings) -> TaskRunner[Any]:
    """The task runner of the settings, not started yet: a context manager with `submit`.

    Raises:
        EvergreenError: the `dask` extra is not installed, or the scheduler does not answer.
    """
    if settings.runner == "threads":
        return ThreadPoolTaskRunner(max_workers=workers(settings))
    try:
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError:
        raise without_dask() from None
    if settings.dask:
        require_scheduler(settings.dask)
        return DaskTaskRunner(address=settings.dask)
    return DaskTaskRunner(cluster_kwargs=own_cluster(workers(settings)))


@contextmanager
def executor(settings: Settings) -> Iterator[Executor | None]:
    """Parallel processes for functions that are no tasks; None if one process, the current one, is enough.

    Raises:
        EvergreenError: as in `task_runner`.
    """
    if settings.runner == "threads":
        with processes(workers(settings)) as pool:
            yield pool
        return
    with open_cluster(settings.dask, workers(settings)) as cluster:
        yield ClusterExecutor(cluster)


def fit_workers(context: RunContext) -> FitWorkers | None:
    """The processes for the parts of a fit, not opened yet; None on threads, where a fit is one process."""
    settings = context.settings
    if settings.runner == "threads":
        return None
    read_model = partial(models.load_same, context.spec.name, settings.models, context.spec_hash, context.recipe)
    return FitWorkers(partial(open_cluster, settings.dask, workers(settings)), read_model)
