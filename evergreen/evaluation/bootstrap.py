"""Intervals by a bootstrap: of one metric, and of the improvement of one model over another on the same rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from evergreen.data.clusters import Clusters
from evergreen.data.predictions import Predictions
from evergreen.errors import EvergreenError
from evergreen.evaluation.block_length import block_length, without_change
from evergreen.evaluation.group_sums import GroupSums, sum_groups
from evergreen.evaluation.measure import _prepare, _value
from evergreen.spec.fields import Rows
from evergreen.spec.metric import Array, Metric

MIN_GROUPS = 6
"""With fewer independent groups there is no interval: of five groups it covered less than it promised when tried."""

MIN_BLOCKS = 10
"""With fewer blocks of several neighbours there is no interval: of 6 to 9 of them a candidate no better than the
champion passed in up to 9 % of simulated streams, of 10 or more in about 5 % (`benchmarks/intervals.py`)."""

MAX_CLUSTERS = 2000
"""More groups than this are merged at random before they are drawn, which bounds time and memory."""
RESAMPLES = 300
"""At most so many resamples for a metric that is no mean over rows."""
LOOPED_ROWS = 10_000
"""Of so many rows at most, for a function that has to be called once for each resample."""
Groups = Clusters | Array | None
"""Which rows stand or fall together: clusters in an order, names of the rows' groups, or None for independent rows."""

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
        block: the time that one group covers, or so many rows; None where groups follow no order.
    """

    value: float
    champion_value: float
    improvement: float
    low: float
    high: float
    rows: int
    groups: int
    block: timedelta | Rows | None = None


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
    groups: Groups,
    level: float,
    seed: int,
    resamples: int = 1000,
    margin: float = 0.0,
    capped: bool = False,
) -> Comparison:
    """How much better the candidate is on the same n rows, with a two-sided interval at confidence 1 - `level`.

    Both models are judged on every resample, so that rows which are hard for both cancel (Efron and Tibshirani 1993,
    An Introduction to the Bootstrap). `groups` names the cluster of each row, such as its day; clusters are drawn
    whole, since the errors of neighbours in time are alike (Cameron, Gelbach and Miller 2008). The percentiles are
    widened for few groups (Hesterberg 2015, What Teachers Should Know About the Bootstrap, section 4.3).

    `Clusters` are in the order of time: so many neighbours are drawn as one block as the dependence of the improvement
    asks (`block_length` of what each cluster contributes to it, by leaving it out). An array (n,) names groups that
    follow no order.

    With a `margin` the interval is that of improvement + margin * |champion's metric|, moved back by the observed
    margin: held against -margin * |champion_value| it allows for the champion's own metric being an estimate.

    A metric that is no mean over rows takes at most 300 resamples; a function of the user's own, which is called for
    each of them, at most 10,000 rows, drawn with `seed`. Its interval is then that of the smaller sample, which is
    wider, around the figures of all rows.

    Args:
        capped: never take fewer than 10 blocks, however long the dependence: where some interval is better than none.

    Returns:
        NaN for what is undefined: all of it if a prediction is not finite, the interval below 6 groups, below 10
        blocks of several neighbours, or when more than a tenth of the resamples has no metric.

    Raises:
        EvergreenError: as in `measure`.
    """
    sample = _Sample.of(metric, y, candidate, champion)
    value, reference = sample.values
    sign = 1.0 if metric.kind.greater_is_better else -1.0

    def gain(values: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(sign * (values[..., 0] - values[..., 1]) + margin * np.abs(values[..., 1]))

    drawn = _draw_metrics(sample, groups, gain, resamples=resamples, seed=seed, capped=capped)
    low, high = (end - margin * abs(reference) for end in _percentiles(gain(drawn.values), level, drawn.groups))
    improvement = sign * (value - reference)
    return Comparison(value, reference, improvement, low, high, len(sample.truth), drawn.groups, drawn.block)


def bootstrap(
    metric: Metric,
    y: Array,
    predictions: Predictions,
    *,
    groups: Groups,
    level: float,
    seed: int,
    resamples: int = 1000,
    watched: bool = False,
) -> Estimate:
    """The metric of one model on n rows, with a two-sided interval at confidence 1 - `level`.

    Groups, the widening for few of them, and what is NaN are as in a capped `paired_bootstrap`: the days of one model
    are also alike because something has changed, and that is no reason to say nothing.

    Args:
        watched: an alarm follows: fewer than 10 blocks give no interval, and their length is measured beside one change
            of level, which is what the alarm is for.

    Raises:
        EvergreenError: as in `measure`.
    """
    sample = _Sample.of(metric, y, predictions)
    how = {"resamples": resamples, "seed": seed}
    drawn = _draw_metrics(sample, groups, _first, **how, capped=not watched, changing=watched)
    return Estimate(sample.values[0], *_percentiles(_first(drawn.values), level, drawn.groups))


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    """The rows that are resampled, in the form that the metric takes, and the metric of each model on all of them."""

    metric: Metric
    truth: Array
    models: tuple[Array, ...]
    classes: int
    values: tuple[float, ...]

    @classmethod
    def of(cls, metric: Metric, y: Array, *models: Predictions) -> _Sample:
        truth, predicted, classes = _prepare(metric, y, *models)
        return cls(
            metric, truth, tuple(predicted), classes, tuple(_value(metric, truth, one, classes) for one in predicted)
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """The metric of each model in each resample, (resamples, models); without resamples where there is no interval.

    `groups` of rows were drawn; `block` is what one of them covers, None where they follow no order.
    """

    values: Array
    groups: int
    block: timedelta | Rows | None


def _draw_metrics(
    sample: _Sample,
    groups: Groups,
    figure: Callable[[Array], Array],
    *,
    resamples: int,
    seed: int,
    capped: bool,
    changing: bool = False,
) -> _Drawn:
    """Draw groups of rows; `figure` is what the interval is of, from the metrics of the models (..., models)."""
    rng = np.random.default_rng(seed)
    resamples = resamples if sample.metric.kind.pointwise else min(resamples, RESAMPLES)
    numbers = groups.numbers if isinstance(groups, Clusters) else groups
    codes = np.arange(len(sample.truth)) if numbers is None else np.unique(numbers, return_inverse=True)[1]
    count = int(codes.max()) + 1 if len(codes) else 0
    together, block = 1, groups.length if isinstance(groups, Clusters) else None
    nothing = np.empty((0, len(sample.models)))
    if not np.isfinite(sample.values).all() or count < MIN_GROUPS:
        return _Drawn(nothing, count, block)
    # Rows of a function that is called are sampled instead.
    drawn = count if block is None and sample.metric.kind.function else min(count, MAX_CLUSTERS)
    if count > drawn:
        codes = codes * drawn // count if block else (rng.permutation(count) % drawn)[codes]
        together = -(-count // drawn) if block else 1
    sums = [sum_groups(sample.metric, sample.truth, one, sample.classes, codes, drawn) for one in sample.models]
    known = [one for one in sums if one is not None]
    if block is not None:
        series = _contributions(sample, known, codes, drawn, figure)
        length = block_length(without_change(series) if changing else series)
        blocks = max(min(MIN_BLOCKS, drawn), drawn // length) if capped else max(1, drawn // length)
        block *= together * min(length, drawn // blocks)
        if length > 1 and blocks < MIN_BLOCKS:
            return _Drawn(nothing, blocks, block)
        known, codes = [one.merge(blocks) for one in known], codes * blocks // drawn
        count = drawn = blocks
    if len(known) < len(sums):
        values = _looped_draws(sample, codes, resamples, rng) + np.array(sample.values)
    else:
        counts = _draw(rng, drawn, resamples)
        values = np.stack([one.draw(counts, of_all) for one, of_all in zip(known, sample.values, strict=True)], axis=1)
    return _Drawn(values, count, block)


def _contributions(
    sample: _Sample, sums: Sequence[GroupSums], codes: Array, groups: int, figure: Callable[[Array], Array]
) -> Array:
    """What each group contributes to the figure, (groups,): how it falls without the group (the jackknife).

    Of a function of the user's own, which cannot be called so often, the plain error of each row stands in.
    """
    if len(sums) == len(sample.models):
        without = figure(np.stack([one.leave_one_out() for one in sums], axis=1))
        return np.asarray(np.where(np.isfinite(without), without.mean() - without, 0.0))
    errors = figure(np.stack([_plain_error(sample.truth, predicted) for predicted in sample.models], axis=1))
    return np.bincount(codes, weights=errors - errors.mean(), minlength=groups)


def _plain_error(truth: Array, predicted: Array) -> Array:
    """How far a number is off, or a probability from the last class; whether a label is wrong."""
    if truth.dtype.kind in "biuf" and predicted.dtype.kind in "biuf":
        return np.asarray(np.abs(truth.astype(np.float64) - predicted))
    if predicted.dtype.kind == "f":
        return np.asarray(np.abs((truth == max(truth.tolist(), key=str)) - predicted))
    return np.asarray(truth != predicted, dtype=np.float64)


def _first(values: Array) -> Array:
    return values[..., 0]


def _looped_draws(sample: _Sample, codes: Array, resamples: int, rng: np.random.Generator) -> Array:
    """What the metric of each model is in each resample beyond that of the sample itself, (resamples, models)."""
    metric, truth, models, classes = sample.metric, sample.truth, sample.models, sample.classes
    if len(truth) > LOOPED_ROWS:
        rows = np.sort(rng.choice(len(truth), LOOPED_ROWS, replace=False))
        truth, models = truth[rows], tuple(predicted[rows] for predicted in models)
        codes = np.unique(codes[rows], return_inverse=True)[1]
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


def _percentiles(gains: Array, level: float, groups: int) -> tuple[float, float]:
    """The ends of the interval, NaN without one; `groups` were drawn."""
    from scipy.special import ndtr, stdtrit

    defined, count = gains[np.isfinite(gains)], min(groups, MAX_CLUSTERS)
    if not len(gains) or len(defined) < 0.9 * len(gains):
        return float("nan"), float("nan")
    tail = float(ndtr(np.sqrt(count / (count - 1)) * stdtrit(count - 1, level / 2)))
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)
