"""A compiled pipeline answers as the pipeline does, bit for bit where only trees add up; what has no plan is named."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.metrics import fbeta_score, make_scorer
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    QuantileTransformer,
    StandardScaler,
)

import models
from evergreen.data.frames import model_frame
from evergreen.model_files.new import scaffold
from evergreen.registry.artifacts import PIPELINE, load_pipeline, packed
from evergreen.spec import ModelSpec
from evergreen.training.predict import predict, target_of
from models import bike_demand, iris
from serving.plan import tree_code
from serving.plan.compile import NoAnswerError, NotCompiledError, Plan, compile_plan
from tests.serving.plan.pipelines import (
    CITIES,
    FEATURES,
    OF_TWO_CLASSES,
    Case,
    cases,
    classifiers,
    fit,
    model_spec,
    regressors,
    table,
    target,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:Found unknown categories"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

Row = list[Any]


def rows_of(frame: pd.DataFrame, spec: ModelSpec) -> list[Row]:
    """The rows of a frame as a plan takes them."""
    x = model_frame(frame, spec.features)
    return [
        [cell if isinstance(cell, str) or name in spec.features.numeric else None for name, cell in row.items()]
        for row in x.to_dict("records")
    ]


def plan_of(pipeline: Pipeline, spec: ModelSpec) -> Plan:
    return compile_plan(pipeline, spec.features, spec.task)


def compare(plan: Plan, pipeline: Pipeline, spec: ModelSpec, frame: pd.DataFrame, *, to_the_bit: bool) -> int:
    """Assert that the answers are equal, and give how many rows both refuse; where some are, ten rows are tried."""
    try:
        _compare_answers(plan, pipeline, spec, frame, to_the_bit)
    except ValueError:
        return sum(_both_refuse(plan, pipeline, spec, frame.iloc[[place]], to_the_bit) for place in range(10))
    return 0


def _both_refuse(plan: Plan, pipeline: Pipeline, spec: ModelSpec, row: pd.DataFrame, to_the_bit: bool) -> bool:
    try:
        predict(pipeline, spec, row)
    except ValueError:
        with pytest.raises(NoAnswerError):
            plan.predict(*rows_of(row, spec))
        return True
    _compare_answers(plan, pipeline, spec, row, to_the_bit)
    return False


def _compare_answers(plan: Plan, pipeline: Pipeline, spec: ModelSpec, frame: pd.DataFrame, to_the_bit: bool) -> None:
    expected = predict(pipeline, spec, frame)
    answers = [plan.predict(row) for row in rows_of(frame, spec)]
    values = expected.values.tolist()
    relative = 0.0 if to_the_bit else 1e-9
    if spec.task == "regression":
        assert plan.classes is None and {chances for _, chances in answers} == {None}
        assert [value for value, _ in answers] == pytest.approx(values, rel=relative, abs=0.0)
        return
    assert plan.classes == expected.classes
    assert [value for value, _ in answers] == values
    assert {type(value) for value, _ in answers} <= {int, str}
    if expected.probability is None:
        assert {chances for _, chances in answers} == {None}
    else:
        chances = np.array([chances for _, chances in answers])
        assert chances == pytest.approx(expected.probability, rel=relative, abs=0.0 if to_the_bit else 1e-12)


def _is_of_trees(pipeline: Pipeline) -> bool:
    return any(name in type(pipeline.steps[-1][1]).__name__ for name in ("Tree", "Forest", "Boosting", "Dummy"))


def _compare_case(case: Case) -> None:
    plan = plan_of(case.pipeline, case.spec)
    compare(plan, case.pipeline, case.spec, case.rows, to_the_bit=_is_of_trees(case.pipeline))


@settings(max_examples=12)
@given(cases())
def test_random_pipelines_are_answered_alike(case: Case) -> None:
    """Whatever the parts and the rows: the same classes, numbers within 1e-9, of trees to the bit; and both refuse."""
    _compare_case(case)


@pytest.mark.proof(name="plans")
@settings(max_examples=300)
@given(cases())
def test_many_random_pipelines_are_answered_alike(case: Case) -> None:
    """The same with more of them."""
    _compare_case(case)


def _pipeline_of(model: Any) -> Pipeline:
    """A model behind filled and scaled numbers and codes."""
    numbers = Pipeline([("fill", SimpleImputer()), ("scale", StandardScaler())])
    texts = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer(
        [("numbers", numbers, list(FEATURES.numeric)), ("texts", texts, list(FEATURES.categorical))]
    )
    return Pipeline([("columns", columns), ("model", model)])


MODELS = {("regression", name): model for name, model in regressors().items()}
MODELS |= {("classification", name): model for name, model in classifiers().items()}


@pytest.mark.parametrize(("task", "name"), MODELS)
def test_every_model_that_has_a_compiled_form_is_answered_alike(task: str, name: str) -> None:
    """Also with three classes."""
    train = table(1, 120, 0.1)
    pipeline = _pipeline_of(MODELS[task, name])
    classes = ("no", "yes") if name in OF_TWO_CLASSES else ("low", "mid", "high")
    fit(pipeline, train, target(train, classes if task == "classification" else None, 1))
    spec = model_spec(task, lambda _: pipeline)
    plan = plan_of(pipeline, spec)
    assert not compare(plan, pipeline, spec, table(2, 60, 0.1, unseen=0.1), to_the_bit=_is_of_trees(pipeline))


THRESHOLDS: dict[str, Callable[[Any], Any]] = {
    "of a rare class": lambda model: FixedThresholdClassifier(model, threshold=0.2, pos_label="no"),
    "by itself": lambda model: FixedThresholdClassifier(model),
    "tuned": lambda model: TunedThresholdClassifierCV(model, cv=2),
    "tuned for the first class": lambda model: TunedThresholdClassifierCV(
        model, cv=2, scoring=make_scorer(fbeta_score, beta=3, pos_label="no")
    ),
}


@pytest.mark.parametrize("name", THRESHOLDS)
@pytest.mark.parametrize("model", [RandomForestClassifier(5, max_depth=3, random_state=0), LogisticRegression(tol=0.1)])
def test_a_threshold_is_compiled(name: str, model: Any) -> None:
    """Its label is not that of the highest probability, and is the pipeline's own."""
    pipeline, spec = _fitted(THRESHOLDS[name](model), classes=("no", "yes"))
    plan, rows = plan_of(pipeline, spec), table(2, 200, 0.1, unseen=0.1)
    assert not compare(plan, pipeline, spec, rows, to_the_bit=_is_of_trees(pipeline))
    answers = [plan.predict(row) for row in rows_of(rows, spec)]
    assert name == "by itself" or any(value != ("no", "yes")[chances[1] > 0.5] for value, chances in answers)


