"""Metrics agree with scikit-learn, are silent where undefined, and their intervals keep what they promise."""

from __future__ import annotations

import warnings
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from evergreen.data.clusters import Clusters
from evergreen.data.predictions import Predictions
from evergreen.errors import EvergreenError
from evergreen.evaluation.bootstrap import (
    MAX_CLUSTERS,
    MIN_BLOCKS,
    MIN_GROUPS,
    Comparison,
    Estimate,
    _percentiles,
    bootstrap,
    paired_bootstrap,
)
from evergreen.evaluation.measure import measure
from evergreen.spec.metric import KNOWN, Metric

ALL = sorted(KNOWN)
POINTWISE = sorted(name for name, kind in KNOWN.items() if kind.pointwise)


def draw(name: str, n: int = 120, classes: int = 2, seed: int = 0, text: bool = False) -> tuple[Any, Predictions]:
    """A truth and plausible predictions for the metric."""
    rng = np.random.default_rng(seed)
    if KNOWN[name].task == "regression":
        y = rng.normal(10, 3, n)
        return y, Predictions(y + rng.normal(size=n))
    y = rng.integers(classes, size=n)
    probability = rng.dirichlet(np.ones(classes), n) * 0.5 + np.eye(classes)[y] * 0.3 + 0.2 / classes
    values = probability.argmax(axis=1)
    names = np.array(["a", "b", "c", "d"][:classes]) if text else np.arange(classes)
    return names[y], Predictions(names[values], probability, tuple(names.tolist()))


@pytest.mark.parametrize("name", ALL)
def test_value_is_scikit_learns(name: str) -> None:
    """Every named metric is the function of scikit-learn that it names, two classes being judged by the last."""
    y, model = draw(name)
    given = model.values if KNOWN[name].needs == "prediction" else model.probability
    if name in ("roc_auc", "average_precision"):
        given = given[:, 1]
    assert measure(Metric(name=name), y, model) == pytest.approx(getattr(reference, KNOWN[name].scorer)(y, given))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("f1", {"average": "macro"}),
        ("precision", {"average": "macro"}),
        ("recall", {"average": "macro"}),
        ("balanced_accuracy", {}),
        ("roc_auc", {"multi_class": "ovr", "average": "macro"}),
        ("log_loss", {}),
        ("brier", {}),
    ],
)
def test_three_classes(name: str, options: dict[str, Any]) -> None:
    """With three classes of text the mean over classes is taken."""
    y, model = draw(name, classes=3, text=True)
    given = model.values if KNOWN[name].needs == "prediction" else model.probability
    expected = getattr(reference, KNOWN[name].scorer)(y, given, **options)
    assert measure(Metric(name=name), y, model) == pytest.approx(expected)


@pytest.mark.parametrize("name", POINTWISE)
@pytest.mark.parametrize("classes", [2, 3])
def test_row_formula_gives_the_same_value(name: str, classes: int) -> None:
    """The mean of the row losses is the metric: a bootstrap that draws every row once would give its value."""
    y, model = draw(name, classes=classes)
    kind = KNOWN[name]
    assert kind.pointwise is not None
    given = model.values if kind.needs == "prediction" else model.probability
    mean = kind.pointwise(y, given).mean()
    value = mean if kind.outer is None else kind.outer(mean)
    assert value == pytest.approx(measure(Metric(name=name), y, model))


@pytest.mark.parametrize("name", ALL)
def test_direction(name: str) -> None:
    """A model that is right is better than one that guesses, in the direction that the metric claims."""
    y, _ = draw(name)
    if KNOWN[name].task == "regression":
        right, guess = Predictions(y), Predictions(np.full(len(y), y.mean() + 2))
    else:
        right = Predictions(y, np.eye(2)[y], (0, 1))
        guess = Predictions(1 - y, np.eye(2)[1 - y] * 0.8 + 0.1, (0, 1))
    metric = Metric(name=name)
    better = measure(metric, y, right) > measure(metric, y, guess)
    assert better is metric.kind.greater_is_better
    found = paired_bootstrap(metric, y, right, guess, groups=None, level=0.05, seed=1, resamples=50)
    assert found.improvement > 0
    assert 0 < found.low <= found.improvement + 1e-9 <= found.high + 2e-9


