"""The gates are tested to lose: what must not be promoted is not, what must be is, and chance keeps to its level."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evergreen.data.clusters import Clusters
from evergreen.data.predictions import Predictions
from evergreen.errors import EvergreenError
from evergreen.evaluation import gates, proof, slices
from evergreen.evaluation.evidence import Evidence
from evergreen.evaluation.gates import against_champion, run_gates, verdict_of
from evergreen.spec.data import Features
from evergreen.spec.gates import Gates
from evergreen.spec.metric import Array, Metric
from evergreen.spec.model import ModelSpec
from evergreen.spec.training import Holdout
from evergreen.verdicts import Check, Verdict

PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
N = 200


class Nowhere:
    """A source that has nothing."""

    def fingerprint(self, root: Any) -> str:
        """Never changes."""
        return ""

    def read(self, root: Any, new: Any) -> Any:
        """Nothing to read."""
        return iter(())


def spec(**changes: Any) -> ModelSpec:
    """A regression judged by mae, unless changed."""
    fields: dict[str, Any] = {
        "name": "m",
        "task": "regression",
        "source": Nowhere(),
        "contract": lambda: None,
        "target": "y",
        "features": Features(numeric=("x",)),
        "pipeline": lambda seed: None,
        "metric": Metric(name="mae"),
    }
    return ModelSpec(**fields | changes)


CLASSES: dict[str, Any] = {"task": "classification", "metric": Metric(name="accuracy")}


def noise(scale: float, seed: int = 0, n: int = N) -> Array:
    """Errors of a model that is wrong by about `scale`."""
    return scale * np.random.default_rng(seed).normal(size=n)


def evidence(**changes: Any) -> Evidence:
    """A candidate with about half the champion's error, everything else in order, unless changed."""
    y = np.random.default_rng(99).normal(50, 20, N)
    fields: dict[str, Any] = {
        "y": y,
        "candidate": Predictions(y + noise(1, 1)),
        "champion": Predictions(y + noise(2, 2)),
        "baseline": Predictions(np.full(N, 50.0)),
        "slices": {},
        "groups": None,
        "overlap": 0,
        "copies": 0,
        "order": "",
        "train_value": 0.8,
        "latency_ms": 5.0,
        "size_mb": 1.0,
        "tags": {},
        "description": "A model.",
        "integrity": "",
        "same_as_champion": False,
    }
    return Evidence(**fields | changes)


def classes(accuracy: float, rival: float, **changes: Any) -> Evidence:
    """A candidate and a champion that are right in exactly these shares of the rows, wrong in different ones."""
    y = np.arange(N) % 2
    right = [np.arange(N) < round(accuracy * N), np.arange(N)[::-1] < round(rival * N)]
    mine, theirs = (Predictions(np.where(sure, y, 1 - y)) for sure in right)
    return evidence(
        **{"y": y, "candidate": mine, "champion": theirs, "baseline": Predictions(np.zeros(N, dtype=int))} | changes
    )


def named(checks: tuple[Check, ...], name: str) -> Check:
    """The one check of this name."""
    (found,) = [check for check in checks if check.name == name]
    return found


def names(checks: tuple[Check, ...]) -> list[str]:
    """What was asked, in order."""
    return [check.name for check in checks]


def test_a_better_candidate_passes() -> None:
    """Half the champion's error is promoted, with the figures in the reason."""
    checks = run_gates(evidence(), spec(), seed=1)
    assert verdict_of(checks) is PASS
    assert names(checks) == [
        "integrity", "holdout", "finite", "baseline", "champion", "latency", "size", "description"
    ]  # fmt: skip
    found = against_champion(evidence(), spec(), seed=1)
    assert found is not None
    check = named(checks, "champion")
    assert (check.value, check.bound) == (found.low, 0)
    assert f"mae {found.value:.4g} against the champion's {found.champion_value:.4g}: better by" in check.reason
    assert f"95 % interval {found.low:.4g} to {found.high:.4g}" in check.reason


def test_swapped_roles_fail() -> None:
    """The same two models exchanged: the worse one is proven worse."""
    usual = evidence()
    checks = run_gates(replace(usual, candidate=usual.champion, champion=usual.candidate), spec(), seed=1)
    assert [check.name for check in checks if check.status is not PASS] == ["champion"]
    assert named(checks, "champion").status is FAIL
    assert "worse by" in named(checks, "champion").reason


@pytest.mark.parametrize(("mine", "theirs", "status"), [(0.9, 0.7, PASS), (0.8, 0.8, INCONCLUSIVE), (0.7, 0.9, FAIL)])
def test_a_score_is_better_when_greater(mine: float, theirs: float, status: Verdict) -> None:
    """Accuracy is judged upward."""
    assert named(run_gates(classes(mine, theirs), spec(**CLASSES), seed=1), "champion").status is status


def test_without_a_champion() -> None:
    """The first model needs no comparison: baseline, budgets and integrity decide, and slices are not judged."""
    usual = evidence(champion=None, slices={"c": np.zeros(N)})
    checks = run_gates(usual, spec(), seed=1)
    assert verdict_of(checks) is PASS
    assert not [name for name in names(checks) if name.startswith(("champion", "slice"))]
    assert against_champion(usual, spec(), seed=1) is None


def test_thirty_rows_and_no_mistake() -> None:
    """Thirty holdout rows of three classes, all right, no champion: promoted."""
    y = np.repeat([0, 1, 2], 10)
    perfect = evidence(y=y, candidate=Predictions(y), champion=None, baseline=Predictions(np.zeros(30, dtype=int)))
    assert verdict_of(run_gates(perfect, spec(**CLASSES), seed=42)) is PASS


@pytest.mark.parametrize("margin", [0.0, 0.2])
def test_identical_predictions_gain_nothing(margin: float) -> None:
    """A copy, or a copy up to rounding, is INCONCLUSIVE, also where a margin would let something worse through."""
    y = evidence().y
    values = y + noise(1, 1)
    for mine in (values, values * (1 + 1e-15)):
        usual = evidence(candidate=Predictions(mine), champion=Predictions(values))
        check = named(run_gates(usual, spec(gates=Gates(margin=margin)), seed=1), "champion")
        assert check.status is INCONCLUSIVE
        assert "identical" in check.reason


