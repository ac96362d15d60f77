"""Predict with a fitted pipeline."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evergreen.data.frames import model_frame, to_float64, to_text
from evergreen.data.predictions import Predictions
from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline
    from threadpoolctl import ThreadpoolController


Array = npt.NDArray[Any]


MANY_ROWS = 100_000


def threads(rows: int, *, linear_algebra: bool = False) -> AbstractContextManager[Any]:
    """One OpenMP thread for fewer than `MANY_ROWS` rows, all of them for more; those of BLAS only where it is said.

    On two busy cores the boosted trees of 1,440 rows took 46 s with two threads, which wait for each other by
    spinning, and 1.4 s with one. One thread also adds up in one order, so that a rebuilt model is the same to the bit.
    """
    import sklearn.metrics  # noqa: F401 - loads OpenMP: what is not loaded yet is not limited

    if rows >= MANY_ROWS:
        return nullcontext()
    api = None if linear_algebra else "openmp"
    limited: AbstractContextManager[Any] = _pools(len(sys.modules)).limit(limits=1, user_api=api)
    return limited


@lru_cache(maxsize=1)
def _pools(_modules: int) -> ThreadpoolController:
    """The loaded libraries that have threads of their own.

    Looking for them takes 6 ms, as long as predicting a few rows: it is done again only when modules were imported
    since, which is how such a library comes.
    """
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def target_of(spec: ModelSpec, frame: pd.DataFrame) -> Array:
    """The target as the pipeline and the metrics take it: float64; for classes whole numbers, or else text."""
    import pandas as pd

    column = frame[spec.target]
    if spec.task == "regression":
        return np.asarray(to_float64(column))
    if pd.api.types.is_integer_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
        return column.to_numpy(dtype="int64")
    return np.asarray(to_text(column), dtype=object)


def labelled(spec: ModelSpec, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows whose target is known."""
    return frame[frame[spec.target].notna()].reset_index(drop=True)


def predict(pipeline: Pipeline, spec: ModelSpec, frame: pd.DataFrame) -> Predictions:
    """Predictions for rows of observations; probabilities where the pipeline has them."""
    x = model_frame(frame, spec.features)
    with threads(len(x)):
        return _predictions(pipeline, spec, x)


def _predictions(pipeline: Pipeline, spec: ModelSpec, x: pd.DataFrame) -> Predictions:
    if spec.task == "regression":
        return Predictions(_answers(pipeline, x).astype("float64", copy=False), None, None)
    classes = pipeline.classes_
    if not hasattr(pipeline, "predict_proba"):
        return Predictions(_answers(pipeline, x), None, tuple(classes.tolist()))
    probability = np.asarray(pipeline.predict_proba(x), dtype="float64")
    if answers_the_likeliest(pipeline):
        values = classes[np.nan_to_num(probability, nan=-1.0).argmax(axis=1)]
    else:
        values = _answers(pipeline, x)
    return Predictions(values, probability, tuple(classes.tolist()))


def _answers(pipeline: Pipeline, x: pd.DataFrame) -> Array:
    # CatBoost answers several classes in one column, (n, 1).
    return np.asarray(pipeline.predict(x)).reshape(len(x))


LIKELIEST = frozenset(
    (
        "lightgbm.sklearn.LGBMClassifier",
        "sklearn.ensemble._forest.ExtraTreesClassifier",
        "sklearn.ensemble._forest.RandomForestClassifier",
        "sklearn.ensemble._gb.GradientBoostingClassifier",
        "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier",
        "sklearn.linear_model._logistic.LogisticRegression",
        "sklearn.linear_model._logistic.LogisticRegressionCV",
        "sklearn.tree._classes.DecisionTreeClassifier",
        "sklearn.tree._classes.ExtraTreeClassifier",
        "xgboost.sklearn.XGBClassifier",
    )
)
"""Classifiers whose `predict` is the class with the highest probability, but for the rounding of two that are equal."""


def answers_the_likeliest(pipeline: Any) -> bool:
    """Whether the labels of a fitted pipeline follow from its probabilities, so that rows go through it once.

    They do not where a threshold was tuned or set, or where probabilities are estimated beside the decision (`SVC`):
    what is not listed is asked for both.
    """
    from sklearn.pipeline import Pipeline

    last = pipeline
    while type(last) is Pipeline:
        last = last.steps[-1][1]
    return f"{type(last).__module__}.{type(last).__qualname__}" in LIKELIEST


def baseline(spec: ModelSpec, y_train: Array, rows: int) -> Predictions:
    """What one would predict without a model: the training median (or mean), or the class shares."""
    from sklearn.dummy import DummyClassifier, DummyRegressor

    nothing = np.zeros((len(y_train), 1))
    if spec.task == "regression":
        strategy = "mean" if spec.metric.name in ("rmse", "mse", "r2") else "median"
        dummy = DummyRegressor(strategy=strategy).fit(nothing, y_train)
        return Predictions(np.asarray(dummy.predict(np.zeros((rows, 1)))), None, None)
    dummy = DummyClassifier(strategy="prior").fit(nothing, y_train)
    return Predictions(
        np.asarray(dummy.predict(np.zeros((rows, 1)))),
        np.asarray(dummy.predict_proba(np.zeros((rows, 1)))),
        tuple(dummy.classes_.tolist()),
    )