@pytest.mark.parametrize("name", ["histogram", "forest", "gradient boosting"])
@pytest.mark.parametrize("limit", ["DEEPEST", "NODES", "NODES_OF_A_FUNCTION"])
def test_large_trees_are_walked_and_many_are_cut_into_functions(
    name: str, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With missing numbers, for one total and for several, and whatever the form, to the bit."""
    monkeypatch.setattr(tree_code, limit, 3)
    train = table(3, 200, 0.0 if name == "gradient boosting" else 0.1)
    for task, models_of, classes in (
        ("regression", regressors(), None),
        ("classification", classifiers(), (0, 1, 2)),
    ):
        encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)
        columns = ColumnTransformer([("texts", encode, list(FEATURES.categorical))], remainder="passthrough")
        pipeline = Pipeline([("columns", columns), ("model", models_of[name])])
        fit(pipeline, train, target(train, classes, 3))
        spec = model_spec(task, lambda _, fitted=pipeline: fitted)
        refused = compare(plan_of(pipeline, spec), pipeline, spec, table(4, 60, 0.1, unseen=0.1), to_the_bit=True)
        assert bool(refused) == (name == "gradient boosting")


@pytest.mark.parametrize("walked", [False, True])
@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_native_categories_of_boosted_trees_are_sets_of_codes(
    task: str, direct: bool, walked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts that the trees take themselves, alone or behind codes; missing and new ones go where missing ones go."""
    if walked:
        monkeypatch.setattr(tree_code, "NODES", 0)
    options: dict[str, Any] = {"max_iter": 20, "min_samples_leaf": 3, "random_state": 0}
    kind = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
    train = table(5, 250, 0.1)
    y = target(train, None if task == "regression" else ("no", "yes"), 5)
    if direct:
        pipeline = Pipeline([("model", kind(categorical_features=["plan", "city"], **options))])
    else:
        encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=math.nan)
        columns = ColumnTransformer([("texts", encode, ["city", "plan"])], remainder="passthrough")
        pipeline = Pipeline([("columns", columns), ("model", kind(categorical_features=[0, 1], **options))])
    spec = model_spec(task, lambda _: pipeline)
    fit(pipeline, model_frame(train, FEATURES), y)
    assert any(tree.nodes["is_categorical"].any() for iteration in pipeline[-1]._predictors for tree in iteration)
    assert not compare(plan_of(pipeline, spec), pipeline, spec, table(6, 120, 0.1, unseen=0.1), to_the_bit=True)