def test_compared_with_itself_fails() -> None:
    """The champion's own version is refused, whatever its predictions say."""
    checks = run_gates(evidence(same_as_champion=True, slices={"c": np.zeros(N)}), spec(), seed=1)
    assert named(checks, "champion").status is FAIL
    assert "with itself" in named(checks, "champion").reason
    assert verdict_of(checks) is FAIL


@pytest.mark.parametrize(
    ("scale", "margin", "status"),
    [
        (1.02, 0.0, FAIL),
        (1.02, 0.1, PASS),
        (1.1, 0.1, INCONCLUSIVE),
        (1.3, 0.1, FAIL),
        (0.98, 0.0, PASS),
        (0.98, 0.1, PASS),
    ],
)
def test_margin_of_an_error(scale: float, margin: float, status: Verdict) -> None:
    """Errors that are the champion's times a factor: within the margin passes, at it is not proven, beyond it fails."""
    error, y = noise(2, 2), evidence().y
    usual = evidence(candidate=Predictions(y + scale * error), champion=Predictions(y + error))
    check = named(run_gates(usual, spec(gates=Gates(margin=margin)), seed=1), "champion")
    assert check.status is status
    assert check.bound == pytest.approx(-margin * np.abs(error).mean())
    if status is INCONCLUSIVE:
        assert f"does not prove it is not worse by more than {-check.bound:.4g}." in check.reason


@pytest.mark.parametrize(("mine", "margin", "status"), [(0.88, 0.1, PASS), (0.7, 0.1, FAIL), (0.83, 0.1, INCONCLUSIVE)])
def test_margin_of_a_score(mine: float, margin: float, status: Verdict) -> None:
    """The margin is a share of the champion's metric in either direction."""
    check = named(run_gates(classes(mine, 0.9), spec(**CLASSES, gates=Gates(margin=margin)), seed=1), "champion")
    assert check.status is status
    assert check.bound == pytest.approx(-0.09)


def test_margin_of_a_negative_metric() -> None:
    """A champion below nought has a margin too: it is a share of the size."""
    y = evidence().y
    usual = evidence(
        candidate=Predictions(y + noise(50, 1)), champion=Predictions(y + noise(60, 2)), baseline=Predictions(y * 0)
    )
    found = against_champion(usual, spec(metric=Metric(name="r2")), seed=1)
    check = named(run_gates(usual, spec(metric=Metric(name="r2"), gates=Gates(margin=0.1)), seed=1), "champion")
    assert found is not None
    assert found.champion_value < 0
    assert check.bound == pytest.approx(0.1 * found.champion_value)


def test_slightly_worse_is_not_promoted() -> None:
    """Two per cent more error in noise is neither proven better nor proven worse: not promoted."""
    y = evidence().y
    usual = evidence(candidate=Predictions(y + noise(2.04, 1)), champion=Predictions(y + noise(2, 2)))
    check = named(run_gates(usual, spec(), seed=1), "champion")
    assert check.status is INCONCLUSIVE
    assert "does not prove an improvement" in check.reason


def test_nan_predictions_fail() -> None:
    """One NaN among the predictions, or their probabilities, rejects; figures that would be NaN are left out."""
    values = evidence().candidate.values.copy()
    values[7] = np.nan
    checks = run_gates(evidence(candidate=Predictions(values)), spec(), seed=1)
    assert named(checks, "finite").status is FAIL
    assert "1 of 200" in named(checks, "finite").reason
    assert not {"baseline", "champion"} & set(names(checks))
    probability = np.full((N, 2), 0.5)
    probability[3] = np.inf
    labels = classes(0.9, 0.8)
    broken = replace(labels, candidate=Predictions(labels.candidate.values, probability, (0, 1)))
    check = named(run_gates(broken, spec(**CLASSES), seed=1), "finite")
    assert (check.status, check.value) == (FAIL, 1)
    empty = np.where(np.arange(N) < 2, None, "a")
    assert named(run_gates(replace(labels, candidate=Predictions(empty)), spec(**CLASSES), seed=1), "finite").value == 2


def test_a_champion_that_predicts_nan() -> None:
    """There is no comparison: not promoted by itself, and the reason says whose fault it is."""
    check = named(run_gates(evidence(champion=Predictions(np.full(N, np.nan))), spec(), seed=1), "champion")
    assert check.status is INCONCLUSIVE
    assert "champion's own predictions" in check.reason


def test_a_constant_candidate_fails() -> None:
    """One value for every row is a dummy, even where it is placed better than the baseline's."""
    y = np.random.default_rng(0).exponential(10, N)
    usual = evidence(
        y=y, candidate=Predictions(np.full(N, np.median(y))), champion=None, baseline=Predictions(np.full(N, 30.0))
    )
    check = named(run_gates(usual, spec(), seed=1), "baseline")
    assert check.status is FAIL
    assert "same for every row" in check.reason


def test_constant_labels_with_a_ranking_are_no_constant() -> None:
    """Where the metric looks at probabilities, so does the question whether they vary."""
    rng = np.random.default_rng(3)
    y = (rng.random(N) < 0.1).astype(int)
    share = 0.2 * y + 0.2 * rng.random(N)
    ranked = Predictions(np.zeros(N, dtype=int), np.stack([1 - share, share], axis=1), (0, 1))
    dummy = Predictions(np.zeros(N, dtype=int), np.tile([0.9, 0.1], (N, 1)), (0, 1))
    usual = evidence(y=y, candidate=ranked, champion=None, baseline=dummy)
    ranking = spec(task="classification", metric=Metric(name="roc_auc"))
    assert named(run_gates(usual, ranking, seed=1), "baseline").status is PASS
    assert named(run_gates(usual, spec(**CLASSES), seed=1), "baseline").status is FAIL


@pytest.mark.parametrize(("scale", "status"), [(15, PASS), (19.5, INCONCLUSIVE), (40, FAIL)])
def test_baseline(scale: float, status: Verdict) -> None:
    """Proven better than the dummy passes, nominally better is inconclusive, not better fails."""
    usual = evidence(candidate=Predictions(evidence().y + noise(scale, 5)), champion=None)
    assert named(run_gates(usual, spec(), seed=1), "baseline").status is status


def test_baseline_of_a_score() -> None:
    """The baseline is judged upward for accuracy; half the rows right is what the dummy has."""
    for accuracy, status in ((0.9, PASS), (0.52, INCONCLUSIVE), (0.5, FAIL), (0.3, FAIL)):
        usual = classes(accuracy, 0.5, champion=None)
        assert named(run_gates(usual, spec(**CLASSES), seed=1), "baseline").status is status


