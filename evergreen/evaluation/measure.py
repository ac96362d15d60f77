"""Measure predictions against the truth.

Values come from scikit-learn, or from a function of the model file.

Class labels become the positions of their classes before anything is computed, so that text, 1, 1.0 and True all work,
and a class that a model has never seen counts as one to which it gave no probability.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from evergreen.data.predictions import Predictions
from evergreen.errors import EvergreenError, ModelFileError
from evergreen.spec.metric import Array
from evergreen.spec.place import failed_in

if TYPE_CHECKING:
    from evergreen.spec.metric import Metric


def measure(metric: Metric, y: Array, predictions: Predictions, weights: Array | None = None) -> float:
    """The metric of `predictions` against the truth `y`, both of n rows; NaN where it is undefined.

    Undefined is, among others, roc_auc of one class, r2 of a constant target, and anything with a missing or infinite
    value in it. `weights` (n,) are given to scikit-learn, and not to a function of the user's own.

    Raises:
        EvergreenError: the user's own function failed, or the model gives no probability and the metric needs one.
    """
    truth, (predicted,), classes = _prepare(metric, y, predictions)
    return _value(metric, truth, predicted, classes, weights)


def row_losses(metric: Metric, y: Array, predictions: Predictions) -> Array | None:
    """The figure of each of n rows of which the metric is `outer(mean)`; None for a metric that is no mean over rows.

    Raises:
        EvergreenError: as in `measure`.
    """
    truth, (predicted,), _ = _prepare(metric, y, predictions)
    pointwise = metric.kind.pointwise
    return None if pointwise is None else np.asarray(pointwise(truth, predicted), dtype=np.float64)


def _prepare(metric: Metric, y: Array, *models: Predictions) -> tuple[Array, list[Array], int]:
    """Truth, what each model says in the form the metric takes, and how many classes they have between them."""
    kind = metric.kind
    if kind.needs == "probability" and any(model.probability is None for model in models):
        raise EvergreenError(
            f"Metric {metric.name!r} needs the probability of each class, and the model gives none.",
            "Take a pipeline with predict_proba, or another metric.",
        )
    if kind.function is not None:
        last = kind.needs == "probability"
        columns = [m.probability[:, -1] if last and m.probability is not None else np.asarray(m.values) for m in models]
        return np.asarray(y), columns, 0
    if kind.task == "regression":
        return np.asarray(y, dtype=np.float64), [np.asarray(m.values, dtype=np.float64) for m in models], 0
    named = set(np.asarray(y).tolist())
    for model in models:
        named.update(np.asarray(model.values).tolist(), np.asarray(model.classes or ()).tolist())
    position = {label: at for at, label in enumerate(_sorted({label for label in named if not _missing(label)}))}
    truth = _positions(y, position)
    if kind.needs == "prediction":
        return truth, [_positions(model.values, position) for model in models], len(position)
    columns = [_columns(m.probability, m.classes, position) for m in models if m.probability is not None]
    return truth, columns, columns[0].shape[1]


def _missing(label: Any) -> bool:
    return label is None or (isinstance(label, float) and not np.isfinite(label)) or str(label) in ("<NA>", "NaT")


def _sorted(labels: set[Any]) -> list[Any]:
    try:
        return sorted(labels)
    except TypeError:
        return sorted(labels, key=str)


def _positions(labels: Array, position: Mapping[Any, int]) -> Array:
    """Where each label stands among the classes; NaN for a missing one."""
    places = np.array([position.get(label, np.nan) for label in np.asarray(labels).tolist()], dtype=np.float64)
    return places if np.isnan(places).any() else places.astype(np.intp)


def _columns(probability: Array, classes: tuple[Any, ...] | None, position: Mapping[Any, int]) -> Array:
    """The probability of each joint class, (n, k); zero for a class that the model does not know."""
    predicted = np.asarray(probability, dtype=np.float64)
    own = range(predicted.shape[1]) if classes is None else [position[c] for c in np.asarray(classes).tolist()]
    wide = np.zeros((len(predicted), max([2, len(position), *(at + 1 for at in own)])))
    wide[:, list(own)] = predicted
    return wide


def finite(values: Array) -> bool:
    """Whether every value is there, and no number is infinite."""
    plain = np.asarray(values)
    if plain.dtype.kind in "biufc":
        return bool(np.isfinite(plain).all())
    return not any(_missing(value) for value in set(plain.tolist()))


def not_finite(predictions: Predictions) -> int:
    """How many rows have a prediction that is missing or infinite, its probabilities included."""
    if all(finite(part) for part in (predictions.values, predictions.probability) if part is not None):
        return 0
    bad = np.array([not finite(np.atleast_1d(value)) for value in np.asarray(predictions.values)], dtype=bool)
    if predictions.probability is not None:
        bad |= ~np.isfinite(predictions.probability).all(axis=1)
    return int(bad.sum())


def _value(metric: Metric, truth: Array, predicted: Array, classes: int, weights: Array | None = None) -> float:
    if len(truth) == 0 or not (finite(truth) and finite(predicted)):
        return float("nan")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # scikit-learn warns where a metric is undefined; here that is NaN, and whoever asked says so in words.
        warnings.simplefilter("ignore")
        if (function := metric.kind.function) is None:
            value = _score(metric.kind.scorer, truth, predicted, classes, weights)
        else:
            value = _call(metric.name, function, truth, predicted)
    return value if np.isfinite(value) else float("nan")


def _score(scorer: str, truth: Array, predicted: Array, classes: int, weights: Array | None) -> float:
    """What scikit-learn answers; NaN where it refuses the data."""
    from sklearn import metrics

    several = classes > 2
    options: dict[str, Any] = {}
    if scorer in ("f1_score", "precision_score", "recall_score"):
        options = {"average": "macro", "zero_division": 0, "labels": None if several else [classes - 1]}
    elif scorer in ("log_loss", "brier_score_loss"):
        options = {"labels": range(classes)}
    elif scorer == "r2_score":
        options = {"force_finite": False}
    elif scorer in ("roc_auc_score", "average_precision_score"):
        if len(np.unique(truth)) < 2 or (several and scorer == "average_precision_score"):
            return float("nan")
        options = {"multi_class": "ovr", "labels": range(classes)} if several else {}
        predicted = predicted if several else predicted[:, 1]
    try:
        return float(getattr(metrics, scorer)(truth, predicted, sample_weight=weights, **options))
    except (ValueError, ZeroDivisionError):
        return float("nan")


def _call(name: str, function: Callable[[Any, Any], float], truth: Array, predicted: Array) -> float:
    try:
        return float(function(truth, predicted))
    except Exception as error:
        raise ModelFileError(
            f"{failed_in(function, error)}, called for the metric {name!r}.",
            "Correct the function; it is called as function(y_true, y_pred) with NumPy arrays and returns one number.",
        ) from error
