"""The label of a row is what the pipeline's own `predict` says, whatever its probabilities are."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evergreen.spec.data import Features
from evergreen.spec.metric import Metric
from evergreen.spec.model import ModelSpec
from evergreen.training.predict import LIKELIEST, answers_the_likeliest, predict

MakeSpec = Callable[..., ModelSpec]
X = pd.DataFrame({"x": np.random.default_rng(0).integers(0, 9, 300).astype("float64")})
TWO = np.where(X["x"] + np.random.default_rng(1).normal(0, 3, 300) > 6, "late", "early").astype(object)
THREE = np.where(X["x"] < 3, "before", TWO).astype(object)


@pytest.fixture
def spec(make_spec: MakeSpec) -> ModelSpec:
    """A classification by one number."""
    return make_spec(task="classification", features=Features(numeric=("x",)), metric=Metric(name="accuracy"))


def _given(kind: type) -> dict[str, Any]:
    """Arguments for what a classifier has to be given."""
    from sklearn.linear_model import LogisticRegression

    needed = {"estimator": LogisticRegression(), "estimators": [("logistic", LogisticRegression())]}
    return {name: needed[name] for name in inspect.signature(kind).parameters if name in needed}


def _classifiers() -> Iterator[tuple[str, Any]]:
    """Every classifier of scikit-learn, and some as people set them."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import FixedThresholdClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import SVC
    from sklearn.utils import all_estimators

    for name, kind in all_estimators("classifier"):
        yield name, kind(**_given(kind))
    fixed = FixedThresholdClassifier(LogisticRegression(), threshold=0.1, pos_label="late")
    yield "a low threshold", fixed
    yield "a pipeline in a pipeline", make_pipeline(make_pipeline(fixed))
    yield "a margin beside probabilities", SVC(probability=True, random_state=0)


@pytest.mark.filterwarnings("ignore::Warning")  # Of estimators on data that does not suit them.
@pytest.mark.parametrize("y", [TWO, THREE], ids=["two classes", "three classes"])
def test_labels_are_those_of_the_pipeline(spec: ModelSpec, y: Any) -> None:
    """Also where a threshold was tuned or a margin decides: the class with the highest probability is another one."""
    from sklearn.pipeline import Pipeline

    seen, apart = set(), set()
    for name, classifier in _classifiers():
        fitted = Pipeline([("model", classifier)])
        try:
            fitted.fit(X, y)
        except (ValueError, TypeError, IndexError):
            continue  # It takes several targets, counts, two classes only, or estimators of another kind.
        found = predict(fitted, spec, X)
        assert found.values.tolist() == fitted.predict(X).tolist(), name
        seen.add(name)
        if found.probability is not None and found.classes is not None:
            likeliest = np.array(found.classes)[found.probability.argmax(axis=1)]
            apart |= {name} if (likeliest != found.values).any() else set()
    assert len(seen) > 25
    assert not {name for name in apart if any(listed.endswith(f".{name}") for listed in LIKELIEST)}
    if y is TWO:
        assert {"a low threshold", "a pipeline in a pipeline"} <= apart


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_column_of_answers_is_a_row_of_them(make_spec: MakeSpec, task: str) -> None:
    """CatBoost answers (n, 1) where there are more than two classes."""
    from sklearn.pipeline import Pipeline
    from sklearn.tree import DecisionTreeClassifier

    class Upright(DecisionTreeClassifier):
        def predict(self, x: Any) -> Any:
            return super().predict(x).reshape(-1, 1)

    metric = Metric(name="accuracy" if task == "classification" else "mae")
    spec = make_spec(task=task, features=Features(numeric=("x",)), metric=metric)
    fitted = Pipeline([("model", Upright())]).fit(X, X["x"].astype(int))
    found = predict(fitted, spec, X)
    assert found.values.tolist() == fitted.predict(X).ravel().tolist()


def test_rows_go_through_a_listed_pipeline_once(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its labels follow from its probabilities; one of a class of its own that is derived from it is asked for both."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

    class Stubborn(LogisticRegression):
        def predict(self, x: Any) -> Any:
            return np.full(len(x), "late", dtype=object)

    fitted = Pipeline([("model", LogisticRegression())]).fit(X, TWO)
    expected = fitted.predict(X)
    with monkeypatch.context() as patch:
        patch.setattr(LogisticRegression, "predict", None)
        assert np.array_equal(predict(fitted, spec, X).values, expected)
    stubborn = Pipeline([("model", Stubborn())]).fit(X, TWO)
    assert not answers_the_likeliest(stubborn)
    assert set(predict(stubborn, spec, X).values) == {"late"}
