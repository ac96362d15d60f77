"""The processes to which a fit may hand its parts: the combinations of a search, and what an estimator runs by joblib.

They are looked for, or started, when a fit has such parts and not before: for most models fitting takes less time than
starting a process.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any

from evergreen.spec.model import ModelSpec
from evergreen.training.dask_cluster import Cluster

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


class FitWorkers:
    """A cluster that is opened when it is first asked for, and closed at the end of the context.

    A plain class: an orchestrator that walks through dataclasses leaves it alone.

    Attributes:
        read_model: reads the model file in another process; everything in it can be sent to one.
    """

    def __init__(
        self, open_cluster: Callable[[], AbstractContextManager[Cluster]], read_model: Callable[[], ModelSpec]
    ) -> None:
        self.read_model = read_model
        self._open_cluster, self._open = open_cluster, ExitStack()
        self._backend: Any = None

    def __enter__(self) -> FitWorkers:
        return self

    def __exit__(self, *_error: object) -> None:
        self._backend = None
        self._open.close()

    @property
    def backend(self) -> Any:
        """What `joblib.parallel_config` takes.

        Raises:
            EvergreenError: the cluster cannot be opened.
        """
        if self._backend is None:
            from evergreen.training.dask_backend import DaskBackend

            self._backend = DaskBackend(self._open.enter_context(self._open_cluster()), self.read_model)
        return self._backend


def has_parts(pipeline: Pipeline) -> bool:
    """Whether a pipeline is fitted in parts by joblib: it holds a search of scikit-learn, or says `n_jobs`."""
    from sklearn.model_selection._search import BaseSearchCV

    return any(
        isinstance(value, BaseSearchCV) or (name.rpartition("__")[2] == "n_jobs" and value not in (None, 1))
        for name, value in pipeline.get_params().items()
    )
