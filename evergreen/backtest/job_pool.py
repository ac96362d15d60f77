"""Working out what several walks ask for at the same time: each job once, in processes beside each other.

A walk is a generator: it yields a job and is sent its result. All walks go on until each waits for a job; what several
wait for is done once. Processes that have nothing to do take a job that will be asked for later.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from evergreen.backtest.history import History
from evergreen.backtest.job_cache import Store
from evergreen.backtest.jobs import Bench, Job, done
from evergreen.data.observations import Observations
from evergreen.errors import EvergreenError
from evergreen.spec.model import ModelSpec

T = TypeVar("T")
Walk = Generator[Job, Mapping[str, Any], T]
Told = Mapping[str, Any]
_Name = tuple[str, str]
_SEVERAL = {
    "fit": "fits",
    "drift": "drift reports",
    "performance": "performance reports",
    "shadow": "looks at promotions",
    "gate": "gates",
    "serve": "predictions",
}


@dataclass(frozen=True, slots=True)
class Source:
    """How a process of its own comes to the same bench: everything in it can be sent to one.

    Attributes:
        model: reads the model file; a function of a module, for a model's own functions cannot be sent.
        lake: where the observations are.
        store: where results are kept.
        mark: of the model file's code, so that a process that lives on notices another one.
        version: of the observations' table.
        delay: as in `History.of`.
    """

    model: Callable[[], ModelSpec]
    lake: str
    store: Store
    mark: str
    version: int
    delay: timedelta | None = None

    def bench(self) -> Bench:
        """The bench of this process.

        Raises:
            DataError: there is no history to replay.
        """
        spec = self.model()
        return Bench(spec, History.of(Observations(self.lake, spec), self.delay, self.version), self.store)


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
        made = ", ".join(f"{number} {_SEVERAL[kind]}" for kind, number in self.fresh.items()) or "nothing new"
        return f"{made}; {sum(self.known.values())} results known from before"

    def add(self, kind: str, told: Told, *, fresh: bool) -> None:
        """Count a job."""
        counted = self.fresh if fresh else self.known
        counted[kind] = counted.get(kind, 0) + 1
        self.seconds[kind] = self.seconds.get(kind, 0.0) + told["cost"]
        self.fresh_seconds += told["cost"] if fresh else 0.0


class Pool:
    """Does jobs, each once.

    Attributes:
        bench: this process's own.
        spent: what was done so far.
    """

    def __init__(
        self,
        bench: Bench,
        source: Source | None = None,
        executor: Executor | None = None,
        workers: int = 1,
        progress: Callable[[Spent], None] = lambda _spent: None,
    ) -> None:
        self.bench, self.spent = bench, Spent()
        self._source, self._executor, self._workers, self._progress = source, executor, workers, progress
        self._known: dict[_Name, Told] = {}
        self._running: dict[_Name, Future[Told]] = {}

    def run(self, walks: Mapping[str, Walk[T]], later: Iterable[Job] = ()) -> dict[str, T]:
        """Let the walks go to their ends; `later` are jobs that will be asked for, in that order.

        Raises:
            EvergreenError: a walk gave up, or a process died.
        """
        ended: dict[str, T] = {}
        waiting: dict[str, _Name] = {}
        for name, walk in walks.items():
            self._ask(waiting, name, _advance(walk, None, name, ended))
        spare = iter(later)
        while waiting:
            ready = [name for name, asked in waiting.items() if asked in self._known]
            for name in ready:
                self._ask(waiting, name, _advance(walks[name], self._known[waiting.pop(name)], name, ended))
            if not ready:
                self._fill(spare)
                self._wait()
        return ended

    def _ask(self, waiting: dict[str, _Name], walk: str, job: Job | None) -> None:
        """Let a walk wait for a job, and begin it unless it is known or under way."""
        if job is not None:
            waiting[walk] = self._asked(job)

    def _asked(self, job: Job) -> _Name:
        name = (job.kind, job.key(self.bench))
        if name in self._known or name in self._running:
            return name
        found = self.bench.store.find(*name)
        if found is not None and ("fit" not in found or self.bench.store.fit(found["fit"]).exists()):
            self._keep(name, found, fresh=False)
        elif self._executor is None or self._source is None:
            self._keep(name, done(self.bench, job), fresh=True)
        else:
            self._running[name] = self._executor.submit(_worked, self._source, job)
        return name

    def _fill(self, spare: Iterator[Job]) -> None:
        """Give processes that have nothing to do something for later."""
        while self._executor is not None and len(self._running) < self._workers + 1:
            job = next(spare, None)
            if job is None:
                return
            self._asked(job)

    def _wait(self) -> None:
        if not self._running:
            return
        wait(self._running.values(), return_when=FIRST_COMPLETED)
        for name, future in list(self._running.items()):
            if future.done():
                try:
                    told = future.result()
                except BrokenProcessPool:
                    raise EvergreenError(
                        "A process of the backtest died.", "Run it again: it goes on from what was worked out."
                    ) from None
                del self._running[name]
                self._keep(name, told, fresh=True)

    def _keep(self, name: _Name, told: Told, *, fresh: bool) -> None:
        self._known[name] = told
        self.spent.add(name[0], told, fresh=fresh)
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


_BENCHES: dict[tuple[object, ...], Bench] = {}
"""The bench of a process that does jobs, by what it was made of; the last one only."""


def _worked(source: Source, job: Job) -> Told:
    """Do a job in a process of its own: with one thread, since the processes are beside each other."""
    import sklearn.metrics  # noqa: F401 - loads OpenMP: what is not loaded yet is not limited
    from threadpoolctl import threadpool_limits

    name = (source.lake, source.store, source.mark, source.version, source.delay)
    with threadpool_limits(1):
        if name not in _BENCHES:
            _BENCHES.clear()
            _BENCHES[name] = source.bench()
        return done(_BENCHES[name], job)


def _advance(walk: Walk[T], told: Told | None, name: str, ended: dict[str, T]) -> Job | None:
    """Go on to the next job; None where the walk has ended."""
    try:
        return next(walk) if told is None else walk.send(told)
    except StopIteration as end:
        ended[name] = end.value
        return None
