"""joblib on a Dask cluster, for what scikit-learn runs beside each other by it, and for the search of a model file.

joblib's own backend for Dask is not used. It runs what is parallel within a piece of work on the cluster as well, down
to the columns of a `ColumnTransformer`; its workers have to know the model file's functions before anything of it
arrived; and a worker that dies ends it with Dask's error. Here a piece of work reads the model file first and then runs
in one thread, so that it adds up in one order, as it does in the run's own process.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import parallel_config
from joblib._parallel_backends import FallbackToBackend, SequentialBackend
from joblib.parallel import ParallelBackendBase

from evergreen.training.dask_cluster import Cluster

if TYPE_CHECKING:
    import distributed

_SHARED_BYTES = 100_000
"""Rows of that size are brought to the workers once and not with each piece of work."""
_Task = tuple[Callable[..., Any], Sequence[Any], dict[str, Any]]


class DaskBackend(ParallelBackendBase):  # type: ignore[misc]
    """Runs each call of a `joblib.Parallel` on a worker of `cluster`, unless `n_jobs` is 1."""

    supports_retrieve_callback = True
    default_n_jobs = -1

    def __init__(self, cluster: Cluster, read_model: Callable[[], object]) -> None:
        """`read_model` is run on a worker before anything of the model file is unpickled there."""
        super().__init__(nesting_level=0)
        self.cluster, self._read_model = cluster, read_model
        self._shared: dict[int, tuple[Any, distributed.Future[Any]]] = {}
        self._begun: list[distributed.Future[Any]] = []

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many pieces run at a time."""
        return 1 if n_jobs == 1 else self.cluster.workers()

    def configure(self, n_jobs: int | None = 1, parallel: Any = None, **_words: Any) -> int:
        """Leave what asks for one job to this process."""
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        return self.effective_n_jobs(n_jobs)

    def submit(self, func: Any, callback: Callable[..., Any] | None = None) -> distributed.Future[Any]:
        """Send a batch of calls."""
        import cloudpickle

        rows: list[distributed.Future[Any]] = []

        def without_rows(value: Any) -> Any:
            if not _is_large(value):
                return value
            rows.append(self._share(value))
            return _Rows(len(rows) - 1)

        tasks = [
            (
                function,
                [without_rows(word) for word in words],
                {name: without_rows(word) for name, word in named.items()},
            )
            for function, words, named in func.items
        ]
        # As bytes: the scheduler, which reads what it is sent, knows no model files.
        future = self.cluster.submit(_work, self._read_model, cloudpickle.dumps(tasks), rows)
        self._begun.append(future)
        if callback is not None:
            future.add_done_callback(callback)  # type: ignore[no-untyped-call]
        return future

    def retrieve_result_callback(self, out: distributed.Future[Any]) -> Any:
        """What a batch came to."""
        return self.cluster.result(out)

    def stop_call(self) -> None:
        """Free the rows."""
        self._shared.clear()
        self._begun.clear()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Take back what is not done: another piece failed."""
        with contextlib.suppress(Exception):
            self.cluster.cancel([future for future in self._begun if not future.done()])  # type: ignore[no-untyped-call]

    def _share(self, value: Any) -> distributed.Future[Any]:
        # The value is held as well: the id of one that is gone would soon be another's.
        if id(value) not in self._shared:
            self._shared[id(value)] = (value, self.cluster.share(value))
        return self._shared[id(value)][1]


class _Rows:
    """Stands for rows that were brought to the workers: the number of them."""

    def __init__(self, number: int) -> None:
        self.number = number


def _is_large(value: Any) -> bool:
    import pandas as pd
    from scipy import sparse

    if isinstance(value, pd.DataFrame | pd.Series):
        return int(np.sum(value.memory_usage())) > _SHARED_BYTES
    if sparse.issparse(value):
        return int(value.nnz) * 12 > _SHARED_BYTES
    return isinstance(value, np.ndarray) and value.nbytes > _SHARED_BYTES


def _work(read_model: Callable[[], object], packed: bytes, rows: Sequence[Any]) -> list[Any]:
    """On a worker: run a batch of calls, one after the other in one thread."""
    import sklearn.metrics  # noqa: F401 - loads OpenMP: what is not loaded yet is not limited
    from threadpoolctl import threadpool_limits

    read_model()
    tasks: list[_Task] = pickle.loads(packed)  # noqa: S301 - of the run that this worker works for

    def with_rows(value: Any) -> Any:
        return rows[value.number] if isinstance(value, _Rows) else value

    with threadpool_limits(1), parallel_config(backend="sequential"):
        return [
            function(*map(with_rows, words), **{name: with_rows(word) for name, word in named.items()})
            for function, words, named in tasks
        ]