def test_a_leaked_candidate_fails() -> None:
    """One holdout row that was trained on is enough, and nothing is concluded from the rows."""
    checks = run_gates(evidence(overlap=1), spec(), seed=1)
    check = named(checks, "holdout")
    assert (check.status, check.value, check.bound) == (FAIL, 1, 0)
    assert "1 of 200" in check.reason
    assert "champion" not in names(checks)


@pytest.mark.parametrize(("least", "status"), [(N, PASS), (N + 1, INCONCLUSIVE)])
def test_few_rows(least: int, status: Verdict) -> None:
    """Below the least number of rows nothing is proven."""
    checks = run_gates(evidence(), spec(holdout=Holdout(min_rows=least)), seed=1)
    assert named(checks, "holdout").status is status
    assert verdict_of(checks) is status


def test_a_holdout_that_cannot_judge() -> None:
    """A constant target, one class only, or a missing value in the target is INCONCLUSIVE and says so."""
    usual = evidence(y=np.full(N, 3.0))
    assert "only one value" in named(run_gates(usual, spec(), seed=1), "holdout").reason
    usual = classes(0.9, 0.8, y=np.ones(N, dtype=int))
    checks = run_gates(usual, spec(**CLASSES), seed=1)
    assert "only one class" in named(checks, "holdout").reason
    assert verdict_of(checks) is INCONCLUSIVE
    y = evidence().y.copy()
    y[0] = np.nan
    assert named(run_gates(evidence(y=y), spec(), seed=1), "holdout").status is INCONCLUSIVE