@pytest.mark.parametrize("name", [name for name in ALL if name != "median_ae"])
def test_weights(name: str) -> None:
    """A row of weight two counts as if it were there twice (scikit-learn's weighted median takes another view)."""
    y, model = draw(name)
    times = np.random.default_rng(3).integers(1, 3, len(y))
    rows = np.repeat(np.arange(len(y)), times)
    twice = Predictions(
        model.values[rows], None if model.probability is None else model.probability[rows], model.classes
    )
    metric = Metric(name=name)
    assert measure(metric, y, model, times.astype(float)) == pytest.approx(measure(metric, y[rows], twice))


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_one_class_is_undefined(name: str) -> None:
    """A ranking of one class is NaN, without a warning."""
    _, model = draw(name, n=20)
    assert np.isnan(measure(Metric(name=name), np.ones(20, dtype=int), model))


def test_undefined_elsewhere() -> None:
    """No rows, a constant target for r2, and three classes for average_precision are NaN."""
    assert np.isnan(measure(Metric(name="mae"), np.array([]), Predictions(np.array([]))))
    assert np.isnan(measure(Metric(name="r2"), np.ones(5), Predictions(np.arange(5.0))))
    y, model = draw("average_precision", classes=3)
    assert np.isnan(measure(Metric(name="average_precision"), y, model))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_bad_prediction_is_nan(name: str, bad: float) -> None:
    """One prediction that is not finite makes the metric and the whole comparison NaN."""
    y, model = draw(name)
    if model.probability is None:
        values = model.values.copy()
        values[3] = bad
        broken = Predictions(values)
    else:
        probability, values = model.probability.copy(), model.values.astype(float)
        probability[3, 0] = values[3] = bad
        broken = Predictions(values, probability, model.classes)
    metric = Metric(name=name)
    assert np.isnan(measure(metric, y, broken))
    for pair in ((broken, model), (model, broken)):
        found = paired_bootstrap(metric, y, *pair, groups=None, level=0.05, seed=1)
        assert np.isnan([found.improvement, found.low, found.high]).all()


def test_label_types_agree() -> None:
    """1, 1.0 and True are one class, and labels of text stored as objects are as good as any."""
    y = np.array([0, 1, 1, 0])
    for values in (y.astype(float), y.astype(bool), y.astype(object)):
        assert measure(Metric(name="accuracy"), y, Predictions(values)) == 1.0
    text = np.array(["no", "yes", "yes", "no"], dtype=object)
    assert measure(Metric(name="f1"), text, Predictions(text.astype(str))) == 1.0


def test_f1_is_of_the_last_class_even_in_a_lopsided_sample() -> None:
    """Which class counts does not depend on which classes the rows happen to hold."""
    y, values = np.array([1, 1, 1]), np.array([1, 1, 0])
    assert measure(Metric(name="recall"), y, Predictions(values)) == pytest.approx(2 / 3)
    assert measure(Metric(name="recall"), np.zeros(3), Predictions(np.zeros(3), np.eye(2)[[0] * 3], (0, 1))) == 0.0


def test_a_class_the_model_never_saw() -> None:
    """Its probability is nought: the log loss is large and finite, and models of other classes can be compared."""
    y = np.array([0, 1, 2] * 10)
    old = Predictions(y % 2, np.full((30, 2), 0.5), (0, 1))
    new = Predictions(y, np.eye(3)[y] * 0.7 + 0.1, (0, 1, 2))
    metric = Metric(name="log_loss")
    assert 10 < measure(metric, y, old) < 40
    assert paired_bootstrap(metric, y, new, old, groups=None, level=0.05, seed=0).low > 0


def test_column_order_of_the_classes_is_respected() -> None:
    """A model whose probability columns stand in another order scores the same."""
    y, model = draw("log_loss")
    assert model.probability is not None
    turned = Predictions(model.values, model.probability[:, ::-1], (1, 0))
    for name in ("log_loss", "brier", "roc_auc", "average_precision"):
        assert measure(Metric(name=name), y, turned) == pytest.approx(measure(Metric(name=name), y, model))


