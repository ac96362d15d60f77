"""What lies behind a champion's one figure: its windows, its slices, other metrics, and what it gets wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from evergreen.data.predictions import Predictions
from evergreen.data.windows import cluster_ids, watched_groups
from evergreen.details.watch import AlsoFigure, Bin, Calibration, Interval, Residuals, SliceFigure, WindowFigure
from evergreen.errors import EvergreenError
from evergreen.evaluation.bootstrap import Estimate, bootstrap
from evergreen.evaluation.measure import measure
from evergreen.evaluation.slices import picked, slices
from evergreen.performance.label_coverage import LabelWindow
from evergreen.performance.report import figures, finite
from evergreen.spec.metric import Array, Metric
from evergreen.spec.model import ModelSpec
from evergreen.verdicts import Verdict

if TYPE_CHECKING:
    import pandas as pd

WINDOWS = 400
"""Mature windows of which the figure is kept, at most: the newest."""
SLOW_WINDOWS = 12
"""Windows with an interval, at most, where the metric is no mean over rows: it costs 300 calls each."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BINS = 10


def window_figures(
    spec: ModelSpec,
    frame: pd.DataFrame,
    numbers: Array,
    windows: Sequence[LabelWindow],
    y: Array,
    predictions: Predictions,
) -> tuple[WindowFigure, ...]:
    """The metric in each of the newest mature `windows`; `numbers` (n,) says in which one each row lies."""
    shown = windows[-WINDOWS:]
    with_interval = len(shown) if spec.metric.kind.pointwise is not None else SLOW_WINDOWS
    per_window = []
    for place, window in enumerate(shown):
        rows = np.flatnonzero(numbers == window.number)
        wanted = place >= len(shown) - with_interval
        value, interval = _figure(spec, frame.iloc[rows], y[rows], picked(predictions, rows), interval=wanted)
        counts = len(rows), finite(window.coverage) or 0.0
        per_window.append(WindowFigure(window.start, *counts, value, interval, window.first_row))
    return tuple(per_window)


def slice_figures(
    spec: ModelSpec, frame: pd.DataFrame, y: Array, predictions: Predictions, before: Mapping[str, float]
) -> tuple[SliceFigure, ...]:
    """The metric for each value of `spec.slices`; `before` is what it was at promotion, by slice."""
    columns = {column: frame[column].to_numpy() for column in spec.slices}
    per_slice = []
    for name, mask in slices(columns, spec.gates.slice_min_rows):
        rows = np.flatnonzero(mask)
        value, interval = _figure(spec, frame.iloc[rows], y[rows], picked(predictions, rows))
        per_slice.append(SliceFigure(name, len(rows), value, interval, before.get(name)))
    return tuple(per_slice)


def also_figures(spec: ModelSpec, frame: pd.DataFrame, y: Array, predictions: Predictions) -> tuple[AlsoFigure, ...]:
    """The metrics beside the model file's own. One that cannot be measured says why and takes nothing from the others.

    The level is shared among those with a bound (the Bonferroni correction), since each of them can fail the report.
    """
    bounded = sum(metric.bound is not None for metric in spec.performance.also)
    measured = []
    for metric in spec.performance.also:
        level = spec.performance.level / (bounded if metric.bound is not None else 1)
        try:
            groups, watched = watched_groups(spec, frame), spec.gates.blocks == "measured"
            estimate = bootstrap(metric, y, predictions, groups=groups, level=level, seed=spec.seed, watched=watched)
        except EvergreenError as error:
            problem = error.what[:200]
            measured.append(AlsoFigure(metric.name, _held(metric, None, None), None, None, metric.bound, problem))
            continue
        value, interval = figures(estimate)
        problem = "" if value is not None else f"Metric {metric.name!r} is undefined on these rows."
        measured.append(AlsoFigure(metric.name, _held(metric, value, interval), value, interval, metric.bound, problem))
    return tuple(measured)


def residuals(spec: ModelSpec, frame: pd.DataFrame, y: Array, predictions: Predictions) -> Residuals | None:
    """What a regression leaves over; None for a classification, or where a prediction is not finite."""
    if spec.task != "regression":
        return None
    residual = np.asarray(y, dtype=np.float64) - np.asarray(predictions.values, dtype=np.float64)
    bias = Metric(name="bias", function=_bias, greater_is_better=False)
    groups, level = cluster_ids(spec, frame), spec.performance.level
    estimate = bootstrap(bias, y, predictions, groups=groups, level=level, seed=spec.seed)
    value, interval = figures(estimate)
    if value is None:
        return None
    quantiles = np.quantile(residual, QUANTILES)
    return Residuals(value, interval, {str(at): float(here) for at, here in zip(QUANTILES, quantiles, strict=True)})


def calibration(spec: ModelSpec, y: Array, predictions: Predictions) -> Calibration | None:
    """Whether the probabilities of a classification are kept; None without such.

    Of the last class where there are two; else of whichever class was predicted.
    """
    if spec.task != "classification" or predictions.probability is None or predictions.classes is None or not len(y):
        return None
    from sklearn.calibration import calibration_curve

    if len(predictions.classes) == 2:
        of, predicted = str(predictions.classes[-1]), predictions.probability[:, -1]
        observed = np.asarray(y) == predictions.classes[-1]
    else:
        of, predicted = "top label", predictions.probability.max(axis=1)
        observed = np.asarray(y) == np.asarray(predictions.values)
    if not np.isfinite(predicted).all():
        return None
    predicted = np.clip(predicted, 0, 1)
    share, mean = calibration_curve(observed.astype(np.int64), predicted, n_bins=BINS, pos_label=1)
    inner = np.linspace(0, 1, BINS + 1)[1:-1]
    rows = np.bincount(np.searchsorted(inner, predicted), minlength=BINS)
    rows = rows[rows > 0]
    bins = tuple(Bin(int(n), float(a), float(b)) for n, a, b in zip(rows, mean, share, strict=True))
    return Calibration(of, float(np.average(np.abs(share - mean), weights=rows)), bins)


def _bias(y: Array, predicted: Array) -> float:
    return float(np.mean(np.asarray(y, dtype=np.float64) - predicted))


def _figure(
    spec: ModelSpec, frame: pd.DataFrame, y: Array, predictions: Predictions, *, interval: bool = True
) -> tuple[float | None, Interval | None]:
    """The metric on some of the rows; None where it is undefined there, or a function of one's own gives up."""
    none = float("nan")
    try:
        if not interval:
            return figures(Estimate(measure(spec.metric, y, predictions), none, none))
        groups = cluster_ids(spec, frame)
        estimate = bootstrap(spec.metric, y, predictions, groups=groups, level=spec.performance.level, seed=spec.seed)
    except EvergreenError:
        return None, None
    return figures(estimate)


def _held(metric: Metric, value: float | None, interval: Interval | None) -> Verdict | None:
    """A metric against its bound: proven on either side of it by the whole interval, or neither."""
    if metric.bound is None:
        return None
    if value is None or interval is None:
        return Verdict.INCONCLUSIVE
    low, high = interval
    met, missed = (
        (low >= metric.bound, high < metric.bound)
        if metric.kind.greater_is_better
        else (high <= metric.bound, low > metric.bound)
    )
    return Verdict.PASS if met else Verdict.FAIL if missed else Verdict.INCONCLUSIVE
