"""What a replayed policy's predictions were worth: its error over time, with an interval, and which policy to choose.

Weeks that follow each other are alike, so that the bootstrap draws blocks of steps, not steps (moving blocks, Künsch
1989, The Jackknife and the Bootstrap for General Stationary Observations); all policies are judged on the same draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evergreen.backtest.history import History
from evergreen.backtest.simulation import StepPredictions
from evergreen.evaluation.measure import measure, row_losses
from evergreen.evaluation.slices import picked
from evergreen.spec.metric import Array, Metric
from evergreen.spec.model import ModelSpec
from evergreen.training.predict import target_of

RESAMPLES, LEVEL = 1000, 0.05
FEWEST_BLOCKS = 6
"""With fewer blocks of steps there is no interval, as in `evergreen.evaluation.measure`."""


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """How good a policy's predictions were in each step.

    Attributes:
        total: sum over the step's labelled rows of what the metric is a mean of; of another metric, value times rows.
        rows: labelled rows of the step that were predicted.
    """

    metric: Metric
    total: Array
    rows: Array

    def value(self, chosen: npt.NDArray[np.intp] | None = None) -> float:
        """The metric over all steps, or over some of them, a step counting as often as it is named."""
        total, rows = (self.total, self.rows) if chosen is None else (self.total[chosen], self.rows[chosen])
        return float(_outer(self.metric)(np.array([total.sum() / rows.sum()]))[0]) if rows.sum() else float("nan")

    def draws(self, picks: npt.NDArray[np.intp]) -> Array:
        """The metric in each resample; `picks` is of shape (resamples, steps)."""
        with np.errstate(all="ignore"):
            means = self.total[picks].sum(axis=1) / self.rows[picks].sum(axis=1)
        return np.asarray(_outer(self.metric)(means))

    def by_step(self) -> Array:
        """The metric of each step; NaN where there is none."""
        with np.errstate(all="ignore"):
            return np.asarray(_outer(self.metric)(self.total / self.rows))

    def part(self, steps: slice) -> Series:
        """Some of the steps."""
        return Series(self.metric, self.total[steps], self.rows[steps])

    @property
    def worse(self) -> float:
        """1 where more is worse, -1 where more is better."""
        return -1.0 if self.metric.kind.greater_is_better else 1.0


def series(spec: ModelSpec, history: History, served: Sequence[StepPredictions]) -> Series:
    """The figures of what was served, against the labels as they are known by now; one entry for each step."""
    total, count = np.zeros(len(served)), np.zeros(len(served))
    ends = [end for step in served for first, last, _ in step.pieces for end in (first, last)]
    begin = min(ends, default=0)
    whole = history.rows.slice(begin, max(ends, default=0) - begin).select([spec.target]).to_pandas()
    for number, step in enumerate(served):
        for first, last, given in step.pieces:
            frame = whole.iloc[first - begin : last - begin]
            there = frame[spec.target].notna().to_numpy()
            if not there.any():
                continue
            y, mine = target_of(spec, frame[there]), picked(given, there)
            losses = row_losses(spec.metric, y, mine)
            value = float(losses.sum()) if losses is not None else measure(spec.metric, y, mine) * int(there.sum())
            if np.isfinite(value):
                total[number] += value
                count[number] += int(there.sum())
    return Series(spec.metric, total, count)


def block_length(steps: int) -> int:
    """Steps in a block: the cube root of their number, the rate of Hall, Horowitz and Jing (1995)."""
    return max(1, round(math.cbrt(steps)))


def picks(steps: int, *, seed: int, resamples: int = RESAMPLES) -> npt.NDArray[np.intp] | None:
    """Which steps each resample has, (resamples, steps); None where there are too few of them for an interval."""
    length = block_length(steps)
    if steps // length < FEWEST_BLOCKS:
        return None
    count = -(-steps // length)
    starts = np.random.default_rng(seed).integers(steps, size=(resamples, count))
    drawn = (starts[:, :, None] + np.arange(length)) % steps
    return np.asarray(drawn.reshape(resamples, -1)[:, :steps], dtype=np.intp)


def interval(draws: Array) -> tuple[float, float] | None:
    """The middle 95 % of the draws; None without any."""
    sound = draws[np.isfinite(draws)]
    if len(sound) < 0.9 * len(draws):
        return None
    low, high = np.quantile(sound, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Difference:
    """How much worse one policy's error is than another's, in the metric's unit; positive is worse."""

    value: float
    interval: tuple[float, float] | None

    @property
    def proven(self) -> bool:
        """Whether it is worse beyond what chance explains."""
        return self.interval is not None and self.interval[0] > 0


def difference(mine: Series, other: Series, drawn: npt.NDArray[np.intp] | None) -> Difference:
    """How much worse `mine` is than `other` on the same steps."""
    value = mine.worse * (mine.value() - other.value())
    if drawn is None:
        return Difference(value, None)
    return Difference(value, interval(mine.worse * (mine.draws(drawn) - other.draws(drawn))))


@dataclass(frozen=True, slots=True)
class Prices:
    """What a retraining and a unit of error cost, in the user's own unit; None where that is not known.

    A unit of error is the metric's, of one row.
    """

    retrain: float | None = None
    error: float | None = None

    @property
    def known(self) -> bool:
        """Whether policies can be compared by their cost."""
        return self.retrain is not None and self.error is not None

    def cost(self, found: Series, retrains: int) -> float:
        """Of a policy over the steps of `found`."""
        lost = found.worse * found.value() * float(found.rows.sum())
        return (self.retrain or 0.0) * retrains + (self.error or 0.0) * lost


def choose(
    found: Mapping[str, Series], retrains: Mapping[str, int], prices: Prices, *, seed: int
) -> tuple[str | None, dict[str, Difference]]:
    """The policy to take, None where there are too few steps to say, and how much worse than the best each one is.

    With prices the cheapest. Without, of those that are not proven to be worse than the one with the least error, the
    one with the fewest retrainings: a retraining that is not proven to help is not worth its risk.
    """
    first = next(iter(found.values()))
    drawn = picks(len(first.total), seed=seed)
    errors = {name: one.worse * one.value() for name, one in found.items()}
    best = min(errors, key=errors.__getitem__)
    beside = {name: difference(one, found[best], drawn) for name, one in found.items()}
    if prices.known and drawn is not None:
        return min(found, key=lambda name: prices.cost(found[name], retrains[name])), beside
    if drawn is None:
        return None, beside
    left = [name for name in found if not beside[name].proven]
    return min(left, key=lambda name: (retrains[name], errors[name])), beside


def _outer(metric: Metric) -> Callable[[Array], Array]:
    outer = metric.kind.outer if metric.kind.pointwise is not None else None
    return outer if outer is not None else lambda mean: mean
