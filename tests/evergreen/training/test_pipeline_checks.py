"""What an unfitted pipeline shows is refused before the fit, and a sound one never is; `tests/cases` has messages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from evergreen.errors import EvergreenError, ModelFileError
from evergreen.spec.metric import Metric
from evergreen.spec.model import ModelSpec
from evergreen.spec.training import Search, Training
from evergreen.training.pipeline_checks import require_fittable

Make = Callable[..., ModelSpec]
SOUND = [
    ("sklearn.ensemble", "StackingClassifier", {"estimators": [("a", "linear")]}),
    ("sklearn.ensemble", "VotingClassifier", {"estimators": [("a", "linear")], "voting": "soft"}),
    ("sklearn.calibration", "CalibratedClassifierCV", {"estimator": "svc"}),
    ("sklearn.svm", "SVC", {"probability": True}),
    ("sklearn.dummy", "DummyClassifier", {}),
    ("lightgbm", "LGBMClassifier", {"n_estimators": 2}),
    ("xgboost", "XGBClassifier", {"n_estimators": 2}),
    ("catboost", "CatBoostClassifier", {"iterations": 2}),
]


def _estimator(name: str) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    return {"linear": LogisticRegression(), "svc": LinearSVC()}[name]


def _made(value: Any) -> Any:
    if isinstance(value, list):
        return [(name, _estimator(what)) for name, what in value]
    return _estimator(value) if value in ("linear", "svc") else value


def _pipeline(estimator: Callable[[], Any], _seed: int) -> Any:
    from sklearn.pipeline import Pipeline

    return Pipeline([("model", estimator())])


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(("library", "name", "options"), SOUND)
def test_a_sound_classifier_is_not_refused(make_spec: Make, library: str, name: str, options: dict[str, Any]) -> None:
    """Also where its probabilities, and whether it takes weights, are known only when it is fitted."""
    kind = getattr(pytest.importorskip(library, reason=f"{library} is not installed"), name)
    estimator = partial(kind, **{key: _made(value) for key, value in options.items()})
    require_fittable(
        make_spec(
            task="classification",
            metric=Metric(name="roc_auc"),
            pipeline=partial(_pipeline, estimator),
            training=Training(half_life=timedelta(days=3)),
        )
    )


def test_a_hand_given_parameter_that_is_none(make_spec: Make) -> None:
    """The parameters of its step are listed, before anything is fitted."""
    with pytest.raises(EvergreenError) as caught:
        require_fittable(make_spec(), {"model__alfa": 1})
    assert str(caught.value).startswith("--param model__alfa: the pipeline has no such parameter; step 'model' has ")
    assert str(caught.value).endswith("did you mean model__alpha? Correct the name.")


def test_every_fault_of_a_pipeline_is_told_at_once(make_spec: Make) -> None:
    """A value, a parameter of the grid and weights, each with its field."""
    from sklearn.neighbors import KNeighborsRegressor

    spec = make_spec(
        pipeline=partial(_pipeline, partial(KNeighborsRegressor, n_neighbors=0)),
        search=Search(grid={"model__weight": (1, 2)}),
        training=Training(half_life=timedelta(days=3)),
    )
    with pytest.raises(ModelFileError) as caught:
        require_fittable(spec)
    assert "models/toy.py has 3 mistakes: " in str(caught.value)
    for part in ("pipeline: step 'model': The 'n_neighbors'", "search.grid.model__weight: ", "training.half_life: "):
        assert part in str(caught.value)
