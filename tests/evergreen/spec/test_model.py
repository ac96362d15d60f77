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
from evergreen.spec.monitoring import DriftPolicy
from evergreen.spec.training import Holdout, Search, Training

MakeSpec = Callable[..., ModelSpec]


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
        ({"drift": DriftPolicy(columns=("z",))}, "neither a feature nor the target"),
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
        (lambda: Metric(name="acuracy"), "is not one of"),
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
        (lambda: DriftPolicy(method="ks"), "psi"),
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
    assert make_spec(drift=DriftPolicy(columns=("x",))).watched == ("x",)
