"""What follows from sums over groups is what the metric of the resampled rows is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from evergreen.data.predictions import Predictions
from evergreen.evaluation.bootstrap import bootstrap, paired_bootstrap
from evergreen.evaluation.group_sums import PLACES, GroupSums, sum_groups
from evergreen.evaluation.measure import _prepare, _value, measure
from evergreen.spec.metric import KNOWN, Metric

CASES = [(name, 0 if kind.task == "regression" else classes) for name, kind in KNOWN.items() for classes in (2, 4)]
CASES = sorted(set(CASES) - {("average_precision", 4)})
"""Average precision is undefined for several classes."""


def drawn(name: str, classes: int, rows: int, *, digits: int | None = None) -> tuple[Any, Predictions]:
    """A truth and predictions that know something of it, with ties where they are rounded."""
    random = np.random.default_rng([rows, classes])
    if KNOWN[name].task == "regression":
        y = random.normal(size=rows) + 3
        given = y + random.normal(size=rows)
        return y, Predictions(given if digits is None else given.round(digits))
    y = random.integers(classes, size=rows)
    scores = random.normal(size=(rows, classes))
    scores[np.arange(rows), y] += 1
    chance = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    if digits is not None:
        chance = chance.round(digits)
    return y, Predictions(chance.argmax(axis=1), chance, tuple(range(classes)))


def prepared(name: str, y: Any, model: Predictions) -> tuple[Metric, Any, Any, int]:
    metric = Metric(name=name)
    truth, (predicted,), classes = _prepare(metric, y, model)
    return metric, truth, predicted, classes


def sums_of(name: str, y: Any, model: Predictions, codes: Any, groups: int) -> GroupSums:
    sums = sum_groups(*prepared(name, y, model), codes, groups)
    assert sums is not None
    return sums


@pytest.mark.parametrize(("name", "classes"), CASES)
@pytest.mark.parametrize("digits", [None, 1])
def test_each_resample_is_that_of_its_rows(name: str, classes: int, digits: int | None) -> None:
    """scikit-learn on the repeated rows answers the same, ties included, up to rounding."""
    rows, groups = 190, 19
    y, model = drawn(name, classes, rows, digits=digits)
    codes = np.arange(rows) % groups
    counts = np.random.default_rng(3).integers(0, 3, (30, groups)).astype(float)
    fast = sums_of(name, y, model, codes, groups).draw(counts, measure(Metric(name=name), y, model))
    metric, truth, predicted, known = prepared(name, y, model)
    repeated = [np.repeat(np.arange(rows), count[codes].astype(int)) for count in counts]
    slow = [_value(metric, truth[taken], predicted[taken], known) for taken in repeated]
    assert fast == pytest.approx(np.array(slow), abs=1e-9, nan_ok=True)


@pytest.mark.parametrize(
    ("name", "classes"), [("roc_auc", 2), ("roc_auc", 4), ("average_precision", 2), ("median_ae", 0)]
)
def test_shared_places_cost_a_small_part_of_the_spread(name: str, classes: int) -> None:
    """With more values than places a resample is off by less than a tenth of what resamples differ by."""
    rows, groups = 20 * PLACES, 40
    y, model = drawn(name, classes, rows)
    codes = np.arange(rows) * groups // rows
    counts = np.random.default_rng(3).multinomial(groups, np.full(groups, 1 / groups), 40).astype(float)
    fast = sums_of(name, y, model, codes, groups).draw(counts, measure(Metric(name=name), y, model))
    metric, truth, predicted, known = prepared(name, y, model)
    repeated = [np.repeat(np.arange(rows), count[codes].astype(int)) for count in counts]
    slow = np.array([_value(metric, truth[taken], predicted[taken], known) for taken in repeated])
    assert np.abs(fast - slow).max() < 0.1 * slow.std()


@pytest.mark.parametrize(("name", "classes"), CASES)
def test_the_interval_agrees_with_the_loop(name: str, classes: int) -> None:
    """A function that calls scikit-learn on every resample has the same interval, within simulation error."""
    y, model = drawn(name, classes, 600)
    given = model.values if KNOWN[name].needs == "prediction" else model.probability
    places = np.arange(600)
    by_rows = Metric(
        name="loop",
        function=lambda at, _: measure(
            Metric(name=name),
            y[at],
            Predictions(model.values[at], None if model.probability is None else given[at], model.classes),
        ),
        greater_is_better=True,
    )
    days = places // 12
    fast = bootstrap(Metric(name=name), y, model, groups=days, level=0.05, seed=1)
    slow = bootstrap(by_rows, places, Predictions(places), groups=days, level=0.05, seed=2)
    width = slow.high - slow.low
    assert fast.value == pytest.approx(slow.value)
    assert abs(fast.low - slow.low) < 0.2 * width
    assert abs(fast.high - slow.high) < 0.2 * width


def test_a_resample_without_a_class_is_undefined() -> None:
    """Ranks need rows of both kinds."""
    y, model = np.array([0, 0, 1, 1]), Predictions(np.zeros(4), np.full((4, 2), 0.5), (0, 1))
    for name in ("roc_auc", "average_precision"):
        sums = sums_of(name, y, model, np.arange(4) // 2, 2)
        assert np.isfinite(sums.draw(np.array([[2.0, 0.0], [1.0, 1.0]]), 0.5)).tolist() == [False, True]


def test_a_function_of_ones_own_has_no_sums() -> None:
    """Nothing is known of it."""
    own = Metric(name="own", function=lambda a, b: 0.0, greater_is_better=True)
    assert sum_groups(own, np.zeros(4), np.zeros(4), 0, np.arange(4), 4) is None


def test_leaving_a_group_out_and_merging_neighbours() -> None:
    """Both are sums again."""
    y, model = drawn("mae", 0, 60)
    sums = sums_of("mae", y, model, np.arange(60) // 10, 6)
    without = measure(Metric(name="mae"), y[10:], Predictions(model.values[10:]))
    assert sums.leave_one_out()[0] == pytest.approx(without)
    merged = sums.merge(3)
    assert merged.sums[:, 1].tolist() == [20.0] * 3
    assert merged.sums.sum() == pytest.approx(sums.sums.sum())


def test_the_same_rows_in_both_models_cancel() -> None:
    """A model beside itself differs by nothing in any resample, places shared or not."""
    y, model = drawn("roc_auc", 2, 5 * PLACES)
    found = paired_bootstrap(Metric(name="roc_auc"), y, model, model, groups=None, level=0.05, seed=1)
    assert (found.low, found.high) == pytest.approx((0, 0), abs=1e-12)
