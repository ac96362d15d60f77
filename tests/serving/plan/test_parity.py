"""The judge of plans: good ones pass, and each planted fault is refused, however small."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from evergreen.spec import ModelSpec
from serving.plan.compile import Plan, compile_plan
from serving.plan.parity import Parity, check_parity
from tests.serving.plan.pipelines import FEATURES, Case, cases, fit, model_spec, table, target

pytestmark = [
    pytest.mark.filterwarnings("ignore:Found unknown categories"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

ROWS = table(11, 150, 0.1)
"""Real rows of a version."""


def _coded(model: Any, *, scaled: bool = False) -> Pipeline:
    """Boosted trees, or a forest, behind codes; numbers as they are, or scaled."""
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)
    numbers = StandardScaler() if scaled else "passthrough"
    return Pipeline(
        [
            (
                "columns",
                ColumnTransformer(
                    [("numbers", numbers, list(FEATURES.numeric)), ("texts", encode, list(FEATURES.categorical))]
                ),
            ),
            ("model", model),
        ]
    )


def _linear(model: Any) -> Pipeline:
    fill = Pipeline([("fill", SimpleImputer()), ("scale", StandardScaler())])
    code = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return Pipeline(
        [
            (
                "columns",
                ColumnTransformer(
                    [("numbers", fill, list(FEATURES.numeric)), ("texts", code, list(FEATURES.categorical))]
                ),
            ),
            ("model", model),
        ]
    )


CLASSES = ("high", "low", "mid")
PIPELINES: dict[str, tuple[Pipeline, tuple[str, ...] | None]] = {
    "boosted": (_coded(HistGradientBoostingRegressor(max_iter=4, min_samples_leaf=8, random_state=0)), None),
    "forest": (_coded(RandomForestRegressor(3, max_depth=5, random_state=0)), None),
    "scaled forest": (_coded(RandomForestClassifier(3, max_depth=5, random_state=0), scaled=True), CLASSES),
    "linear": (_linear(Ridge()), None),
    "logistic": (_linear(LogisticRegression(tol=0.1)), CLASSES),
}
for _pipeline, _classes in PIPELINES.values():
    fit(_pipeline, ROWS, target(ROWS, _classes, 11))


def _spec(name: str) -> ModelSpec:
    pipeline, classes = PIPELINES[name]
    return model_spec("regression" if classes is None else "classification", lambda _: pipeline)


def _check(name: str, plan: Plan, rows: pd.DataFrame = ROWS) -> Parity:
    return check_parity(plan, PIPELINES[name][0], _spec(name), rows, seed=0)


def _compiled(name: str, change: Callable[[Pipeline], None] = lambda _: None) -> Plan:
    """The plan of a pipeline in which something was changed."""
    changed = deepcopy(PIPELINES[name][0])
    change(changed)
    return compile_plan(changed, FEATURES, _spec(name).task)


@pytest.mark.parametrize("name", PIPELINES)
def test_a_plan_as_it_is_compiled_passes(name: str) -> None:
    """On real rows and on many more; the same seed makes the same rows."""
    parity = _check(name, _compiled(name))
    assert parity.equal, parity.reason
    assert parity.rows > 700
    assert parity.reason == f"{parity.rows} rows are answered alike, of which 150 are real."
    assert _check(name, _compiled(name)) == parity


def _nodes(pipeline: Pipeline) -> Any:
    """The nodes of the first tree, and the name of its thresholds."""
    model = pipeline[-1]
    if isinstance(model, HistGradientBoostingRegressor):
        return model._predictors[0][0].nodes, "num_threshold"
    return model.estimators_[0].tree_.__getstate__()["nodes"], "threshold"


def _numeric_nodes(name: str) -> list[int]:
    """The inner nodes of the first tree that ask a number: the codes of texts lie far from every threshold."""
    nodes, field = _nodes(PIPELINES[name][0])
    asked = nodes["feature_idx"] if name == "boosted" else nodes["feature"]
    leaf = nodes["is_leaf"].astype(bool) if name == "boosted" else nodes["left_child"] == -1
    return [int(place) for place in np.flatnonzero(~leaf & (asked < 3) & np.isfinite(nodes[field]))]


def _move_threshold(place: int, towards: float, narrow: bool) -> Callable[[Pipeline], None]:
    """Move a threshold by the least step that makes a difference: of float32 where numbers are rounded to that."""

    def change(pipeline: Pipeline) -> None:
        nodes, field = _nodes(pipeline)
        old = nodes[field][place]
        if not narrow:
            nodes[field][place] = np.nextafter(old, towards)
            return
        below = np.float32(old)
        below = np.nextafter(below, np.float32(-math.inf)) if below > old else below
        nodes[field][place] = np.nextafter(below, np.float32(towards))
        tree = pipeline[-1].estimators_[0].tree_
        tree.__setstate__({**tree.__getstate__(), "nodes": nodes})

    return change


def _assert_found(name: str, places: list[int]) -> None:
    for place in places:
        for towards in (-math.inf, math.inf):
            plan = _compiled(name, _move_threshold(place, towards, narrow=name != "boosted"))
            parity = _check(name, plan)
            assert not parity.equal
            assert "answered differently" in parity.reason


@pytest.mark.parametrize("name", ["boosted", "forest", "scaled forest"])
def test_a_threshold_that_is_moved_by_one_step_is_found(name: str) -> None:
    """In float64 where numbers are compared as they are, in float32 where they are rounded, behind a scaler as well."""
    _assert_found(name, _numeric_nodes(name)[-1:])


@pytest.mark.proof(name="plans")
@pytest.mark.parametrize("name", ["boosted", "forest"])
def test_each_threshold_that_is_moved_by_one_step_is_found(name: str) -> None:
    """Of every node of a tree that asks a number.

    Not behind a scaler: some steps lie between two numbers that it can give, and change nothing.
    """
    places = _numeric_nodes(name)
    assert len(places) >= 3
    _assert_found(name, places)


def _flip_missing(pipeline: Pipeline) -> None:
    nodes, _ = _nodes(pipeline)
    place = _numeric_nodes("boosted")[1]
    nodes["missing_go_to_left"][place] = 1 - nodes["missing_go_to_left"][place]


def _swap_categories(pipeline: Pipeline) -> None:
    known = pipeline[0].named_transformers_["texts"].categories_[0]
    known[[0, -2]] = known[[-2, 0]]


def _change_code_of_unknown(pipeline: Pipeline) -> None:
    pipeline[0].named_transformers_["texts"].unknown_value = 2


def _change_leaf(pipeline: Pipeline) -> None:
    nodes, _ = _nodes(pipeline)
    nodes["value"][np.flatnonzero(nodes["is_leaf"])[-1]] *= 1 + 1e-6


def _swap_classes(pipeline: Pipeline) -> None:
    pipeline[-1].classes_ = pipeline[-1].classes_[[1, 0, 2]]


def _change_mean(pipeline: Pipeline) -> None:
    pipeline[0].named_transformers_["numbers"][1].mean_[1] *= 1 + 1e-7


def _change_filling(pipeline: Pipeline) -> None:
    pipeline[0].named_transformers_["numbers"][0].statistics_[2] = 0.5


def _refuse_unknown(pipeline: Pipeline) -> None:
    pipeline[0].named_transformers_["texts"].handle_unknown = "error"


FAULTS: list[tuple[str, Callable[[Pipeline], None], str]] = [
    ("boosted", _flip_missing, "the prediction is another"),
    ("boosted", _swap_categories, "the prediction is another"),
    ("boosted", _change_code_of_unknown, "the prediction is another"),
    ("boosted", _change_leaf, "the prediction is another"),
    ("boosted", _refuse_unknown, "the plan refuses what the pipeline answers"),
    ("scaled forest", _swap_classes, "the class is another"),
    ("logistic", _swap_classes, "the class is another"),
    ("logistic", _change_mean, "a probability is another"),
    ("linear", _change_mean, "the prediction is another"),
    ("linear", _change_filling, "the prediction is another"),
]


@pytest.mark.parametrize(("name", "fault", "said"), FAULTS, ids=lambda part: getattr(part, "__name__", None))
def test_a_planted_fault_is_refused(name: str, fault: Callable[[Pipeline], None], said: str) -> None:
    """Whatever it is in, and the reason says what differs, without a value of a row."""
    parity = _check(name, _compiled(name, fault))
    assert not parity.equal
    assert said in parity.reason
    assert not any(str(value) in parity.reason for value in ROWS["city"].dropna())


def test_a_plan_that_answers_what_the_pipeline_refuses_is_refused() -> None:
    """A missing number, say, whether or not the contract would let it through."""
    plan = _compiled("linear")
    pipeline = _linear(Ridge())
    pipeline[0].transformers[0] = ("numbers", StandardScaler(), list(FEATURES.numeric))
    whole = ROWS.dropna()
    fit(pipeline, whole, target(whole, None, 11))
    parity = check_parity(plan, pipeline, _spec("linear"), whole, seed=0)
    assert not parity.equal
    same = check_parity(compile_plan(pipeline, FEATURES, "regression"), pipeline, _spec("linear"), whole, seed=0)
    assert same.equal, same.reason
    ignorant = replace(plan, predict=lambda row: (1.0, None))
    assert not check_parity(ignorant, pipeline, _spec("linear"), whole, seed=0).equal


def test_without_a_real_row_nothing_is_equal() -> None:
    """And neither is it where the pipeline takes none of them, nor where the plan fails in its own way."""
    assert _check("linear", _compiled("linear"), ROWS.head(0)) == Parity(
        False, "There are no real rows to compare on.", 0
    )
    pipeline = _linear(Ridge())
    pipeline[0].transformers[0] = ("numbers", "passthrough", list(FEATURES.numeric))
    whole = ROWS.dropna()
    fit(pipeline, whole, target(whole, None, 11))
    plan = compile_plan(pipeline, FEATURES, "regression")
    parity = check_parity(plan, pipeline, _spec("linear"), ROWS[ROWS["age"].isna()], seed=0)
    assert not parity.equal and "which the pipeline refuses as all others" in parity.reason

    def fail(row: Any) -> Any:
        raise KeyError("secret")

    failing = _check("linear", replace(plan, predict=fail))
    assert (failing.equal, failing.reason) == (False, "The comparison itself failed with KeyError.")


def _assert_passes(case: Case) -> None:
    plan = compile_plan(case.pipeline, FEATURES, case.spec.task)
    known = table(5, 60, 0.0)
    parity = check_parity(plan, case.pipeline, case.spec, known, seed=1)
    assert parity.equal, parity.reason


@settings(max_examples=3)
@given(cases())
def test_plans_of_random_pipelines_pass(case: Case) -> None:
    """What is sound is not refused: a server would go the slow way for nothing."""
    _assert_passes(case)


@pytest.mark.proof(name="plans")
@settings(max_examples=40)
@given(cases())
def test_plans_of_many_random_pipelines_pass(case: Case) -> None:
    """The same with more of them."""
    _assert_passes(case)
