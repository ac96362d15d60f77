"""Fitting: seeded, bounded, and refusing what nothing can be learned from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_info, threadpool_limits

from evergreen.errors import DataError, EvergreenError, ModelFileError
from evergreen.evaluation.measure import measure
from evergreen.spec.data import Features
from evergreen.spec.metric import Metric
from evergreen.spec.model import ModelSpec
from evergreen.spec.training import Search
from evergreen.training.fit import fit
from evergreen.training.predict import MANY_ROWS, baseline, labelled, predict, target_of, threads

MakeSpec = Callable[..., ModelSpec]
MakeRows = Callable[..., pd.DataFrame]


def _classifier(seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import Pipeline

    return Pipeline([("model", RandomForestClassifier(n_estimators=5, random_state=seed))])


@pytest.fixture
def classes(make_spec: MakeSpec) -> MakeSpec:
    """Build a classification of y from x."""
    fields = {
        "task": "classification",
        "features": Features(numeric=("x",)),
        "pipeline": _classifier,
        "metric": Metric(name="accuracy"),
    }
    return lambda **changes: make_spec(**fields | changes)


def test_the_same_seed_gives_the_same_model(make_spec: MakeSpec, make_rows: MakeRows) -> None:
    """Two fits on the same rows predict the same to the last bit."""
    spec, rows = make_spec(search=Search(grid={"model__alpha": (0.1, 1.0)})), make_rows(200)
    one, two = (fit(spec, rows, None) for _ in range(2))
    assert one.params == two.params
    assert np.array_equal(predict(one.pipeline, spec, rows).values, predict(two.pipeline, spec, rows).values)


class _Counting(DummyRegressor):
    """Notes how many threads of OpenMP it could use each time that it was asked."""

    seen: ClassVar[list[set[int]]] = []

    def fit(self, x: Any, y: Any, sample_weight: Any = None) -> _Counting:
        self.seen.append(openmp_threads())
        fitted: _Counting = super().fit(x, y, sample_weight)
        return fitted

    def predict(self, x: Any) -> Any:
        self.seen.append(openmp_threads())
        return super().predict(x)


def openmp_threads() -> set[int]:
    """How many threads each OpenMP of this process would use now."""
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp"}


def test_few_rows_are_fitted_and_predicted_with_one_thread(make_spec: MakeSpec, make_rows: MakeRows) -> None:
    """In the search, the last fit and the predictions, whatever the process may use; many rows have all threads."""
    _Counting.seen.clear()
    search = Search(grid={"model__strategy": ("mean", "median")})
    spec = make_spec(pipeline=lambda seed: Pipeline([("model", _Counting())]), search=search)
    with threadpool_limits(2, user_api="openmp"):
        fitted = fit(spec, make_rows(200), None)
        predict(fitted.pipeline, spec, make_rows(200))
        assert openmp_threads() == {2}
        with threads(MANY_ROWS):
            assert openmp_threads() == {2}
    assert len(_Counting.seen) > 12
    assert set.union(*_Counting.seen) == {1}


def test_search_tries_the_whole_grid_and_takes_the_best(make_spec: MakeSpec, make_rows: MakeRows) -> None:
    """Every combination is tried on every fold; the one with the least error wins; progress ends at the total."""
    seen: list[tuple[int, int]] = []
    spec = make_spec(search=Search(grid={"model__alpha": (1e6, 0.1)}, folds=3))
    fitted = fit(spec, make_rows(200), None, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, 6) for n in range(1, 7)]
    assert fitted.params == {"model__alpha": 0.1}
    assert set(fitted.tried) == {"model__alpha=1000000.0", "model__alpha=0.1"}
    assert fitted.tried["model__alpha=0.1"] < fitted.tried["model__alpha=1000000.0"]


def test_search_looks_for_the_greatest_score(classes: MakeSpec, make_rows: MakeRows) -> None:
    """For a score the direction is the other one: the combination with the greatest mean wins, in either order."""
    rows = make_rows(300).assign(y=lambda frame: np.where(frame["x"].abs() > 0.7, "far", "near"))
    for depths in ((1, 8), (8, 1)):
        fitted = fit(classes(search=Search(grid={"model__max_depth": depths})), rows, None)
        assert fitted.tried["model__max_depth=8"] > fitted.tried["model__max_depth=1"]
        assert fitted.params == {"model__max_depth": 8}


def test_parameters_by_hand_skip_the_search(make_spec: MakeSpec, make_rows: MakeRows) -> None:
    """Nothing of the grid is tried when parameters are given."""
    spec = make_spec(search=Search(grid={"model__alpha": (0.1, 1.0)}))
    fitted = fit(spec, make_rows(100), None, params={"model__alpha": 7.0})
    assert (fitted.params, fitted.tried) == ({"model__alpha": 7.0}, {})
    assert fitted.pipeline.get_params()["model__alpha"] == 7.0


def test_weights_reach_the_model(make_spec: MakeSpec, make_rows: MakeRows) -> None:
    """Rows of no weight do not count."""
    spec = make_spec()
    rows = pd.concat([make_rows(200, slope=3.0), make_rows(200, start=200, slope=-3.0)], ignore_index=True)
    weighted = fit(spec, rows, np.r_[np.zeros(200), np.ones(200)])
    late = rows.iloc[200:]
    assert measure(spec.metric, target_of(spec, late), predict(weighted.pipeline, spec, late)) < 0.2


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_a_target_without_variety_is_refused(
    make_spec: MakeSpec, classes: MakeSpec, make_rows: MakeRows, task: str
) -> None:
    """One class, or one value, is a clear line that names the target."""
    spec = make_spec() if task == "regression" else classes()
    with pytest.raises(DataError, match=r"target 'y' has .* in the 50 training rows"):
        fit(spec, make_rows(50).assign(y=1.0), None)


def test_unknown_parameters_are_named(make_spec: MakeSpec, make_rows: MakeRows) -> None:
    """A parameter that the pipeline does not have is told before anything is fitted."""
    with pytest.raises(EvergreenError, match="no parameter 'model__depth'"):
        fit(make_spec(), make_rows(50), None, params={"model__depth": 3})


def test_a_failing_pipeline_is_the_model_files_fault(make_spec: MakeSpec, make_rows: MakeRows) -> None:
    """What scikit-learn raises becomes one line that names the model file and the field."""
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import Pipeline

    spec = make_spec(pipeline=lambda _seed: Pipeline([("model", Ridge(alpha=-1))]), features=Features(numeric=("x",)))
    with pytest.raises(
        ModelFileError, match=r"^models/toy.py: pipeline: fitting failed: InvalidParameterError: .*alpha"
    ):
        fit(spec, make_rows(50), None)


def test_labels_keep_their_kind(classes: MakeSpec, make_rows: MakeRows) -> None:
    """Whole numbers stay whole numbers, text stays text; probabilities are in the order of the classes."""
    rows = make_rows(100)
    numbered = rows.assign(y=(rows["x"] > 0).astype("int64"))
    found = predict(fit(classes(), numbered, None).pipeline, classes(), numbered)
    assert found.values.dtype == np.int64
    assert found.classes == (0, 1)
    assert found.probability is not None
    assert np.array_equal(found.values, found.probability.argmax(axis=1))
    named = rows.assign(y=np.where(rows["x"] > 0, "yes", "no"))
    assert predict(fit(classes(), named, None).pipeline, classes(), named).classes == ("no", "yes")


def test_unseen_categories_and_missing_values_are_survived(make_spec: MakeSpec, make_rows: MakeRows) -> None:
    """A category that was never seen gets a prediction like any other row."""
    spec = make_spec()
    pipeline = fit(spec, make_rows(100), None).pipeline
    assert np.isfinite(predict(pipeline, spec, make_rows(5).assign(kind="never seen")).values).all()


def test_unlabelled_rows_teach_nothing(make_spec: MakeSpec, make_rows: MakeRows) -> None:
    """Rows whose target is not known yet are left out, the others keep their order."""
    rows = make_rows(10)
    rows.loc[[2, 5], "y"] = np.nan
    assert labelled(make_spec(), rows)["id"].tolist() == [0, 1, 3, 4, 6, 7, 8, 9]


def test_baselines(make_spec: MakeSpec, classes: MakeSpec) -> None:
    """The median for an absolute error, the mean for a squared one, the class shares for a classification."""
    y = np.array([0.0, 0.0, 9.0])
    assert baseline(make_spec(), y, 2).values.tolist() == [0.0, 0.0]
    assert baseline(make_spec(metric=Metric(name="rmse")), y, 1).values.tolist() == [3.0]
    shares = baseline(classes(), np.array(["a", "a", "b"], dtype=object), 1)
    assert shares.probability is not None
    assert shares.probability[0].tolist() == pytest.approx([2 / 3, 1 / 3])


def _trees(seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.pipeline import Pipeline

    return Pipeline([("model", HistGradientBoostingRegressor(max_iter=5, random_state=seed))])


def test_a_column_that_begins_late(make_spec: MakeSpec, make_rows: MakeRows) -> None:
    """The search passes over the folds before it; one without any value is named with what to do."""
    search = Search(grid={"model__max_leaf_nodes": (3, 7)}, folds=3)
    spec = make_spec(pipeline=_trees, search=search, features=Features(numeric=("x", "late")))
    rows = make_rows(120).assign(late=lambda frame: np.where(np.arange(120) < 40, np.nan, frame["x"]))
    assert len(fit(spec, rows, None).tried) == 2
    with pytest.raises(ModelFileError, match="none of the 120 training rows has a value of 'late'") as failed:
        fit(spec, rows.assign(late=np.nan), None)
    assert failed.value.fix == "Leave that column out of the features, or land rows that have it."