@pytest.mark.parametrize("spec", [bike_demand.MODEL, iris.MODEL], ids=lambda spec: spec.name)
def test_shipped_models_compile(spec: ModelSpec, tmp_path: Path) -> None:
    """And answer their own rows to the bit, also after they were stored and loaded, as a server gets them."""
    batches = [batch.frame for batch in spec.source.read(tmp_path, lambda _id: True) if batch.frame is not None]
    rows = pd.concat(batches[:3], ignore_index=True)
    rows = spec.prepare(rows) if spec.prepare is not None else rows
    fitted = fit(spec.pipeline(0), model_frame(rows, spec.features), target_of(spec, rows))
    content = packed(fitted, spec.name, spec.trusted)
    (tmp_path / PIPELINE).write_bytes(content)
    stored = load_pipeline(tmp_path, hashlib.sha256(content).hexdigest(), spec.trusted, spec.name)
    assert not compare(plan_of(stored, spec), fitted, spec, rows.head(300), to_the_bit=True)


def _some_zeros(random: np.random.Generator, rows: int) -> Any:
    return np.where(random.random(rows) < 0.6, 0, random.lognormal(3, 1, rows))


WRITTEN: dict[str, tuple[Callable[[np.random.Generator, int], Any], dict[str, str]]] = {
    "classes": (lambda random, rows: random.choice(["no", "yes"], rows), {}),
    "three classes": (lambda random, rows: random.choice(["a", "b", "c"], rows), {}),
    "amounts": (lambda random, rows: random.normal(size=rows), {}),
    "counts": (lambda random, rows: random.poisson(3, rows), {}),
    "a long tail": (lambda random, rows: random.lognormal(3, 1, rows) + 0.01, {}),
    "many zeros": (_some_zeros, {"metric": "mae"}),
}


@pytest.mark.parametrize("shape", WRITTEN)
def test_what_new_writes_compiles(shape: str, tmp_path: Path) -> None:
    """Codes for few texts, averages of the target for many, every loss, and targets whose ties are spread."""
    values, options = WRITTEN[shape]
    random = np.random.default_rng(7)
    frame = pd.DataFrame(
        {
            "x": pd.Series(random.normal(size=400)).mask(random.random(400) < 0.1),
            "plan": pd.Series(random.choice(["basic", "plus"], 400)).mask(random.random(400) < 0.1),
            "place": [f"place {number}" for number in random.integers(0, 110, 400)],
            "n": random.integers(0, 50, 400),
            "y": values(random, 400),
        }
    )
    path = tmp_path / "data.csv"
    frame.to_csv(path, index=False)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    scaffold("made", path, tmp_path / "models", target="y", **options)
    spec = models.load("made", tmp_path / "models").spec
    assert spec.features.categorical == ("plan", "place")
    pipeline = spec.pipeline(0)
    part = "model__regressor__max_iter" if shape == "many zeros" else "model__max_iter"
    fit(pipeline.set_params(**{part: 10}), model_frame(frame, spec.features), target_of(spec, frame))
    strange = frame.assign(place=[None, "never seen"] * 200)
    for rows in (frame, strange):
        assert not compare(plan_of(pipeline, spec), pipeline, spec, rows, to_the_bit=True)


def _fitted(model: Any, *, classes: tuple[Any, ...] | None = None) -> tuple[Pipeline, ModelSpec]:
    train = table(8, 60, 0.0)
    pipeline = fit(_pipeline_of(model), train, target(train, classes, 8))
    return pipeline, model_spec("regression" if classes is None else "classification", lambda _: pipeline)


class OwnRidge(Ridge):
    """A subclass may do anything."""


class OwnScaler(StandardScaler):
    """So may that of a transformer."""


def _same(values: Any) -> Any:
    return values