def test_own_function() -> None:
    """A function of the user's own gets raw labels, or the probability of the last class."""
    seen = []

    def share(y_true: Any, y_pred: Any) -> float:
        seen.append((y_true, y_pred))
        return float(np.mean(y_pred))

    y, model = draw("f1", text=True)
    assert model.probability is not None
    metric = Metric(name="share", function=share, greater_is_better=True, needs="probability")
    assert measure(metric, y, model) == pytest.approx(model.probability[:, 1].mean())
    assert seen[0][0][0] in ("a", "b")


def test_own_function_that_fails() -> None:
    """Its failure is one clear line that names the metric; NaN it may answer."""

    def broken(y_true: Any, y_pred: Any) -> float:
        raise KeyError("price")

    y, model = draw("mae")
    with pytest.raises(
        EvergreenError, match=r"test_measure\.py, line \d+, in broken\(\): KeyError: 'price', .* 'cost'"
    ):
        measure(Metric(name="cost", function=broken, greater_is_better=False), y, model)
    assert np.isnan(measure(Metric(name="c", function=lambda a, b: np.inf, greater_is_better=False), y, model))


def test_no_probability() -> None:
    """A metric of probabilities on a model without them is the user's to fix."""
    with pytest.raises(EvergreenError, match="predict_proba"):
        measure(Metric(name="roc_auc"), np.array([0, 1]), Predictions(np.array([0, 1])))


@pytest.mark.parametrize("name", ["mae", "rmse", "accuracy", "roc_auc", "median_ae"])
def test_swapped_roles_mirror(name: str) -> None:
    """Candidate and champion exchanged give the same interval with its sign turned."""
    y, one = draw(name, seed=1)
    _, two = draw(name, seed=2)
    two = Predictions(one.values[::-1], None if one.probability is None else one.probability[::-1], one.classes)
    options: dict[str, Any] = {"groups": None, "level": 0.05, "seed": 7, "resamples": 60}
    there = paired_bootstrap(Metric(name=name), y, one, two, **options)
    back = paired_bootstrap(Metric(name=name), y, two, one, **options)
    assert (back.improvement, back.low, back.high) == pytest.approx((-there.improvement, -there.high, -there.low))


