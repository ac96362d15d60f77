"""Intervals by a bootstrap: of one metric, and of the improvement of one model over another on the same rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from evergreen.data.predictions import Predictions
from evergreen.errors import EvergreenError
from evergreen.evaluation.measure import _prepare, _value
from evergreen.spec.metric import Array, Metric

MIN_GROUPS = 6
"""With fewer independent groups there is no interval: of five groups it covered less than it promised when tried."""

MAX_CLUSTERS = 2000
"""More groups than this are merged at random before they are drawn, which bounds time and memory."""
LOOPED, LOOPED_ROWS = 300, 10_000
"""At most so many resamples, of so many rows, for a metric that has to be called once for each resample."""


ROUNDING = 1e-9
"""A difference below this share of the champion's metric is arithmetic noise and proves nothing."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A candidate beside a champion on the same rows, in the metric's unit.

    Attributes:
        value: the candidate's metric.
        champion_value: the champion's.
        improvement: how much better the candidate is; negative where it is worse, whatever the metric's direction.
        low: lower end of the improvement's interval; NaN where there is none.
        high: upper end.
        rows: how many rows were judged.
        groups: how many of them, or of their groups, count as independent.
    """

    value: float
    champion_value: float
    improvement: float
    low: float
    high: float
    rows: int
    groups: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric with a two-sided interval; NaN where there is none."""

    value: float
    low: float
    high: float


def paired_bootstrap(
    metric: Metric,
    y: Array,
    candidate: Predictions,
    champion: Predictions,
    *,
    groups: Array | None,
    level: float,
    seed: int,
    resamples: int = 1000,
    margin: float = 0.0,
) -> Comparison:
    """How much better the candidate is on the same n rows, with a two-sided interval at confidence 1 - `level`.

    Both models are judged on every resample, so that rows which are hard for both cancel (Efron and Tibshirani 1993,
    An Introduction to the Bootstrap). `groups` (n,) names the cluster of each row, such as its day; clusters are drawn
    whole, since the errors of neighbours in time are alike (Cameron, Gelbach and Miller 2008). The percentiles are
    widened for few groups (Hesterberg 2015, What Teachers Should Know About the Bootstrap, section 4.3).

    With a `margin` the interval is that of improvement + margin * |champion's metric|, moved back by the observed
    margin: held against -margin * |champion_value| it allows for the champion's own metric being an estimate.

    A metric that is no mean over rows takes at most 300 resamples of 10,000 rows, both drawn with `seed`; its interval
    is then that of the smaller sample, which is wider, around the figures of all rows.

    Returns:
        NaN for what is undefined: all of it if a prediction is not finite, the interval below 6 groups or when more
        than a tenth of the resamples has no metric.

    Raises:
        EvergreenError: as in `measure`.
    """
    truth, predicted, classes = _prepare(metric, y, candidate, champion)
    value, reference = (_value(metric, truth, values, classes) for values in predicted)
    codes, count = _codes(truth, groups)
    sign = 1.0 if metric.kind.greater_is_better else -1.0
    low = high = float("nan")
    if np.isfinite(value - reference) and count >= MIN_GROUPS:
        draws = _draws(metric, truth, tuple(predicted), (value, reference), codes, classes, resamples, seed)
        with np.errstate(all="ignore"):
            gains = sign * (draws[:, 0] - draws[:, 1]) + margin * np.abs(draws[:, 1])
            low, high = (end - margin * abs(reference) for end in _percentiles(gains, level, min(count, MAX_CLUSTERS)))
    return Comparison(value, reference, sign * (value - reference), low, high, len(truth), count)


def bootstrap(
    metric: Metric,
    y: Array,
    predictions: Predictions,
    *,
    groups: Array | None,
    level: float,
    seed: int,
    resamples: int = 1000,
) -> Estimate:
    """The metric of one model on n rows, with a two-sided interval at confidence 1 - `level`.

    Groups, the widening for few of them, and what is NaN are as in `paired_bootstrap`.

    Raises:
        EvergreenError: as in `measure`.
    """
    truth, (predicted,), classes = _prepare(metric, y, predictions)
    value = _value(metric, truth, predicted, classes)
    codes, count = _codes(truth, groups)
    if not np.isfinite(value) or count < MIN_GROUPS:
        return Estimate(value, float("nan"), float("nan"))
    draws = _draws(metric, truth, (predicted,), (value,), codes, classes, resamples, seed)
    return Estimate(value, *_percentiles(draws[:, 0], level, min(count, MAX_CLUSTERS)))