REFUSED: dict[str, tuple[Any, tuple[Any, ...] | None, str]] = {
    "a model": (KNeighborsRegressor(), None, "KNeighborsRegressor has no compiled form as a regressor"),
    "a subclass": (OwnRidge(), None, "OwnRidge is not a part of scikit-learn and has no compiled form"),
    "a scaler": (Pipeline([("a", OwnScaler()), ("b", Ridge())]), None, "OwnScaler is not a part of scikit-learn"),
    "a transformer": (
        Pipeline([("a", QuantileTransformer(n_quantiles=9)), ("b", Ridge())]), None, "QuantileTransformer has no"
    ),
    "a function": (Pipeline([("a", FunctionTransformer(_same)), ("b", Ridge())]), None, "FunctionTransformer calls a"),
    "a way back": (
        TransformedTargetRegressor(Ridge(), func=_same, inverse_func=_same), None, "an inverse_func other than"
    ),
    "a random dummy": (DummyClassifier(strategy="uniform"), (0, 1), "DummyClassifier has the strategy uniform"),
    "a loss": (SGDClassifier(loss="modified_huber", tol=0.1), (0, 1), "SGDClassifier has the loss modified_huber"),
    "a threshold of a margin": (
        FixedThresholdClassifier(LogisticRegression(), response_method="decision_function"), (0, 1),
        "FixedThresholdClassifier has a threshold that is not one of a probability",
    ),
    "a beginning": (
        GradientBoostingRegressor(n_estimators=2, init=Ridge()), None, "begins from a model of its own"
    ),
    "a task": (LogisticRegression(), (0, 1), "LogisticRegression has no compiled form as a regressor"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_part_without_a_compiled_form_is_named(case: str) -> None:
    """In a whole sentence without a final period; the pipeline itself still predicts."""
    model, classes, said = REFUSED[case]
    pipeline, spec = _fitted(model, classes=classes)
    task = "regression" if case == "a task" else spec.task
    with pytest.raises(NotCompiledError, match=said) as caught:
        compile_plan(pipeline, spec.features, task)
    assert not str(caught.value).endswith(".")


def test_a_pipeline_that_is_not_fitted_or_has_other_columns_is_refused() -> None:
    """And not with a traceback of whatever attribute is missing."""
    with pytest.raises(NotCompiledError, match="Compiling the pipeline failed with AttributeError"):
        compile_plan(_pipeline_of(Ridge()), FEATURES, "regression")
    pipeline, _ = _fitted(Ridge())
    with pytest.raises(NotCompiledError, match="was fitted on other columns"):
        compile_plan(pipeline, FEATURES.model_copy(update={"numeric": ("age", "amount", "score")}), "regression")
    with pytest.raises(NotCompiledError, match="was fitted on other columns"):
        compile_plan(pipeline, FEATURES.model_copy(update={"categorical": ("city",)}), "regression")


def test_no_text_of_a_model_becomes_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Categories, classes and fillings that look like Python are compared and never run."""
    texts: list[str] = []

    def look(text: str, *rest: Any) -> Any:
        texts.append(text)
        return compile(text, *rest)

    evil = "__import__('os').abort()"
    monkeypatch.setattr("serving.plan.program.compile", look, raising=False)
    train = table(9, 80, 0.1)
    train["city"] = train["city"].where(train["plan"] != "basic", evil)
    texts_part = Pipeline([("fill", SimpleImputer(strategy="constant", fill_value=evil)), ("code", OneHotEncoder())])
    columns = ColumnTransformer([("city", texts_part, ["city"])], remainder="drop", sparse_threshold=0)
    classes = (f"{evil}\n", '"; raise SystemExit; "')
    pipeline = Pipeline([("columns", columns), ("model", RandomForestClassifier(3, random_state=0))])
    fit(pipeline, train, target(train, classes, 9))
    spec = model_spec("classification", lambda _: pipeline)
    plan = plan_of(pipeline, spec)
    compare(plan, pipeline, spec, train, to_the_bit=True)
    (text,) = texts
    assert plan.classes is not None and set(plan.classes) == set(classes)
    assert not any(word in text for word in (*CITIES, "import", "raise", "'", '"'))


def test_a_plan_is_of_its_columns_only() -> None:
    """A row of too few or too many values is an error, and not an answer."""
    pipeline, spec = _fitted(RandomForestRegressor(2, random_state=0))
    plan = plan_of(pipeline, spec)
    assert plan.columns == FEATURES.all
    row = rows_of(table(8, 1, 0.0), spec)[0]
    for wrong in (row[:-1], [*row, 1.0]):
        with pytest.raises(ValueError, match="values to unpack"):
            plan.predict(wrong)
