"""Built-in metrics as functions of sums over groups of rows, so that no resample of a bootstrap touches a row again.

A metric of a resample follows from how often each group was drawn: the counts times the groups' sums are the sums of
the resample. For a mean over rows these are losses, for r2 moments, for metrics of labels confusion counts. Metrics of
ranks sort the rows once: what is summed is how many rows of each kind lie at each place of the order, from which the
placements of DeLong, DeLong and Clarke-Pearson (1988, Biometrics 44:837) follow. Above `PLACES` different values
neighbours in the order share a place, and the little that this changes is taken back by the difference for all rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from evergreen.spec.metric import Array, Metric

PLACES = 800
"""Places of the order, for one class or one regression."""
MOST_SUMS = 20_000_000
"""More sums than this, of many groups and many classes, would not fit; the metric is then called for each resample."""


@dataclass(frozen=True, slots=True, eq=False)
class GroupSums:
    """Sums of each group, and the metric that follows from the sums of some of them.

    Attributes:
        sums: shape (groups, m).
        value: the metric of each row of totals, (resamples, m) -> (resamples,); not finite where it is undefined.
    """

    sums: Array
    value: Callable[[Array], Array]

    def draw(self, counts: Array, of_all: float) -> Array:
        """The metric of each resample, (resamples,), where that of all rows is `of_all`.

        `counts` (resamples, groups) says how often each group is in it.
        """
        with np.errstate(all="ignore"):
            correction = of_all - self.value(self.sums.sum(axis=0, keepdims=True))
            return np.asarray(self.value(counts @ self.sums) + correction)

    def merge(self, groups: int) -> GroupSums:
        """The sums of at most as many groups, each of neighbours."""
        count = len(self.sums)
        first = np.unique(np.arange(count) * groups // count, return_index=True)[1]
        return GroupSums(np.add.reduceat(self.sums, first, axis=0), self.value)

    def leave_one_out(self) -> Array:
        """The metric without each of the groups in turn, shape (groups,)."""
        with np.errstate(all="ignore"):
            return np.asarray(self.value(self.sums.sum(axis=0) - self.sums))


def sum_groups(
    metric: Metric, truth: Array, predicted: Array, classes: int, codes: Array, groups: int
) -> GroupSums | None:
    """The sums of a metric over groups; None for a function of the user's own, or where there would be too many.

    Args:
        metric: the metric.
        truth: as `_prepare` gives it, without missing values, shape (n,).
        predicted: of one model, likewise.
        classes: how many classes there are; 0 for a regression.
        codes: the number of the group of each row, shape (n,).
        groups: how many groups there are.
    """
    scorer = metric.kind.scorer
    if metric.kind.function is not None:
        return None
    if (pointwise := metric.kind.pointwise) is not None:
        columns = [pointwise(truth, predicted), np.ones(len(truth))]
        outer = metric.kind.outer
        return GroupSums(
            _sum_columns(columns, codes, groups),
            lambda totals: (outer or np.asarray)(totals[:, 0] / totals[:, 1]),
        )
    if scorer == "r2_score":
        centred = truth - truth.mean()
        columns = [np.ones(len(truth)), centred, centred**2, (truth - predicted) ** 2]
        return GroupSums(_sum_columns(columns, codes, groups), _r2)
    if scorer == "median_absolute_error":
        return _of_median(np.abs(truth - predicted), codes, groups)
    if scorer in ("roc_auc_score", "average_precision_score"):
        return _of_ranks(scorer, truth, predicted, classes, codes, groups)
    return _of_labels(scorer, truth, predicted, classes, codes, groups)


def _sum_columns(columns: list[Array], codes: Array, groups: int) -> Array:
    return np.stack([np.bincount(codes, weights=column, minlength=groups) for column in columns], axis=1)


def _r2(totals: Array) -> Array:
    rows, first, second, squares = totals.T
    spread = second - first**2 / rows
    # What is left of a constant truth is rounding.
    return np.where(spread > 1e-12 * np.abs(second), 1 - squares / spread, np.nan)


def _of_median(errors: Array, codes: Array, groups: int) -> GroupSums:
    """The median of the errors: the middle two places of the order, or their one place."""
    values, inverse = np.unique(errors, return_inverse=True)
    starts = np.unique(np.linspace(0, len(values), min(PLACES, len(values)), endpoint=False).astype(np.intp))
    low, high = values[starts], values[np.append(starts[1:], len(values)) - 1]
    places = np.searchsorted(starts, inverse, side="right") - 1

    def value(totals: Array) -> Array:
        ends = totals.cumsum(axis=1)
        rows = ends[:, -1]
        middle = [_at_rank(totals, ends, np.floor(rank), low, high) for rank in ((rows - 1) / 2, rows / 2)]
        return np.asarray((middle[0] + middle[1]) / 2)

    return GroupSums(_count_places(places, len(starts), codes, groups), value)


def _at_rank(totals: Array, ends: Array, rank: Array, low: Array, high: Array) -> Array:
    """The value at a rank (resamples,) of the rows in order, evenly between the least and the greatest of its place."""
    place = np.minimum((ends <= rank[:, None]).sum(axis=1), ends.shape[1] - 1)
    row = np.arange(len(rank))
    share = (rank - (ends - totals)[row, place] + 0.5) / totals[row, place]
    return np.asarray(low[place] + share * (high - low)[place])


def _of_ranks(scorer: str, truth: Array, predicted: Array, classes: int, codes: Array, groups: int) -> GroupSums | None:
    """The area under the ROC curve (of several classes the mean of each against the rest), or average precision."""
    several = classes > 2
    if several and scorer == "average_precision_score":
        return None
    area = _roc_auc if scorer == "roc_auc_score" else _average_precision
    most = max(50, PLACES // classes) if several else PLACES
    counted, ends = [], [0]
    for label in range(classes) if several else (1,):
        positive = truth == label
        values, inverse = np.unique(predicted[:, label], return_inverse=True)
        places, count = _merge_places(inverse, len(values), positive, most)
        if groups * (ends[-1] + 2 * count) > MOST_SUMS:
            return None
        for rows in (positive, ~positive):
            counted.append(_count_places(places[rows], count, codes[rows], groups))
            ends.append(ends[-1] + count)

    def value(totals: Array) -> Array:
        parts = [totals[:, start:end] for start, end in pairwise(ends)]
        areas = [area(positives, negatives) for positives, negatives in zip(parts[::2], parts[1::2], strict=True)]
        return np.asarray(np.mean(areas, axis=0))

    return GroupSums(np.concatenate(counted, axis=1), value)


def _merge_places(inverse: Array, values: int, positive: Array, most: int) -> tuple[Array, int]:
    """The place of each row among at most `most`, each with as much of the positive rows and of the others."""
    if values <= most:
        return inverse, values
    shares = [np.bincount(inverse[rows], minlength=values) / max(1, rows.sum()) for rows in (positive, ~positive)]
    middle = (shares[0] + shares[1]) / 2
    place = np.minimum((most * (middle.cumsum() - middle)).astype(np.intp), most - 1)
    return place[inverse], most


def _count_places(places: Array, count: int, codes: Array, groups: int) -> Array:
    return np.bincount(codes * count + places, minlength=groups * count).reshape(groups, count).astype(np.float64)


def _roc_auc(positives: Array, negatives: Array) -> Array:
    """The share of pairs in the right order, half of those at one place; both of shape (resamples, places)."""
    below = negatives.cumsum(axis=1) - negatives / 2
    return np.asarray((positives * below).sum(axis=1) / (positives.sum(axis=1) * negatives.sum(axis=1)))


def _average_precision(positives: Array, negatives: Array) -> Array:
    """The precision at each place from the top, weighed by the positive rows there."""
    found, taken = (part[:, ::-1].cumsum(axis=1)[:, ::-1] for part in (positives, positives + negatives))
    precision = np.where(taken > 0, found / taken, 0.0)
    return np.asarray((positives * precision).sum(axis=1) / found[:, 0])


def _of_labels(
    scorer: str, truth: Array, predicted: Array, classes: int, codes: Array, groups: int
) -> GroupSums | None:
    """f1, precision, recall and balanced accuracy, from how often each class is true, predicted, and both."""
    if 3 * groups * classes > MOST_SUMS:
        return None
    hit = predicted == truth
    counted = [
        _count_places(truth, classes, codes, groups),
        _count_places(predicted, classes, codes, groups),
        _count_places(truth[hit], classes, codes[hit], groups),
    ]

    def value(totals: Array) -> Array:
        true, said, hits = (totals[:, part * classes : (part + 1) * classes] for part in range(3))
        divisor = {"precision_score": said, "f1_score": (true + said) / 2}.get(scorer, true)
        figures = np.where(divisor > 0, hits / divisor, 0.0)
        if scorer == "balanced_accuracy_score":
            there = true > 0
        elif classes > 2:
            there = true + said > 0
        else:
            return np.asarray(figures[:, -1])
        return np.asarray((figures * there).sum(axis=1) / there.sum(axis=1))

    return GroupSums(np.concatenate(counted, axis=1), value)
