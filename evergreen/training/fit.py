"""Fitting a candidate: a bounded, seeded search over the model file's grid, then one fit on the training rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evergreen.data.frames import model_frame
from evergreen.errors import DataError, EvergreenError, ModelFileError
from evergreen.evaluation.measure import measure
from evergreen.spec.faults import ended
from evergreen.spec.model import ModelSpec
from evergreen.spec.place import describe, failing_line
from evergreen.training.folds import split_into_folds
from evergreen.training.pipeline_checks import build_pipeline
from evergreen.training.predict import Array, predict, target_of, threads
from evergreen.training.workers import FitWorkers, has_parts

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A candidate in memory.

    Attributes:
        pipeline: the fitted pipeline.
        params: the parameters it was given beyond the pipeline's own.
        value: the metric on its own training rows, seen in the over-fitting gate.
        tried: metric by parameters (as text) of the search, mean over the folds; empty without a search.
    """

    pipeline: Pipeline
    params: Mapping[str, Any]
    value: float
    tried: Mapping[str, float]


def require_variety(spec: ModelSpec, y: Array) -> None:
    """Refuse a target from which nothing can be learned.

    Raises:
        DataError: one class only, or the same number everywhere.
    """
    if len(y) and len(set(y.tolist())) == 1:
        what = "one class only" if spec.task == "classification" else "the same value in every row"
        raise DataError(
            f"{spec.file}: target {spec.target!r} has {what} in the {len(y)} training rows.",
            "Land rows with other outcomes, or widen training.last.",
        )


def fit(
    spec: ModelSpec,
    train: pd.DataFrame,
    sample_weight: npt.NDArray[np.float64] | None,
    *,
    params: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    workers: FitWorkers | None = None,
) -> Fitted:
    """Search the grid (or take `params`), then fit once on all of `train` (labelled rows in time order).

    `progress` is told how many fits of how many are done. With `workers` the fits of the search are theirs, and so are
    the parts of an estimator with `n_jobs` or of a search of scikit-learn; without, all of it is done here.

    Raises:
        DataError: the target has one class or one value only.
        ModelFileError: the pipeline cannot be built or fitted.
        EvergreenError: `params` names a parameter that the pipeline does not have.
    """
    y = target_of(spec, train)
    require_variety(spec, y)
    x = model_frame(train, spec.features)
    tried: dict[str, float] = {}
    try:
        with threads(len(x)):
            if params is None:
                params, tried = _search(spec, train, x, y, sample_weight, progress, workers)
            with _shared_out(spec, workers):
                pipeline = _fit_one(spec, params, x, y, sample_weight)
    except (EvergreenError, MemoryError):
        raise
    except Exception as error:
        empty = [name for name in spec.features.numeric if x[name].isna().all()]
        what = f"{failing_line(spec.pipeline, error) or spec.place('pipeline')}: fitting failed: {describe(error)}"
        if empty:
            what += f"; none of the {len(x)} training rows has a value of {', '.join(map(repr, empty))}"
        raise ModelFileError(
            ended(what),
            "Leave that column out of the features, or land rows that have it."
            if empty
            else "Correct pipeline() or the search grid in the model file.",
        ) from error
    value = measure(spec.metric, y, predict(pipeline, spec, train))
    return Fitted(pipeline, dict(params), value, tried)


def _fit_one(
    spec: ModelSpec,
    params: Mapping[str, Any],
    x: pd.DataFrame,
    y: Array,
    sample_weight: npt.NDArray[np.float64] | None,
) -> Pipeline:
    pipeline = build_pipeline(spec)
    unknown = sorted(set(params) - set(pipeline.get_params()))
    if unknown:
        raise EvergreenError(
            f"{spec.name}: the pipeline has no parameter {unknown[0]!r}.",
            f"Its last step's parameters start with {pipeline.steps[-1][0]}__",
        )
    pipeline.set_params(**params)
    extra = {} if sample_weight is None else {f"{pipeline.steps[-1][0]}__sample_weight": sample_weight}
    return pipeline.fit(x, y, **extra)


def _shared_out(spec: ModelSpec, workers: FitWorkers | None) -> AbstractContextManager[Any]:
    """Within it joblib works on the workers, where the pipeline has parts for them."""
    if workers is None or not has_parts(build_pipeline(spec)):
        return nullcontext()
    from joblib import parallel_config

    shared: AbstractContextManager[Any] = parallel_config(backend=workers.backend)
    return shared


def _search(
    spec: ModelSpec,
    train: pd.DataFrame,
    x: pd.DataFrame,
    y: Array,
    sample_weight: npt.NDArray[np.float64] | None,
    progress: Callable[[int, int], None],
    workers: FitWorkers | None,
) -> tuple[dict[str, Any], dict[str, float]]:
    """Every combination of the grid on the same folds; the best mean wins, the first of equals."""
    from joblib import Parallel, delayed, parallel_config
    from sklearn.model_selection import ParameterGrid

    combinations = list(ParameterGrid({name: list(values) for name, values in spec.search.grid.items()}))
    if len(combinations) < 2:
        return (combinations[0] if combinations else {}), {}
    folds = split_into_folds(spec, train, y)
    total = len(combinations) * len(folds)
    read_model = (lambda: spec) if workers is None else workers.read_model
    calls = (
        delayed(_value_on_fold)(read_model, combination, x, y, sample_weight, fit_rows, test_rows)
        for combination in combinations
        for fit_rows, test_rows in folds
    )
    values = np.empty(total)
    with nullcontext() if workers is None else parallel_config(backend=workers.backend):
        # In the order of the calls, whichever of them ends first.
        for number, value in enumerate(Parallel(1 if workers is None else -1, return_as="generator")(calls)):
            values[number] = value
            progress(number + 1, total)
    sign = 1.0 if spec.metric.kind.greater_is_better else -1.0
    tried: dict[str, float] = {}
    best: tuple[float, dict[str, Any]] = (-np.inf, combinations[0])
    for combination, of_folds in zip(combinations, values.reshape(-1, len(folds)), strict=True):
        mean = float(np.nanmean(of_folds)) if not np.isnan(of_folds).all() else float("nan")
        tried[", ".join(f"{name}={value}" for name, value in sorted(combination.items()))] = mean
        if sign * mean > best[0]:
            best = (sign * mean, combination)
    return best[1], tried


def _value_on_fold(
    read_model: Callable[[], ModelSpec],
    params: Mapping[str, Any],
    x: pd.DataFrame,
    y: Array,
    sample_weight: npt.NDArray[np.float64] | None,
    fit_rows: Array,
    test_rows: Array,
) -> float:
    """The metric of one combination on one fold; the rows in full, so that all folds have them in common."""
    spec = read_model()
    weight = None if sample_weight is None else sample_weight[fit_rows]
    # As on a worker: with other numbers of threads linear algebra adds up in another order.
    with threads(len(x), linear_algebra=True):
        pipeline = _fit_one(spec, params, x.iloc[fit_rows], y[fit_rows], weight)
        return measure(spec.metric, y[test_rows], predict(pipeline, spec, x.iloc[test_rows]))
