"""A model file's mistakes are told by field, and what is right is kept as it is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from evergreen.spec.data import Features
from evergreen.spec.gates import Gates
from evergreen.spec.metric import Metric
from evergreen.spec.model import ModelSpec
from evergreen.spec.monitoring import DriftThresholds
from evergreen.spec.policies import OnPerformance
from evergreen.spec.retraining import Approval, Retraining
from evergreen.spec.training import Holdout, Search, Training

MakeSpec = Callable[..., ModelSpec]

DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "Toy"}, "lower-case"),
        ({"name": "../toy"}, "lower-case"),
        ({"name": "t" * 10_000}, "at most 63"),
        ({"task": "ranking"}, "regression"),
        ({"timezone": "Mars/Olympus"}, "IANA"),
        ({"timezone": "../../etc/passwd"}, "IANA"),
        ({"target": "x"}, "would see the answer"),
        ({"source": object()}, "source"),
        ({"contract": None}, "contract"),
        ({"metric": Metric(name="accuracy")}, "classification"),
        ({"drift": DriftThresholds(columns=("z",))}, "neither a feature nor the target"),
        ({"time": None, "holdout": Holdout(strategy="blocked")}, "no time column"),
        ({"time": None, "training": Training(last=timedelta(days=1))}, "no time column"),
        ({"approval": "maybe"}, "approval"),
        ({"colour": "green"}, "colour"),
    ],
)
def test_a_mistake_names_its_field(make_spec: MakeSpec, changes: dict[str, Any], words: str) -> None:
    """Each mistake is refused with words that lead to it."""
    with pytest.raises(ValidationError, match=words):
        make_spec(**changes)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Metric(name="acuracy"), "did you mean 'accuracy'"),
        (lambda: Metric(name="roc_auc", bound=1.5), "bound: it is 1.5, and roc_auc is from 0 to 1"),
        (lambda: Metric(name="mae", bound=-1), "bound: it is -1, and mae is 0 or more"),
        (lambda: Metric(name="r2", bound=2), "bound: it is 2, and r2 is 1 or less"),
        (lambda: Metric(name="mine", function=lambda a, b: 0.0), "greater_is_better"),
        (lambda: Metric(name="mae", greater_is_better=True), "known already"),
        (lambda: Metric(name="mae", bound=float("nan")), "finite"),
        (lambda: Features(), "at least one"),
        (lambda: Features(numeric=("a", "a")), "named twice"),
        (lambda: Features(numeric=("a",), categorical=("a",)), "named twice"),
        (lambda: Search(grid={"a": (1, 2, 3), "b": (1, 2, 3)}, at_most=8), "9 combinations"),
        (lambda: Search(grid={"a": ()}), "has no values"),
        (lambda: Holdout(share=1.0), "less than 1"),
        (lambda: Holdout(block=timedelta(0)), "longer than zero"),
        (lambda: Gates(margin=-0.1), "greater than or equal"),
        (lambda: DriftThresholds(method="ks"), "psi"),
    ],
)
def test_a_part_is_checked_where_it_is_made(build: Callable[[], object], words: str) -> None:
    """The parts of a model file refuse what cannot be meant; p-values are no drift method."""
    with pytest.raises(ValidationError, match=words):
        build()


def test_a_spec_cannot_be_changed(make_spec: MakeSpec) -> None:
    """A spec is frozen, its parts too."""
    spec = make_spec()
    with pytest.raises(ValidationError, match="frozen"):
        spec.target = "x"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        spec.gates.margin = 0.5  # type: ignore[misc]


def test_a_metric_of_ones_own(make_spec: MakeSpec) -> None:
    """A function with a direction is a metric like any other."""
    kind = make_spec(metric=Metric(name="mine", function=lambda a, b: 1.0, greater_is_better=True)).metric.kind
    assert kind.greater_is_better
    assert kind.function is not None


def test_watched_columns(make_spec: MakeSpec) -> None:
    """Every feature is watched unless the policy names columns."""
    assert make_spec().watched == ("x", "kind")
    assert make_spec(drift=DriftThresholds(columns=("x",))).watched == ("x",)


def test_fields_of_before_are_taken_into_their_sections(make_spec: MakeSpec) -> None:
    """A model file that names them beside the sections means what it meant, also where it changes another model."""
    before = make_spec(retrain_on=("data",), cooldown=timedelta(days=1), approval="manual", approval_timeout=DAY)
    assert before.retraining == Retraining(triggers=("data",), cooldown=DAY)
    assert before.approval == Approval(mode="manual", timeout=DAY)
    policy = OnPerformance()
    changed = before.model_copy(update={"policy": policy, "approval": "auto", "seed": 7})
    assert changed.retraining == Retraining(policy=policy, cooldown=DAY)
    assert (changed.retraining.triggers, changed.approval, changed.seed) == (("performance",), Approval(timeout=DAY), 7)


def test_a_field_by_both_of_its_names_is_refused(make_spec: MakeSpec) -> None:
    """Which of the two counts cannot be known."""
    with pytest.raises(ValidationError, match=r"cooldown: it is retraining\.cooldown now"):
        make_spec(retraining=Retraining(), cooldown=DAY)


def test_a_change_of_no_field_is_refused(make_spec: MakeSpec) -> None:
    """A misspelt change of a copy would be set and never read."""
    with pytest.raises(ValueError, match="seeed: there is no such field"):
        make_spec().model_copy(update={"seeed": 7})


class _OldPolicy:
    def holds(self, seen: object) -> bool:
        return False


def test_a_policy_class_of_before_is_told_the_new_name() -> None:
    """It would otherwise be called as a function, and fail at the first retraining."""
    with pytest.raises(ValidationError, match="rename holds"):
        Retraining(policy=_OldPolicy())  # type: ignore[arg-type]
