"""Run tasks in parallel: in threads of the flow's process, or on a Dask cluster if the settings say so.

The choice is made when a flow runs, not at import, so that one deployment serves both. Dask is imported only if used.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from evergreen.backtest.job_runner import processes
from evergreen.errors import EvergreenError
from evergreen.settings import Settings

_MOST = 4
_WAIT_SECONDS = 10
_ANY_PORT = "127.0.0.1:0"
"""Of the dashboard; two clusters on one machine would claim the same fixed port."""


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
        raise _without_dask() from None
    if settings.dask:
        _require_scheduler(settings.dask)
        return DaskTaskRunner(address=settings.dask)
    # One thread a process: chunks take turns at Python's lock otherwise.
    cluster = {"n_workers": workers(settings), "threads_per_worker": 1, "dashboard_address": _ANY_PORT}
    return DaskTaskRunner(cluster_kwargs=cluster)


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
    try:
        from distributed import Client
    except ImportError:
        raise _without_dask() from None
    if settings.dask:
        _require_scheduler(settings.dask)
    own = {"n_workers": workers(settings), "threads_per_worker": 1, "dashboard_address": _ANY_PORT}
    with Client(settings.dask or None, **({} if settings.dask else own)) as client:  # type: ignore[no-untyped-call]
        yield client.get_executor(pure=False)


def _without_dask() -> EvergreenError:
    return EvergreenError(
        "EVERGREEN_RUNNER=dask needs the Dask extra, which is not installed.",
        'Run: pip install ".[dask]"; or unset EVERGREEN_RUNNER.',
    )


def _require_scheduler(address: str) -> None:
    """Check that something listens there; Dask itself retries for 30 seconds and ends with a traceback."""
    fix = "Start it: dask scheduler; or set EVERGREEN_DASK to its address, such as tcp://scheduler:8786."
    try:
        parts = urlsplit(address if "://" in address else f"tcp://{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if host is None or port is None:
        raise EvergreenError("EVERGREEN_DASK is not the address of a Dask scheduler.", fix)
    try:
        socket.create_connection((host, port), timeout=_WAIT_SECONDS).close()
    except OSError as error:
        raise EvergreenError(
            f"The Dask scheduler at {host}:{port} does not answer ({type(error).__name__}).", fix
        ) from None