def test_same_seed_same_interval() -> None:
    """The seed decides, and nothing else is random."""
    y, one = draw("mae")
    two = Predictions(one.values + 0.1)
    runs = [paired_bootstrap(Metric(name="mae"), y, one, two, groups=None, level=0.05, seed=s) for s in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_pointwise_and_called_metrics_agree() -> None:
    """The matrix product and the loop estimate the same interval."""
    rng = np.random.default_rng(5)
    y = rng.normal(size=400)
    one, two = Predictions(y + rng.normal(size=400)), Predictions(y + 1.3 * rng.normal(size=400))
    own = Metric(name="own", function=lambda a, b: float(np.abs(a - b).mean()), greater_is_better=False)
    days = np.arange(400) // 4
    fast, slow = (
        paired_bootstrap(metric, y, one, two, groups=days, level=0.05, seed=1) for metric in (Metric(name="mae"), own)
    )
    assert fast.improvement == pytest.approx(slow.improvement)
    width = fast.high - fast.low
    assert abs(fast.low - slow.low) < 0.15 * width
    assert abs(fast.high - slow.high) < 0.15 * width


def test_groups_widen_the_interval_of_alike_neighbours() -> None:
    """Twenty rows of one day that err together count once."""
    rng = np.random.default_rng(2)
    day = np.repeat(np.arange(30), 20)
    y = np.zeros(600)
    one, two = (Predictions(rng.normal(size=30)[day] + 0.1 * rng.normal(size=600)) for _ in range(2))
    apart, whole = (
        paired_bootstrap(Metric(name="mae"), y, one, two, groups=g, level=0.05, seed=1) for g in (None, day)
    )
    assert whole.high - whole.low > 2 * (apart.high - apart.low)
    assert (apart.groups, whole.groups, whole.rows) == (600, 30, 600)


def test_groups_may_be_dates_or_text_and_interleaved() -> None:
    """What names a group does not matter, nor the order of rows."""
    y, one = draw("mae", n=80)
    two = Predictions(one.values + np.random.default_rng(1).normal(size=80))
    codes = np.arange(80) % 8
    for names in (codes.astype("datetime64[D]"), codes.astype(str)):
        found = [
            paired_bootstrap(Metric(name="mae"), y, one, two, groups=g, level=0.05, seed=1) for g in (codes, names)
        ]
        assert found[0] == found[1]


def test_too_few_groups_have_no_interval() -> None:
    """Below six groups the estimate stands and the interval is NaN."""
    y, one = draw("mae", n=60)
    two = Predictions(one.values + 1)
    for count, known in ((MIN_GROUPS - 1, False), (MIN_GROUPS, True)):
        groups = np.arange(60) % count
        found = paired_bootstrap(Metric(name="mae"), y, one, two, groups=groups, level=0.05, seed=1)
        assert np.isfinite(found.low) == np.isfinite(found.high) == known
        assert np.isfinite(found.improvement)


def test_few_groups_take_wider_percentiles() -> None:
    """Seven groups at level 0.05: Student's 2.447 times the root of 7/6 is a tail of 0.41 %, not of 2.5 %."""
    low, high = _percentiles(np.linspace(0, 1, 100_001), 0.05, 7)
    assert (low, high) == pytest.approx((0.00411, 0.99589), abs=2e-5)


def test_own_function_of_several_classes_gets_the_last() -> None:
    """With three classes, too, a function of probabilities is given the last column."""
    y, model = draw("log_loss", classes=3)
    assert model.probability is not None
    own = Metric(name="own", function=lambda a, b: float(b.mean()), greater_is_better=True, needs="probability")
    assert measure(own, y, model) == pytest.approx(model.probability[:, 2].mean())


def test_many_rows_are_merged_and_keep_their_width() -> None:
    """Above the cap the interval is that of the normal approximation: merging rows at random costs nothing."""
    rng = np.random.default_rng(4)
    n = 20 * MAX_CLUSTERS
    y = np.zeros(n)
    one, two = rng.normal(size=n), rng.normal(size=n)
    found = paired_bootstrap(Metric(name="mae"), y, Predictions(one), Predictions(two), groups=None, level=0.05, seed=1)
    expected = 2 * 1.96 * (np.abs(two) - np.abs(one)).std() / np.sqrt(n)
    assert found.high - found.low == pytest.approx(expected, rel=0.1)


def test_called_metric_of_many_rows_is_sampled() -> None:
    """A metric that must be called sees at most ten thousand rows a time, and the estimate is still that of all."""
    sizes = []

    def own(a: Any, b: Any) -> float:
        sizes.append(len(a))
        return float(np.median(np.abs(a - b)))

    rng = np.random.default_rng(4)
    y = np.zeros(30_000)
    one, two = Predictions(rng.normal(size=30_000)), Predictions(2 * rng.normal(size=30_000))
    metric = Metric(name="own", function=own, greater_is_better=False)
    found = paired_bootstrap(metric, y, one, two, groups=None, level=0.05, seed=1, resamples=20)
    assert sizes[:2] == [30_000] * 2
    assert max(sizes[2:]) <= 10_000
    assert found.low < found.improvement < found.high
    assert found.value == pytest.approx(np.median(np.abs(one.values)))


def test_a_level_is_two_sided() -> None:
    """The interval at level 0.05 is close to 1.96 standard errors each way; at 0.2, to 1.28."""
    rng = np.random.default_rng(8)
    y = np.zeros(1000)
    one, two = rng.normal(size=1000), rng.normal(size=1000)
    error = (np.abs(two) - np.abs(one)).std() / np.sqrt(1000)
    for level, times in ((0.05, 1.96), (0.2, 1.28)):
        found = paired_bootstrap(
            Metric(name="mae"), y, Predictions(one), Predictions(two), groups=None, level=level, seed=1, resamples=4000
        )
        assert found.improvement - found.low == pytest.approx(times * error, rel=0.1)
        assert found.high - found.improvement == pytest.approx(times * error, rel=0.1)


def test_the_interval_of_one_model_is_that_of_its_mean() -> None:
    """1.96 standard errors each way, whether the metric is a mean over rows or a function that has to be called."""
    rng = np.random.default_rng(8)
    y, given_ = np.zeros(1000), rng.normal(size=1000)
    error = np.abs(given_).std() / np.sqrt(1000)
    own = Metric(name="own", function=lambda a, b: float(np.abs(a - b).mean()), greater_is_better=False)
    for metric, near in ((Metric(name="mae"), 0.1), (own, 0.2)):
        found = bootstrap(metric, y, Predictions(given_), groups=None, level=0.05, seed=1)
        assert found.value == pytest.approx(np.abs(given_).mean())
        assert found.value - found.low == pytest.approx(1.96 * error, rel=near)
        assert found.high - found.value == pytest.approx(1.96 * error, rel=near)
        assert found == bootstrap(metric, y, Predictions(given_), groups=None, level=0.05, seed=1)


def test_the_interval_of_one_model_needs_groups_and_figures() -> None:
    """Too few groups have a value and no interval; a missing prediction has neither."""
    y, one = draw("mae", n=60)
    few = bootstrap(Metric(name="mae"), y, one, groups=np.arange(60) % (MIN_GROUPS - 1), level=0.05, seed=1)
    assert np.isfinite(few.value) and np.isnan([few.low, few.high]).all()
    one.values[3] = np.nan
    none: Estimate = bootstrap(Metric(name="mae"), y, one, groups=None, level=0.05, seed=1)
    assert np.isnan([none.value, none.low, none.high]).all()
    nothing = bootstrap(Metric(name="mae"), y[:0], Predictions(y[:0]), groups=None, level=0.05, seed=1)
    assert np.isnan(nothing.value)


def test_margin_allows_for_the_champions_own_uncertainty() -> None:
    """A candidate whose error is the champion's times 1.2, row by row, lies exactly at a margin of 0.2: no spread."""
    error = np.random.default_rng(0).normal(size=100)
    found = paired_bootstrap(
        Metric(name="mae"),
        np.zeros(100),
        Predictions(1.2 * error),
        Predictions(error),
        groups=None,
        level=0.05,
        seed=1,
        margin=0.2,
    )
    bound = -0.2 * found.champion_value
    assert (found.low, found.high) == pytest.approx((bound, bound))


def test_resamples_that_lose_a_class_are_left_out_or_spoil_the_interval() -> None:
    """Rarely undefined is dropped; often undefined gives no interval at all."""
    probability = np.random.default_rng(0).dirichlet([1, 1], 100)
    one, two = Predictions(np.zeros(100), probability, (0, 1)), Predictions(np.zeros(100), probability[::-1], (0, 1))
    for positives, known in ((6, True), (1, False)):
        y = np.zeros(100, dtype=int)
        y[:positives] = 1
        found = paired_bootstrap(Metric(name="roc_auc"), y, one, two, groups=None, level=0.05, seed=1, resamples=100)
        assert np.isfinite(found.improvement)
        assert np.isfinite(found.low) == known


@settings(max_examples=60)
@given(
    name=st.sampled_from([name for name in ALL if KNOWN[name].task == "regression"]),
    rows=st.lists(st.tuples(*[st.floats(width=64)] * 3), max_size=12),
)
def test_any_numbers_are_survived(name: str, rows: list[tuple[float, float, float]]) -> None:
    """Whatever the numbers, there is an answer, and never a warning."""
    y, one, two = np.array(rows).reshape(-1, 3).T
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = paired_bootstrap(
            Metric(name=name), y, Predictions(one), Predictions(two), groups=None, level=0.05, seed=1, resamples=20
        )
    if np.isfinite(found.low):
        assert found.low <= found.high


@settings(max_examples=60)
@given(
    name=st.sampled_from([name for name in ALL if KNOWN[name].task == "classification"]),
    rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.floats(0, 1)), max_size=12),
)
def test_any_labels_are_survived(name: str, rows: list[tuple[int, int, float]]) -> None:
    """Whatever the classes in truth and prediction, there is an answer, and never a warning."""
    y = np.array([row[0] for row in rows], dtype=int)
    values = np.array([row[1] for row in rows], dtype=int)
    share = np.array([row[2] for row in rows], dtype=float)
    one = Predictions(values, np.stack([share, 1 - share], axis=1), (0, 1))
    two = Predictions(y, np.stack([1 - share, share], axis=1), (0, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        paired_bootstrap(Metric(name=name), y, one, two, groups=None, level=0.05, seed=1, resamples=5)


def wandering_days(days: int, daily: float, seed: int = 0) -> tuple[Any, Predictions, Predictions, Clusters]:
    """A truth of hours, two models of which one's error wanders from day to day, and the days."""
    random = np.random.default_rng(seed)
    level = np.zeros(days)
    for day in range(1, days):
        level[day] = daily * level[day - 1] + random.normal()
    rows = np.arange(24 * days) // 24
    one, two = 10 + level[rows] + random.normal(size=24 * days), 10 + random.normal(size=24 * days)
    return np.zeros(24 * days), Predictions(one), Predictions(two), Clusters(rows, timedelta(days=1))


def compared(*about: Any, metric: Metric | None = None, capped: bool = False) -> Comparison:
    y, one, two, groups = about
    return paired_bootstrap(metric or Metric(name="mae"), y, one, two, groups=groups, level=0.05, seed=1, capped=capped)


def test_dependent_days_are_drawn_in_blocks() -> None:
    """Blocks of several days widen the interval; the length is told, and a function of one's own has the same."""
    y, one, two, days = wandering_days(300, 0.8)
    blocks, alone = compared(y, one, two, days), compared(y, one, two, days.numbers)
    assert blocks.block is not None
    assert blocks.block > timedelta(days=3)
    assert blocks.groups == 300 // (blocks.block // timedelta(days=1))
    assert blocks.high - blocks.low > 1.5 * (alone.high - alone.low)
    own = Metric(name="own", function=lambda a, b: float(np.abs(a - b).mean()), greater_is_better=False)
    assert compared(y, one, two, days, metric=own).block == blocks.block


def test_independent_days_are_drawn_as_before() -> None:
    """Without dependence the interval is that of days one by one, to the bit."""
    y, one, two, days = wandering_days(60, 0.0)
    blocks, alone = compared(y, one, two, days), compared(y, one, two, days.numbers)
    assert (blocks.low, blocks.high, blocks.groups) == (alone.low, alone.high, alone.groups)
    assert (blocks.block, alone.block) == (timedelta(days=1), None)


def test_too_few_blocks_have_no_interval() -> None:
    """Of days that wander together for weeks nothing is proven, except where some interval is better than none."""
    about = wandering_days(60, 0.97)
    few, some = compared(*about), compared(*about, capped=True)
    assert np.isnan([few.low, few.high]).all()
    assert few.groups < MIN_BLOCKS
    assert some.groups == MIN_BLOCKS
    assert some.low < some.improvement < some.high


def test_more_days_than_are_drawn_are_merged_with_their_neighbours() -> None:
    """Above the cap neighbours in time stand together, and the length says so."""
    count = 2 * MAX_CLUSTERS
    random = np.random.default_rng(0)
    days = Clusters(np.arange(count), timedelta(days=1))
    found = compared(
        np.zeros(count), Predictions(random.normal(size=count)), Predictions(random.normal(size=count)), days
    )
    assert (found.groups, found.block) == (MAX_CLUSTERS, timedelta(days=2))


def test_irregular_times_and_rows_in_any_order() -> None:
    """Days without rows do not count, and the order of the rows does not matter."""
    y, one, two, days = wandering_days(100, 0.7)
    kept = np.random.default_rng(1).permutation(np.flatnonzero(days.numbers % 3 > 0))
    shuffled = compared(y[kept], *(Predictions(model.values[kept]) for model in (one, two)), days[kept])
    kept = np.sort(kept)
    ordered = compared(y[kept], *(Predictions(model.values[kept]) for model in (one, two)), days[kept])
    assert (shuffled.block, shuffled.groups) == (ordered.block, ordered.groups)
    assert (shuffled.low, shuffled.high) == pytest.approx((ordered.low, ordered.high))