def test_few_groups_prove_nothing() -> None:
    """Five days, however many rows they have, are not enough, and the reason says so."""
    check = named(run_gates(evidence(groups=np.arange(N) // 40), spec(), seed=1), "champion")
    assert check.status is INCONCLUSIVE
    assert "Only 5 independent groups" in check.reason
    assert check.value is None
    assert named(run_gates(evidence(groups=np.arange(N) // 20), spec(), seed=1), "champion").status is PASS


def test_bound_of_an_error() -> None:
    """An error may be as large as the bound and no larger; without a bound nothing is asked."""
    y = np.arange(N, dtype=float)
    usual = evidence(y=y, candidate=Predictions(y + 2), champion=None, baseline=Predictions(np.full(N, 100.0)))
    for bound, status in ((2.0, PASS), (1.9, FAIL), (2.1, PASS)):
        checks = run_gates(usual, spec(metric=Metric(name="mae", bound=bound)), seed=1)
        assert named(checks, "bound").status is status
        assert (named(checks, "bound").value, named(checks, "bound").bound) == (2, bound)
        assert verdict_of(checks) is status
    assert "bound" not in names(run_gates(usual, spec(), seed=1))


def test_bound_of_a_score() -> None:
    """A score may be as small as the bound and no smaller."""
    for bound, status in ((0.75, PASS), (0.76, FAIL), (0.74, PASS)):
        metric = Metric(name="accuracy", bound=bound)
        assert (
            named(run_gates(classes(0.75, 0.6), spec(**CLASSES | {"metric": metric}), seed=1), "bound").status is status
        )


def test_an_undefined_metric_proves_nothing() -> None:
    """A metric that is NaN on the holdout is INCONCLUSIVE wherever it is asked for."""
    undefined = Metric(name="own", function=lambda a, b: float("nan"), greater_is_better=True, bound=1)
    checks = run_gates(evidence(), spec(metric=undefined, gates=Gates(overfit=1)), seed=1)
    assert {named(checks, name).status for name in ("bound", "baseline", "champion", "overfit")} == {INCONCLUSIVE}


def test_slices() -> None:
    """A slice proven worse by more than its margin rejects a candidate that is better in the mean."""
    y, rows = evidence().y, np.arange(N)
    theirs, bad = noise(2, 2), rows >= 150
    usual = evidence(
        candidate=Predictions(y + np.where(bad, 2.0, 0.2) * theirs),
        champion=Predictions(y + theirs),
        slices={"weather": np.where(bad, 3.0, 1.0)},
    )
    checks = run_gates(usual, spec(), seed=1)
    assert named(checks, "champion").status is PASS
    assert named(checks, "slice weather=1").status is PASS
    check = named(checks, "slice weather=3")
    assert check.status is FAIL
    assert check.bound == pytest.approx(-0.1 * np.abs(theirs[bad]).mean())
    assert "50 rows" in check.reason
    assert verdict_of(checks) is FAIL
    lenient = run_gates(usual, spec(gates=Gates(slice_margin=1.5)), seed=1)
    assert verdict_of(lenient) is PASS
    large = run_gates(usual, spec(gates=Gates(slice_min_rows=51)), seed=1)
    assert [name for name in names(large) if name.startswith("slice")] == ["slice weather=1"]


def test_slices_of_a_score() -> None:
    """Slices are judged upward for a score."""
    usual = classes(0.95, 0.5, slices={"side": np.where(np.arange(N) < 100, "low", "high")})
    assert verdict_of(run_gates(usual, spec(**CLASSES), seed=1)) is PASS
    turned = replace(usual, candidate=usual.champion, champion=usual.candidate)
    statuses = {check.name: check.status for check in run_gates(turned, spec(**CLASSES), seed=1)}
    assert FAIL in {statuses["slice side=low"], statuses["slice side=high"]}


def test_slices_are_named_whatever_their_type() -> None:
    """Numbers, text, dates, flags and missing values all name a slice, and the most frequent twenty are judged."""
    rows = np.arange(N)
    usual = evidence(
        slices={
            "flag": rows % 2 == 0,
            "text": np.where(rows % 2 == 0, "a", None),
            "code": np.where(rows % 2 == 0, 7, np.nan),
            "many": rows % 25,
        }
    )
    found = [
        name.removeprefix("slice ") for name in names(run_gates(usual, spec(gates=Gates(slice_min_rows=5)), seed=1))
        if name.startswith("slice")
    ]  # fmt: skip
    assert found[:6] == ["flag=False", "flag=True", "text=a", "text=missing", "code=7", "code=missing"]
    assert len(found) == 6 + slices.SLICES


def test_slices_at_their_limits() -> None:
    """A slice of exactly the least rows is judged, one exactly at its margin is not proven worse."""
    y, error = evidence().y, noise(2, 2)
    usual = evidence(
        candidate=Predictions(y + 1.1 * error), champion=Predictions(y + error), slices={"half": np.arange(N) // 100}
    )
    for scale, status in ((1.1, PASS), (1.2, FAIL)):
        worse = replace(usual, candidate=Predictions(y + scale * error))
        checks = run_gates(worse, spec(gates=Gates(slice_min_rows=100)), seed=1)
        assert named(checks, "slice half=0").status is named(checks, "slice half=1").status is status
        bound = 0.1 * np.abs(error[:100]).mean()
        assert (f"Proven worse by more than {bound:.4g}." in named(checks, "slice half=0").reason) is (status is FAIL)


def test_the_most_frequent_values_are_judged() -> None:
    """Where a column has many values, the rare ones are left out."""
    values = np.where(np.arange(N) < 80, np.arange(N) % 40, 100 + np.arange(N) % 2)
    checks = run_gates(evidence(slices={"c": values}), spec(gates=Gates(slice_min_rows=3)), seed=1)
    assert [name for name in names(checks) if name.startswith("slice")] == ["slice c=100", "slice c=101"]


def test_nothing_right_on_either_side() -> None:
    """Two models that are never right: no improvement, nothing proven, no slice blamed, no better than the dummy."""
    usual = evidence(
        y=np.arange(N) % 2,
        candidate=Predictions(2 + np.arange(N) % 3),
        champion=Predictions(2 + np.arange(N) % 4),
        baseline=Predictions(np.full(N, 5)),
        slices={"half": np.arange(N) // 100},
    )
    checks = run_gates(usual, spec(**CLASSES), seed=1)
    assert named(checks, "baseline").status is FAIL
    assert named(checks, "champion").status is INCONCLUSIVE
    assert named(checks, "slice half=0").status is PASS


def test_identical_labels_gain_nothing() -> None:
    """Labels of text are compared as they are."""
    usual = classes(0.9, 0.9)
    text = Predictions(np.where(usual.candidate.values == 1, "yes", "no"))
    y = np.where(usual.y == 1, "yes", "no")
    same = replace(usual, y=y, candidate=text, champion=text, baseline=Predictions(np.full(N, "no")))
    assert "identical" in named(run_gates(same, spec(**CLASSES), seed=1), "champion").reason
    assert usual.champion is not None
    other = Predictions(np.where(usual.champion.values == 1, "yes", "no"))
    assert (
        "identical" not in named(run_gates(replace(same, champion=other), spec(**CLASSES), seed=1), "champion").reason
    )


def test_a_slice_that_has_no_metric_is_not_judged() -> None:
    """A slice of one class has no roc_auc; that does not stand in the way."""
    y, rows = np.arange(N) % 2, np.arange(N)
    share = np.clip(y * 0.4 + 0.6 * np.random.default_rng(0).random(N), 0, 1)
    good = Predictions((share > 0.5).astype(int), np.stack([1 - share, share], axis=1), (0, 1))
    weak = Predictions(y, np.roll(np.stack([1 - share, share], axis=1), 7, axis=0), (0, 1))
    usual = evidence(y=y, candidate=good, champion=weak, baseline=weak, slices={"class": y, "half": rows < 100})
    checks = run_gates(usual, spec(task="classification", metric=Metric(name="roc_auc")), seed=1)
    slices = [name for name in names(checks) if name.startswith("slice")]
    assert slices == ["slice half=False", "slice half=True"]
    assert verdict_of(checks) is PASS


@pytest.mark.slow
def test_slices_of_an_equal_model_seldom_reject(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty slices of two equally good models: the level holds for all of them together."""
    monkeypatch.setattr(gates, "paired_bootstrap", partial(gates.paired_bootstrap, resamples=1000))
    rejected = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n = 1240
        y = rng.normal(size=n)
        usual = evidence(
            y=y,
            candidate=Predictions(y + rng.normal(size=n)),
            champion=Predictions(y + rng.normal(size=n)),
            baseline=Predictions(np.zeros(n)),
            slices={"a": np.arange(n) % 20, "b": np.arange(n) // 62},
        )
        checks = list(gates._slices(usual, spec(gates=Gates(slice_margin=0)), seed))
        assert len(checks) == 40
        rejected += verdict_of(checks) is FAIL
    assert rejected <= 60 * 0.12


def test_overfit_of_an_error() -> None:
    """The gap counts where training is better than the holdout, up to the limit and no further."""
    y = np.arange(N, dtype=float)
    usual = evidence(y=y, candidate=Predictions(y + 2), champion=None)
    for train, status in ((1.5, PASS), (1.4, FAIL), (9.0, PASS)):
        check = named(run_gates(replace(usual, train_value=train), spec(gates=Gates(overfit=0.5)), seed=1), "overfit")
        assert check.status is status
        assert check.value == pytest.approx(2 - train)
    assert "overfit" not in names(run_gates(usual, spec(), seed=1))
    unknown = run_gates(replace(usual, train_value=float("nan")), spec(gates=Gates(overfit=0.5)), seed=1)
    assert named(unknown, "overfit").status is INCONCLUSIVE


def test_overfit_of_a_score() -> None:
    """For a score the gap is training minus holdout."""
    for train, status in ((0.95, PASS), (1.0, FAIL), (0.1, PASS)):
        usual = classes(0.75, 0.6, train_value=train)
        check = named(run_gates(usual, spec(**CLASSES, gates=Gates(overfit=0.2)), seed=1), "overfit")
        assert check.status is status


@pytest.mark.parametrize(("field", "name"), [("latency_ms", "latency"), ("size_mb", "size")])
@pytest.mark.parametrize(("value", "status"), [(3.0, PASS), (3.1, FAIL), (float("nan"), INCONCLUSIVE)])
def test_budgets(field: str, name: str, value: float, status: Verdict) -> None:
    """Time and size may reach the budget and not pass it; what was not measured proves nothing."""
    checks = run_gates(evidence(**{field: value}), spec(gates=Gates(**{field: 3.0})), seed=1)
    assert named(checks, name).status is status
    assert named(checks, name).bound == 3
    assert verdict_of(checks) is status


@pytest.mark.parametrize(
    ("tags", "status"),
    [({"owner": "ann", "why": "x"}, PASS), ({"owner": " ", "why": "x"}, FAIL), ({"why": "x"}, FAIL)],
)
def test_tags(tags: dict[str, str], status: Verdict) -> None:
    """Every required tag is there and not blank."""
    checks = run_gates(evidence(tags=tags), spec(gates=Gates(tags=("owner", "why"))), seed=1)
    assert verdict_of(checks) is named(checks, "tags").status is status
    assert ("owner" in named(checks, "tags").reason) is (status is FAIL)


def test_description_and_integrity() -> None:
    """A blank description or an unsound artifact rejects."""
    checks = run_gates(evidence(description="  "), spec(), seed=1)
    assert verdict_of(checks) is named(checks, "description").status is FAIL
    checks = run_gates(evidence(integrity="its hash differs."), spec(), seed=1)
    assert verdict_of(checks) is named(checks, "integrity").status is FAIL
    assert "its hash differs." in named(checks, "integrity").reason


@pytest.mark.parametrize(("description", "status"), [("", FAIL), ("  ", FAIL), ("Forecasts, not payments.", PASS)])
def test_a_purpose_can_be_required(description: str, status: Verdict) -> None:
    """Where the gates ask for it, the model file has to say what the model is for; else it may be silent."""
    asked = run_gates(evidence(), spec(description=description, gates=Gates(description=True)), seed=1)
    assert verdict_of(asked) is named(asked, "description").status is status
    assert named(run_gates(evidence(), spec(description=description), seed=1), "description").status is PASS


def test_a_failing_metric_of_ones_own_is_an_error() -> None:
    """Not a verdict on the candidate: the model file is at fault."""
    broken = Metric(name="own", function=lambda a, b: 1 / 0, greater_is_better=True)
    with pytest.raises(EvergreenError, match="'own'"):
        run_gates(evidence(), spec(metric=broken), seed=1)


Case = Callable[[np.random.Generator], Evidence]


def equal_errors(margin: float, days: bool = False) -> Case:
    """A candidate that is in truth exactly `margin` worse in mae; with `days`, errors of a day are alike."""

    def build(rng: np.random.Generator) -> Evidence:
        y = rng.normal(0, 10, N)
        day = np.arange(N) // 10
        mine, theirs = (rng.normal(size=N) + (2 * rng.normal(size=20)[day] if days else 0) for _ in range(2))
        return evidence(
            y=y,
            candidate=Predictions(y + (1 + margin) * mine),
            champion=Predictions(y + theirs),
            baseline=Predictions(np.zeros(N)),
            groups=day if days else None,
        )

    return build


def equal_labels(margin: float) -> Case:
    """A candidate that is in truth exactly `margin` worse in accuracy."""

    def build(rng: np.random.Generator) -> Evidence:
        y = rng.integers(2, size=N)
        mine, theirs = (np.where(rng.random(N) < share, y, 1 - y) for share in (0.9 * (1 - margin), 0.9))
        dummy = Predictions(np.zeros(N, dtype=int))
        return evidence(y=y, candidate=Predictions(mine), champion=Predictions(theirs), baseline=dummy)

    return build


def promoted(build: Case, model: ModelSpec, seeds: int) -> float:
    """The share of seeds for which the champion gate passes."""
    passed = 0
    for seed in range(seeds):
        (check,) = gates._champion(build(np.random.default_rng(seed)), model, seed)
        passed += check.status is PASS
    return passed / seeds


@pytest.mark.parametrize(
    ("build", "changes", "margin"),
    [
        pytest.param(equal_errors(0), {}, 0.0, id="mae-equal"),
        pytest.param(equal_errors(0.05), {}, 0.05, id="mae-at-margin"),
        pytest.param(equal_errors(0.5), {}, 0.5, id="mae-at-large-margin"),
        pytest.param(equal_labels(0), CLASSES, 0.0, id="accuracy-equal"),
        pytest.param(equal_labels(0.05), CLASSES, 0.05, id="accuracy-at-margin"),
        pytest.param(equal_errors(0, days=True), {}, 0.0, id="mae-equal-by-day"),
    ],
)
def test_chance_keeps_to_its_level(
    build: Case, changes: dict[str, Any], margin: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A candidate that is no better than the margin is promoted in at most 5 % of 1,000 draws, and in some."""
    monkeypatch.setattr(proof, "paired_bootstrap", partial(proof.paired_bootstrap, resamples=250))
    rate = promoted(build, spec(**changes, gates=Gates(margin=margin, level=0.05)), 1000)
    assert 0.005 < rate <= 0.05


def test_days_that_are_taken_for_rows_break_the_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why there are groups: the same errors, judged row by row, promote far too often."""
    monkeypatch.setattr(proof, "paired_bootstrap", partial(proof.paired_bootstrap, resamples=250))
    alike = equal_errors(0, days=True)
    assert promoted(lambda rng: replace(alike(rng), groups=None), spec(), 150) > 0.1


def test_a_real_improvement_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate is no wall: a third less error on 200 rows passes nearly always."""
    monkeypatch.setattr(proof, "paired_bootstrap", partial(proof.paired_bootstrap, resamples=250))
    assert promoted(equal_errors(-1 / 3), spec(), 100) > 0.9


numbers = st.lists(st.tuples(*[st.floats(width=64)] * 4), min_size=1, max_size=40)


@settings(max_examples=80)
@given(rows=numbers, days=st.booleans(), metric=st.sampled_from(["mae", "rmse", "mape", "r2", "median_ae"]))
def test_any_numbers_are_judged(rows: list[tuple[float, ...]], days: bool, metric: str) -> None:
    """Whatever is predicted there is a verdict, without a warning, and a bad prediction never passes."""
    y, mine, theirs, dummy = np.array(rows).T
    n = len(y)
    usual = evidence(
        y=y,
        candidate=Predictions(mine),
        champion=Predictions(theirs),
        baseline=Predictions(dummy),
        slices={"c": np.arange(n) % 2},
        groups=np.arange(n) // 2 if days else None,
    )
    model = spec(
        metric=Metric(name=metric, bound=1.0 if metric == "r2" else 1e300),
        gates=Gates(margin=0.1, overfit=1, slice_min_rows=3),
        holdout=Holdout(min_rows=3),
    )
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("error")
        patch.setattr(gates, "paired_bootstrap", partial(gates.paired_bootstrap, resamples=30))
        checks = run_gates(usual, model, seed=1)
    assert all(check.reason and check.reason[-1] in ".!" for check in checks)
    if not (np.isfinite(mine).all() and np.isfinite(y).all() and n >= 3):
        assert verdict_of(checks) is not PASS


@settings(max_examples=40)
@given(
    rows=st.lists(st.tuples(*[st.sampled_from(["a", "b", "c"])] * 4, st.floats()), min_size=1, max_size=30),
    metric=st.sampled_from(["accuracy", "f1", "roc_auc", "log_loss", "brier", "average_precision"]),
)
def test_any_labels_are_judged(rows: list[tuple[Any, ...]], metric: str) -> None:
    """Labels of classes that some model never saw, and probabilities that are none, are survived."""
    y, mine, theirs, dummy, share = (np.array(column) for column in zip(*rows, strict=True))
    probability = np.stack([share, 1 - share], axis=1)
    even = np.full((len(y), 3), 1 / 3)
    usual = evidence(
        y=y,
        candidate=Predictions(mine, probability, ("a", "b")),
        champion=Predictions(theirs, even, ("a", "b", "c")),
        baseline=Predictions(dummy, even, ("a", "b", "c")),
        slices={"c": mine},
    )
    model = spec(
        task="classification",
        metric=Metric(name=metric, bound=0.1),
        gates=Gates(slice_min_rows=6),
        holdout=Holdout(min_rows=3),
    )
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("error")
        patch.setattr(gates, "paired_bootstrap", partial(gates.paired_bootstrap, resamples=5))
        checks = run_gates(usual, model, seed=1)
    if not np.isfinite(share).all():
        assert verdict_of(checks) is FAIL


@given(st.lists(st.sampled_from(Verdict)), st.sampled_from(Verdict))
def test_one_more_question_never_helps(statuses: list[Verdict], more: Verdict) -> None:
    """A verdict can only get worse as checks are added; of none, nothing is proven."""
    order = [PASS, INCONCLUSIVE, FAIL]
    checks = [Check("c", status, None, None, "") for status in statuses]
    if checks:
        assert order.index(verdict_of([*checks, Check("d", more, None, None, "")])) >= order.index(verdict_of(checks))
    assert verdict_of([]) is INCONCLUSIVE


@pytest.mark.parametrize(
    ("keys", "changes", "status", "said"),
    [
        (("id",), {}, PASS, "200 holdout rows, none of them trained on."),
        ((), {}, PASS, "200 holdout rows, none of them word for word among the training rows."),
        ((), {"copies": 1}, PASS, "1 repeats another one and counts with it."),
        ((), {"copies": 180}, INCONCLUSIVE, "Only 20 holdout rows that differ, among 200; at least 30 are needed"),
        ((), {"overlap": 3}, FAIL, "3 of 200 holdout rows were word for word among the training data of the candidate"),
        (
            (),
            {"order": "they are alike"},
            PASS,
            "; they are alike. Set holdout.strategy to latest, with order='rows' where",
        ),
    ],
)
def test_the_holdout_says_what_was_checked(
    keys: tuple[str, ...], changes: dict[str, Any], status: Verdict, said: str
) -> None:
    """With keys a row is known again, without them its content is; copies of a row count as one."""
    check = named(run_gates(evidence(**changes), spec(keys=keys), seed=1), "holdout")
    assert check.status is status
    assert said in check.reason


def test_the_reason_says_what_counts_as_independent() -> None:
    """How many blocks, and how long one is; where they are too few, what would help, and nothing is proven."""
    days = Clusters(np.arange(N) // 5, timedelta(days=1))
    check = named(run_gates(evidence(groups=days), spec(), seed=1), "champion")
    assert check.reason.endswith("blocks of 1 day count as independent.")
    walk = np.cumsum(np.random.default_rng(0).normal(size=40)).repeat(5)
    found = evidence(groups=days)
    wandering = replace(found, candidate=Predictions(found.y + 100 + walk))
    check = named(run_gates(wandering, spec(), seed=1), "champion")
    assert check.status is INCONCLUSIVE
    assert "independent blocks of rows; at least 10 are needed. Let rows of more time judge" in check.reason


ROUTINE = Gates(routine_margin=0.15)
"""Two questions: a routine candidate may be proven not worse by more than 15 %, a new recipe has to be better."""


@pytest.mark.parametrize(
    ("scale", "routine", "status"),
    [
        pytest.param(0.98, True, PASS, id="better"),
        pytest.param(0.98, False, PASS, id="better, of a new recipe"),
        pytest.param(1.02, True, FAIL, id="proven worse by 2 %"),
        pytest.param(1.1, True, FAIL, id="proven worse by 10 %"),
        pytest.param(1.3, True, FAIL, id="proven worse by more than the margin"),
        pytest.param(1.02, False, FAIL, id="worse, of a new recipe"),
    ],
)
def test_a_routine_candidate_that_is_proven_worse_fails(scale: float, routine: bool, status: Verdict) -> None:
    """The champion's own errors times a factor: whatever the margin, what is proven worse at all is refused."""
    error, y = noise(2, 2), evidence().y
    usual = evidence(candidate=Predictions(y + scale * error), champion=Predictions(y + error), routine=routine)
    assert named(run_gates(usual, spec(gates=ROUTINE), seed=1), "champion").status is status


@pytest.mark.parametrize(
    ("gates_asked", "routine", "status", "bound"),
    [
        (ROUTINE, True, PASS, 0.15),
        (ROUTINE, False, INCONCLUSIVE, 0.0),
        (Gates(), True, INCONCLUSIVE, 0.0),
        (Gates(routine_margin=0.0), True, INCONCLUSIVE, 0.0),
        (Gates(margin=0.15), False, PASS, 0.15),
        (Gates(margin=0.01, routine_margin=0.15), False, INCONCLUSIVE, 0.01),
    ],
)
def test_the_question_fits_the_candidate(gates_asked: Gates, routine: bool, status: Verdict, bound: float) -> None:
    """Two models of the same quality: routine passes within its own margin; without one it is asked what others are."""
    y = evidence().y
    usual = evidence(candidate=Predictions(y + noise(2, 5)), champion=Predictions(y + noise(2, 2)), routine=routine)
    check = named(run_gates(usual, spec(gates=gates_asked), seed=1), "champion")
    assert check.status is status
    assert check.bound == pytest.approx(-bound * np.abs(noise(2, 2)).mean())
    found = against_champion(usual, spec(gates=gates_asked), seed=1)
    assert found is not None
    assert check.value == found.low


def test_the_reason_says_which_question_was_asked() -> None:
    """A whole sentence before the figures; none where the model file asks the same of every candidate."""
    y = evidence().y
    usual = evidence(candidate=Predictions(y + noise(2, 5)), champion=Predictions(y + noise(2, 2)))

    def reason(routine: bool, **fields: float) -> str:
        return named(run_gates(replace(usual, routine=routine), spec(gates=Gates(**fields)), seed=1), "champion").reason

    margin = 0.15 * np.abs(noise(2, 2)).mean()
    asked = f"The same recipe on newer rows: it has to be proven not worse by more than {margin:.4g}"
    assert reason(True, routine_margin=0.15).startswith(f"{asked}, and must not be proven worse at all. mae ")
    assert reason(True, routine_margin=0.0).startswith(
        "The same recipe on newer rows: it has to be proven better. mae "
    )
    assert reason(False, routine_margin=0.15).startswith("A new recipe: it has to be proven better. mae ")
    assert reason(False, routine_margin=0.15, margin=0.15).startswith(
        f"A new recipe: it has to be proven not worse by more than {margin:.4g}. mae "
    )
    assert reason(True).startswith("mae ")
    assert reason(True) == reason(False)
    worse = replace(usual, candidate=Predictions(y + 1.02 * noise(2, 2)), routine=True)
    assert named(run_gates(worse, spec(gates=ROUTINE), seed=1), "champion").reason.endswith("It is proven worse.")


def test_a_routine_candidate_by_a_score() -> None:
    """Accuracy is judged upward: what is not proven worse passes, what is fails, within the margin and beyond it."""
    model = spec(**CLASSES, gates=ROUTINE)
    for mine, status in ((0.89, PASS), (0.82, FAIL), (0.6, FAIL)):
        check = named(run_gates(classes(mine, 0.9, routine=True), model, seed=1), "champion")
        assert check.status is status, mine


def test_few_rows_and_few_groups_prove_nothing_of_a_routine_candidate() -> None:
    """Neither too few rows nor too few independent days are excused by the smaller burden."""
    y = evidence().y
    usual = evidence(candidate=Predictions(y + noise(1, 5)), champion=Predictions(y + noise(2, 2)), routine=True)
    check = named(run_gates(replace(usual, groups=np.arange(N) // 40), spec(gates=ROUTINE), seed=1), "champion")
    assert (check.status, check.value) == (INCONCLUSIVE, None)
    assert "Only 5 independent groups" in check.reason
    few = run_gates(usual, spec(gates=ROUTINE, holdout=Holdout(min_rows=N + 1)), seed=1)
    assert verdict_of(few) is INCONCLUSIVE
    assert "champion" not in names(few)


def routine(build: Case) -> Case:
    """The same draws, of a candidate of the champion's recipe."""
    return lambda rng: replace(build(rng), routine=True)


@pytest.mark.parametrize(
    ("build", "changes"),
    [
        pytest.param(equal_errors(0.15), {}, id="mae"),
        pytest.param(equal_errors(0.15, days=True), {}, id="mae-by-day"),
        pytest.param(equal_labels(0.15), CLASSES, id="accuracy"),
    ],
)
def test_a_routine_candidate_at_the_margin_keeps_to_the_level(
    build: Case, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exactly as much worse as the margin is promoted in at most 5 % of 400 draws."""
    monkeypatch.setattr(proof, "paired_bootstrap", partial(proof.paired_bootstrap, resamples=250))
    assert promoted(routine(build), spec(**changes, gates=ROUTINE), 400) <= 0.05


def within_level(build: Case) -> bool:
    """Whether a new recipe that is no better than the champion is promoted in at most 5 % of 250 draws."""
    return promoted(build, spec(gates=ROUTINE), 250) <= 0.05


def test_an_equal_new_recipe_keeps_to_the_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """A/A beside a routine margin; a judge that asks the routine question of every candidate is caught by it."""
    monkeypatch.setattr(proof, "paired_bootstrap", partial(proof.paired_bootstrap, resamples=250))
    assert within_level(equal_errors(0))
    assert within_level(equal_errors(0, days=True))
    monkeypatch.setattr(gates, "_margin", lambda _evidence, model: model.gates.routine_margin)
    assert not within_level(equal_errors(0))
    assert not within_level(equal_errors(0, days=True))


DAYS, HOURS = 11, 24
"""What is left of eight weeks of hours where every fifth day judges."""


def stream(
    rng: np.random.Generator, damage: Callable[[Array, Array, np.random.Generator], Array], signal: float = 1.0
) -> Evidence:
    """Hours of days that are alike, two models of one recipe, and the damage done to the candidate's predictions.

    What either model has wrong is noise of the hours, of the days, and a small part of its own, as two fits on rows
    that mostly are the same have it. `damage` takes the sound predictions and the signal of the broken feature;
    `signal` says how much of it there is, with 0.15 for a champion that eleven days often do not prove.
    """
    rows, day = DAYS * HOURS, np.repeat(np.arange(DAYS), HOURS)
    hour = 8 * signal * np.sin(np.arange(rows) * 2 * np.pi / HOURS)
    weather = 3 * signal * rng.normal(size=DAYS)[day]
    y = 50 + hour + weather + rng.normal(size=DAYS)[day] + 2 * rng.normal(size=rows)
    own = [0.3 * rng.normal(size=rows) + 0.2 * rng.normal(size=DAYS)[day] for _ in range(2)]
    champion, sound = (50 + hour + weather + error for error in own)
    return evidence(
        y=y,
        candidate=Predictions(damage(sound, hour, rng)),
        champion=Predictions(champion),
        baseline=Predictions(np.full(rows, 50.0)),
        groups=day,
        routine=True,
    )


def _sound(values: Array, _hour: Array, _rng: np.random.Generator) -> Array:
    return values


def _tenth_worse(values: Array, _hour: Array, rng: np.random.Generator) -> Array:
    # Errors of about 2.3 become errors of about 2.5: the root of 1.1 squared less 1 of them is added.
    return np.asarray(values + 2.26 * np.sqrt(1.1**2 - 1) * rng.normal(size=len(values)))


def _fifth_worse(values: Array, _hour: Array, rng: np.random.Generator) -> Array:
    return np.asarray(values + 2.26 * np.sqrt(1.2**2 - 1) * rng.normal(size=len(values)))


def _broken_feature(values: Array, hour: Array, _rng: np.random.Generator) -> Array:
    return np.asarray(values - hour + np.roll(hour, 6))


def _leaked_feature(values: Array, _hour: Array, rng: np.random.Generator) -> Array:
    # It learned to repeat a column that held the answer in training, and holds yesterday's where it judges.
    return np.asarray(np.roll(values, HOURS) + 2 * rng.normal(size=len(values)))


def _constant(values: Array, _hour: Array, _rng: np.random.Generator) -> Array:
    return np.full(len(values), 50.0)


def _one_missing(values: Array, _hour: Array, rng: np.random.Generator) -> Array:
    return np.where(np.arange(len(values)) == rng.integers(len(values)), np.nan, values)


def _shuffled(values: Array, _hour: Array, rng: np.random.Generator) -> Array:
    # What a model makes of targets that were shuffled: little else than the middle.
    return np.asarray(50 + 0.3 * rng.normal(size=len(values)))


Damage = Callable[[Array, Array, np.random.Generator], Array]


def refused(damage: Damage, margin: float, seeds: int, signal: float = 1.0) -> float:
    """The share of draws in which a routine candidate with this damage does not pass all gates."""
    passed = 0
    for seed in range(seeds):
        planted = stream(np.random.default_rng(seed), damage, signal)
        passed += verdict_of(run_gates(planted, spec(gates=Gates(routine_margin=margin)), seed=seed)) is PASS
    return 1 - passed / seeds


PLANTED = [
    pytest.param(_tenth_worse, 0.1, 0.95, id="a tenth worse, at the margin"),
    pytest.param(_tenth_worse, 0.15, 0.75, id="a tenth worse, within the margin"),
    pytest.param(_fifth_worse, 0.15, 0.98, id="a fifth worse"),
    pytest.param(_broken_feature, 0.15, 1.0, id="a broken feature"),
    pytest.param(_leaked_feature, 0.15, 1.0, id="a leaked feature"),
    pytest.param(_constant, 0.15, 1.0, id="a constant"),
    pytest.param(_shuffled, 0.15, 1.0, id="shuffled targets"),
    pytest.param(_one_missing, 0.15, 1.0, id="one NaN"),
]
"""What is refused, at which margin, in at least which share of the draws."""


@pytest.mark.parametrize(("damage", "margin", "least"), PLANTED)
def test_a_planted_bad_routine_candidate_is_refused(
    damage: Damage, margin: float, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On eleven judged days: within the margin as often as it is proven worse, beyond it nearly always."""
    monkeypatch.setattr(proof, "paired_bootstrap", partial(proof.paired_bootstrap, resamples=250))
    assert refused(damage, margin, 60) >= least


@pytest.mark.slow
@pytest.mark.parametrize(("damage", "margin", "least"), PLANTED)
def test_planted_bad_routine_candidates_are_refused_at_their_rates(damage: Damage, margin: float, least: float) -> None:
    """The same in 400 draws with all resamples; docs/gates.md states these rates."""
    assert refused(damage, margin, 400) >= least


def test_a_sound_routine_candidate_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What refuses the planted ones is no wall: of two equal fits the newer one passes in nine of ten draws."""
    monkeypatch.setattr(proof, "paired_bootstrap", partial(proof.paired_bootstrap, resamples=250))
    assert refused(_sound, 0.15, 60) <= 0.1
    assert refused(_sound, 0.0, 60) >= 0.9


WEAK = 0.15


@pytest.mark.parametrize("damage", [_tenth_worse, _broken_feature, _leaked_feature, _constant, _shuffled, _one_missing])
def test_a_bad_routine_candidate_is_refused_beside_a_weak_champion(
    damage: Damage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the rows often do not prove the champion better than a constant, nothing is excused by that."""
    monkeypatch.setattr(gates, "paired_bootstrap", partial(gates.paired_bootstrap, resamples=250))
    assert refused(damage, 0.15, 60, signal=WEAK) >= 0.97


def test_a_better_figure_alone_lets_noise_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge that asks a routine candidate for no more than a better figure than the constant's is caught by noise."""
    monkeypatch.setattr(gates, "paired_bootstrap", partial(gates.paired_bootstrap, resamples=250))
    monkeypatch.setattr(gates, "_replaces_worse", lambda *_: True)
    assert refused(_shuffled, 0.15, 60, signal=WEAK) < 0.95


@pytest.mark.parametrize(
    ("changes", "gates_asked", "status"),
    [
        pytest.param({}, ROUTINE, PASS, id="better than the champion"),
        pytest.param({"routine": False}, ROUTINE, INCONCLUSIVE, id="a new recipe"),
        pytest.param({}, Gates(), INCONCLUSIVE, id="a file without a routine margin"),
        pytest.param({"champion": 3.0}, ROUTINE, INCONCLUSIVE, id="as good as the champion"),
        pytest.param({"champion": None}, ROUTINE, INCONCLUSIVE, id="no champion"),
        pytest.param({"candidate": 4.2}, ROUTINE, FAIL, id="a figure worse than the constant's"),
    ],
)
def test_beside_a_constant_that_is_hard_to_beat(changes: dict[str, Any], gates_asked: Gates, status: Verdict) -> None:
    """Days on which a constant is far off, or right: of what replaces a proven worse champion its figure is asked."""
    rng, day = np.random.default_rng(4), np.repeat(np.arange(DAYS), HOURS)
    y = 50 + rng.normal(size=len(day))
    off = {"candidate": 3.0, "champion": 5.0, "routine": True} | changes
    constant = Predictions(y + np.where(np.arange(DAYS) % 3 == 0, 8.0, 1.5)[day])
    mine = Predictions(y + off["candidate"] + 0.1 * rng.normal(size=len(day)))
    theirs = None if off["champion"] is None else Predictions(y + off["champion"] + 0.1 * rng.normal(size=len(day)))
    asked = evidence(
        y=y, candidate=mine, champion=theirs, baseline=constant, groups=day, slices={}, routine=off["routine"]
    )
    check = named(run_gates(asked, spec(gates=gates_asked), seed=1), "baseline")
    assert check.status is status, check.reason
    assert ("proven better than the champion" in check.reason) == (status is PASS)
    if status is PASS:
        assert check.value == pytest.approx(np.abs(constant.values - y).mean() - np.abs(mine.values - y).mean())


def test_a_routine_candidate_that_was_trained_on_the_holdout_fails() -> None:
    """The burden excuses no leak of rows."""
    leaked = evidence(candidate=Predictions(evidence().y + noise(0.01)), overlap=3, routine=True)
    checks = run_gates(leaked, spec(gates=ROUTINE), seed=1)
    assert named(checks, "holdout").status is verdict_of(checks) is FAIL