def _codes(truth: Array, groups: Array | None) -> tuple[Array, int]:
    """The number of each row's group, and how many groups there are."""
    codes = np.arange(len(truth)) if groups is None else np.unique(groups, return_inverse=True)[1]
    return codes, int(codes.max()) + 1 if len(codes) else 0


def _draws(
    metric: Metric,
    truth: Array,
    models: tuple[Array, ...],
    values: tuple[float, ...],
    codes: Array,
    classes: int,
    resamples: int,
    seed: int,
) -> Array:
    """The metric of each model in each resample, (resamples, models); `values` are those of all rows."""
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        if (pointwise := metric.kind.pointwise) is not None:
            losses = tuple(pointwise(truth, predicted) for predicted in models)
            return _mean_draws(losses, metric.kind.outer, codes, resamples, rng)
        extra = _looped_draws(metric, truth, models, codes, classes, min(resamples, LOOPED), rng)
        return np.asarray(extra + np.array(values))


def _mean_draws(losses: tuple[Array, ...], outer: Any, codes: Array, resamples: int, rng: np.random.Generator) -> Array:
    """Metric of each model in each resample, (resamples, models), from sums over groups: no row is touched twice."""
    count = int(codes.max()) + 1
    clusters = min(count, MAX_CLUSTERS)
    if count > clusters:
        codes = (rng.permutation(count) % clusters)[codes]
    sums = [np.bincount(codes, weights=loss, minlength=clusters) for loss in losses]
    totals = _draw(rng, clusters, resamples) @ np.stack([*sums, np.bincount(codes, minlength=clusters)], axis=1)
    means = totals[:, :-1] / totals[:, -1:]
    return np.asarray(means if outer is None else outer(means))


def _looped_draws(
    metric: Metric,
    truth: Array,
    models: tuple[Array, ...],
    codes: Array,
    classes: int,
    resamples: int,
    rng: np.random.Generator,
) -> Array:
    """What the metric of each model is in each resample beyond that of the sample itself, (resamples, models)."""
    if len(truth) > LOOPED_ROWS:
        sample = np.sort(rng.choice(len(truth), LOOPED_ROWS, replace=False))
        truth, models = truth[sample], tuple(predicted[sample] for predicted in models)
        codes = np.unique(codes[sample], return_inverse=True)[1]
    count = int(codes.max()) + 1
    whole = np.array([_value(metric, truth, predicted, classes) for predicted in models])
    draws = np.full((resamples, len(models)), np.nan)
    for draw in range(resamples):
        rows = np.repeat(np.arange(len(truth)), _draw(rng, count, 1)[0][codes].astype(np.intp))
        try:
            draws[draw] = [_value(metric, truth[rows], predicted[rows], classes) for predicted in models]
        except EvergreenError:
            # A function of the user's own that cannot do with the classes of this resample; it could with all rows.
            continue
    return np.asarray(draws - whole)


def _draw(rng: np.random.Generator, count: int, resamples: int) -> Array:
    """How often each of `count` groups is in each resample, (resamples, count)."""
    picks = rng.integers(count, size=(resamples, count))
    picks += np.arange(resamples)[:, None] * count
    return np.bincount(picks.ravel(), minlength=resamples * count).reshape(resamples, count).astype(np.float64)


def _percentiles(gains: Array, level: float, count: int) -> tuple[float, float]:
    from scipy.special import ndtr, stdtrit

    defined = gains[np.isfinite(gains)]
    if len(defined) < 0.9 * len(gains):
        return float("nan"), float("nan")
    tail = float(ndtr(np.sqrt(count / (count - 1)) * stdtrit(count - 1, level / 2)))
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)
