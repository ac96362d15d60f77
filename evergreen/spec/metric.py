"""Metrics by name: direction, what they need, and the formula of those that are a mean over rows.

A metric that is a function of a mean of per-row losses says so, which makes a bootstrap of it a matrix product instead
of a thousand calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from evergreen.spec.faults import closest
from evergreen.spec.fields import Frozen


class Metric(Frozen):
    """The figure that decides.

    Attributes:
        name: one of `evergreen.spec.metric.KNOWN`, or a name of your own together with `function`.
        bound: the worst value that may be promoted (an upper bound for errors, a lower one for scores).
        function: `function(y_true, y_pred) -> float` for a metric of your own.
        greater_is_better: its direction; only with `function`.
        needs: `prediction`, or `probability` (of the last class) for a metric of your own.
    """

    name: str
    bound: float | None = Field(default=None, allow_inf_nan=False)
    function: Callable[[Any, Any], float] | None = None
    greater_is_better: bool | None = None
    needs: Literal["prediction", "probability"] = "prediction"

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.function is None and self.name not in KNOWN:
            alike = closest(self.name, KNOWN)
            known = f"did you mean {alike!r}?" if alike else f"the metrics are {', '.join(sorted(KNOWN))}"
            raise ValueError(f"name: {self.name!r} is not the name of a metric, and there is no function; {known}")
        if self.function is not None and self.greater_is_better is None:
            raise ValueError("greater_is_better: say True or False for a metric of your own")
        if self.function is None and self.greater_is_better is not None:
            raise ValueError("greater_is_better: it is known already; it goes with a function of your own")
        if self.bound is not None and self.function is None:
            self._require_reachable(self.bound)
        return self

    def _require_reachable(self, bound: float) -> None:
        low, high = self.kind.low, self.kind.high
        if low <= bound <= high:
            return
        span = (
            f"from {low:g} to {high:g}"
            if math.isfinite(low + high)
            else f"{low:g} or more"
            if math.isfinite(low)
            else f"{high:g} or less"
        )
        percent = f"; for {bound:g} percent write {bound / 100:g}" if high == 1 and 10 <= bound <= 100 else ""
        raise ValueError(f"bound: it is {bound:g}, and {self.name} is {span}{percent}")

    @property
    def kind(self) -> MetricKind:
        """Direction, input and formula."""
        if self.function is not None:
            return MetricKind(bool(self.greater_is_better), self.needs, None, function=self.function)
        return KNOWN[self.name]


Array = npt.NDArray[Any]


EPS = np.finfo(np.float64).eps
"""Machine epsilon; scikit-learn uses it to avoid division by zero and log(0)."""


@dataclass(frozen=True, slots=True)
class MetricKind:
    """How a metric is computed.

    Attributes:
        greater_is_better: its direction.
        needs: what it takes: predicted values or labels, or the probability of each class.
        task: the task it is for; None for one's own.
        scorer: the name of the function in `sklearn.metrics`.
        pointwise: figure of each row, from truth and prediction, where the metric is `outer(mean(pointwise))`. Labels
            are positions of classes, probabilities are of shape (rows, classes).
        outer: what is applied to that mean; None for the mean itself.
        function: a function of the user's own.
        low: no value is below it.
        high: no value is above it.
    """

    greater_is_better: bool
    needs: Literal["prediction", "probability"]
    task: Literal["regression", "classification"] | None
    scorer: str = ""
    pointwise: Callable[[Array, Array], Array] | None = None
    outer: Callable[[Array], Array] | None = None
    function: Callable[[Any, Any], float] | None = None
    low: float = -math.inf
    high: float = math.inf


def _log_loss(truth: Array, predicted: Array) -> Array:
    return np.asarray(-np.log(np.clip(predicted[np.arange(len(truth)), truth], EPS, 1 - EPS)))


def _brier(truth: Array, predicted: Array) -> Array:
    """Brier's score of each row; halved for two classes, where it is the squared error of one probability."""
    squares: Array = ((predicted - np.eye(predicted.shape[1])[truth]) ** 2).sum(axis=1)
    return squares / 2 if predicted.shape[1] == 2 else squares


def _error(scorer: str, pointwise: Any = None, outer: Any = None) -> MetricKind:
    return MetricKind(False, "prediction", "regression", scorer, pointwise, outer, low=0)


def _labels(scorer: str, pointwise: Any = None) -> MetricKind:
    return MetricKind(True, "prediction", "classification", scorer, pointwise, low=0, high=1)


KNOWN: Mapping[str, MetricKind] = {
    "mae": _error("mean_absolute_error", lambda y, predicted: np.abs(predicted - y)),
    "mse": _error("mean_squared_error", lambda y, predicted: (predicted - y) ** 2),
    "rmse": _error("root_mean_squared_error", lambda y, predicted: (predicted - y) ** 2, np.sqrt),
    "median_ae": _error("median_absolute_error"),
    "mape": _error(
        "mean_absolute_percentage_error", lambda y, predicted: np.abs(predicted - y) / np.maximum(np.abs(y), EPS)
    ),
    "r2": MetricKind(True, "prediction", "regression", "r2_score", high=1),
    "accuracy": _labels("accuracy_score", lambda y, predicted: (predicted == y).astype(np.float64)),
    "balanced_accuracy": _labels("balanced_accuracy_score"),
    "f1": _labels("f1_score"),
    "precision": _labels("precision_score"),
    "recall": _labels("recall_score"),
    "roc_auc": MetricKind(True, "probability", "classification", "roc_auc_score", low=0, high=1),
    "average_precision": MetricKind(True, "probability", "classification", "average_precision_score", low=0, high=1),
    "log_loss": MetricKind(False, "probability", "classification", "log_loss", _log_loss, low=0),
    "brier": MetricKind(False, "probability", "classification", "brier_score_loss", _brier, low=0, high=2),
}
"""Every metric a model file can name. With two classes, f1, precision, recall, roc_auc and average_precision are of the
last class; with more, the unweighted mean over classes (roc_auc: one against the rest; average_precision: undefined).
"""
