"""Work out what several simulations ask for: each job once, in processes beside each other.

A simulation runs in a thread of its own and waits for the results that it asks for, so that its code is a plain loop.
What several of them ask for is one job; a process that has nothing to do takes a fit that will be asked for later.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import (
    FIRST_EXCEPTION,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from evergreen.backtest.history import History
from evergreen.backtest.job_cache import JobCache
from evergreen.backtest.jobs import Job, JobContext, key_of_job, read_result, work_out
from evergreen.data.observations import Observations
from evergreen.errors import EvergreenError
from evergreen.markdown import many
from evergreen.spec.model import ModelSpec

T = TypeVar("T")
JobResult = Mapping[str, Any]
_Name = tuple[str, str]
_AHEAD = 2
"""Jobs for later that are under way at a time: more would stand before what a simulation waits for."""
_NAMES = {
    "fit": ("fit",),
    "drift": ("drift report",),
    "performance": ("performance report",),
    "shadow": ("look at a promotion", "looks at promotions"),
    "gate": ("gate",),
    "serve": ("prediction",),
}


@dataclass(frozen=True, slots=True)
class JobSource:
    """How a process of its own comes to the same context: everything in it can be sent to one.

    Attributes:
        model: reads the model file; a function of a module, for a model's own functions cannot be sent.
        lake: where the observations are.
        cache: where results are kept.
        spec_hash: of the model file's code, so that a process that lives on notices another one.
        version: of the observations' table.
        delay: as in `History.of`.
    """

    model: Callable[[], ModelSpec]
    lake: str
    cache: JobCache
    spec_hash: str
    version: int
    delay: timedelta | None = None

    def context(self) -> JobContext:
        """The context of this process.

        Raises:
            DataError: there is no history to simulate on.
        """
        spec = self.model()
        return JobContext(spec, History.of(Observations(self.lake, spec), self.delay, self.version), self.cache)


@dataclass(slots=True)
class Spent:
    """What the jobs of a backtest took.

    Attributes:
        fresh: by kind, how many were worked out now.
        known: by kind, how many were known from an earlier run.
        seconds: by kind, the processor seconds of all of them, whenever they were worked out.
        fresh_seconds: those of the ones that were worked out now.
    """

    fresh: dict[str, int] = field(default_factory=dict)
    known: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    fresh_seconds: float = 0.0

    def __str__(self) -> str:
        fresh = ", ".join(many(number, *_NAMES[kind]) for kind, number in self.fresh.items()) or "nothing new"
        return f"{fresh}; {many(sum(self.known.values()), 'result was', 'results were')} known from before"

    def add(self, kind: str, cost: float, *, fresh: bool) -> None:
        """Count a job that took so many processor seconds."""
        counts = self.fresh if fresh else self.known
        counts[kind] = counts.get(kind, 0) + 1
        self.seconds[kind] = self.seconds.get(kind, 0.0) + cost
        self.fresh_seconds += cost if fresh else 0.0


class _StoppedError(EvergreenError):
    """Another simulation failed, so that this one is not wanted any more."""


class JobRunner:
    """Gives the results of jobs, each worked out once.

    Attributes:
        context: this process's own.
        spent: what was done so far.
    """

    def __init__(
        self,
        context: JobContext,
        source: JobSource | None = None,
        executor: Executor | None = None,
        progress: Callable[[Spent], None] = lambda _spent: None,
    ) -> None:
        """Without an executor every job is worked out here, when it is asked for."""
        self.context, self.spent = context, Spent()
        self._source, self._executor, self._progress = source, executor, progress
        self._results: dict[_Name, Future[JobResult]] = {}
        self._lock = threading.Lock()
        self._later: Iterator[Job] = iter(())
        self._stopped = False

    def result(self, job: Job) -> Any:
        """The result of a job, worked out where it is not known.

        Raises:
            EvergreenError: the input was at fault, or a process died.
        """
        if self._stopped:
            raise _StoppedError("The backtest was stopped.", "Run it again: it goes on from what was worked out.")
        try:
            return read_result(job.kind, self._begin(job).result())
        except BrokenProcessPool:
            raise EvergreenError(
                "A process of the backtest died.", "Run it again: it goes on from what was worked out."
            ) from None

    def known(self, job: Job) -> JobResult | None:
        """The result of a job from an earlier run; None where it has to be worked out."""
        known = self.context.cache.find(job.kind, key_of_job(self.context, job))
        whole = known is not None and (job.kind != "fit" or self._has_fit(known))
        return known if whole else None

    def run(self, simulations: Mapping[str, Callable[[], T]], later: Iterable[Job] = ()) -> dict[str, T]:
        """Run the simulations to their ends; `later` are jobs that will be asked for, in that order.

        Raises:
            EvergreenError: a simulation gave up, or a process died.
        """
        if self._executor is None:
            return {name: simulate() for name, simulate in simulations.items()}
        self._later = iter(tuple(later))
        for _ in range(_AHEAD):
            self._begin_later()
        with ThreadPoolExecutor(len(simulations), thread_name_prefix="simulation") as threads:
            running = {name: threads.submit(simulate) for name, simulate in simulations.items()}
            try:
                wait(running.values(), return_when=FIRST_EXCEPTION)
            finally:
                self._later = iter(())
                # Where one failed, or the run is interrupted, the others end at their next job.
                self._stopped = not all(future.done() for future in running.values())
                for job_result in self._results.values() if self._stopped else ():
                    job_result.cancel()
        for future in running.values():
            fault = future.exception()
            if fault is not None and not isinstance(fault, (_StoppedError, CancelledError)):
                raise fault
        return {name: future.result() for name, future in running.items()}

    def _begin(self, job: Job) -> Future[JobResult]:
        """The result to come: known, under way, or begun now."""
        name = (job.kind, key_of_job(self.context, job))
        with self._lock:
            if name in self._results:
                return self._results[name]
            known = self.known(job)
            fresh = known is None
            future: Future[JobResult]
            if known is not None:
                future = Future()
                future.set_result(known)
            elif self._executor is None or self._source is None:
                future = Future()
                future.set_result(work_out(self.context, job))
            else:
                future = self._executor.submit(_work_out_there, self._source, job)
            self._results[name] = future
        future.add_done_callback(lambda done: self._count(job.kind, done, fresh=fresh))
        return future

    def _begin_later(self) -> None:
        """Begin the next job that will be asked for later, and when it is done the one after it."""
        for job in self._later:
            future = self._begin(job)
            if not future.done():
                future.add_done_callback(self._continue_later)
                return

    def _continue_later(self, done: Future[JobResult]) -> None:
        if not done.cancelled() and done.exception() is None:
            self._begin_later()

    def _has_fit(self, known: JobResult) -> bool:
        return "result" not in known or self.context.cache.fit(known["result"]["model_id"]).exists()

    def _count(self, kind: str, done: Future[JobResult], *, fresh: bool) -> None:
        if done.cancelled() or done.exception() is not None:
            return
        with self._lock:
            self.spent.add(kind, done.result()["cost"], fresh=fresh)
            self._progress(self.spent)


@contextmanager
def processes(workers: int) -> Iterator[Executor | None]:
    """So many processes of this machine; None for one, which is this one."""
    if workers < 2:
        yield None
        return
    from multiprocessing import get_context

    executor = ProcessPoolExecutor(workers, get_context("spawn"))
    try:
        yield executor
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


_CONTEXTS: dict[tuple[object, ...], JobContext] = {}
"""The context of a process that works jobs out, by what it was made of; the last one only."""
_one_at_a_time = threading.Lock()
"""A worker of a Dask cluster may have several threads; a limit of threads is one of the whole process."""


def _work_out_there(source: JobSource, job: Job) -> JobResult:
    """Work a job out in a process of its own: with one thread, since the processes are beside each other."""
    import sklearn.metrics  # noqa: F401 - loads OpenMP: what is not loaded yet is not limited
    from threadpoolctl import threadpool_limits

    name = (source.lake, source.cache, source.spec_hash, source.version, source.delay)
    with _one_at_a_time, threadpool_limits(1):
        if name not in _CONTEXTS:
            _CONTEXTS.clear()
            _CONTEXTS[name] = source.context()
        return work_out(_CONTEXTS[name], job)
