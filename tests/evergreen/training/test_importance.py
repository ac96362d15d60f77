"""What a champion leans on is measured on rows it was not trained on, kept with it, and weighs its drift report."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.data.checked_batch import check_batch
from evergreen.data.contract import schema_of
from evergreen.data.observations import Observations
from evergreen.drift.check import check_drift
from evergreen.drift.report import DriftReport
from evergreen.registry.client import Registry
from evergreen.settings import Settings
from evergreen.spec.data import Features
from evergreen.spec.metric import Metric
from evergreen.spec.model import ModelSpec
from evergreen.spec.monitoring import DriftThresholds
from evergreen.storage.kept_files import KeptFiles
from evergreen.training import importance
from evergreen.training.fit import fit
from evergreen.training.predict import predict
from evergreen.verdicts import Verdict

Make = Callable[..., Any]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
THREE = Features(numeric=("strong", "weak", "noise"))


def rows(count: int, seed: int = 0) -> pd.DataFrame:
    """A target of ten times `strong` and once `weak`, and a label that says whether it is above nought."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({name: rng.normal(size=count) for name in THREE.all})
    frame["y"] = 10 * frame["strong"] + frame["weak"] + rng.normal(0, 0.1, count)
    return frame.assign(label=np.where(frame["y"] > 0, "up", "down"))


def linear(_seed: int) -> Any:
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import Pipeline

    return Pipeline([("model", Ridge())])


def logistic(_seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

    return Pipeline([("model", LogisticRegression())])


def measured(spec: ModelSpec, held: pd.DataFrame, seed: int = 1) -> dict[str, float]:
    return importance.importances(fit(spec, rows(500), None).pipeline, spec, held, seed=seed)


@pytest.fixture
def spec(make_spec: Make) -> Any:
    return make_spec(features=THREE, pipeline=linear)


@pytest.mark.parametrize(
    ("task", "metric", "expected"),
    [("regression", "mae", 11.0), ("regression", "r2", 2.0), ("classification", "roc_auc", 0.5)],
)
def test_importance_is_what_the_metric_loses(make_spec: Make, task: str, metric: str, expected: float) -> None:
    """Errors that grow and scores that fall both count up; what the model does not need is nought, never below."""
    target, pipeline = ("y", linear) if task == "regression" else ("label", logistic)
    spec = make_spec(task=task, target=target, features=THREE, pipeline=pipeline, metric=Metric(name=metric))
    found = measured(spec, rows(1000, seed=9))
    assert found["strong"] > 5 * found["weak"] >= 5 * found["noise"] >= 0
    assert found["strong"] == pytest.approx(expected, rel=0.15)


def test_the_same_seed_gives_the_same_importances(spec: Any) -> None:
    """Rows and shuffles repeat; another seed shuffles otherwise."""
    held = rows(3000, seed=9)
    assert measured(spec, held) == measured(spec, held)
    assert measured(spec, held) != measured(spec, held, seed=2)


def test_the_work_is_bounded(make_spec: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows and features there are, about 100,000 rows go through the pipeline."""
    features = Features(numeric=tuple(f"f{place}" for place in range(60)))
    spec = make_spec(features=features, pipeline=linear)
    held = pd.DataFrame(np.random.default_rng(0).normal(size=(20_000, 61)), columns=[*features.all, "y"])
    pipeline = fit(spec, held.head(200), None).pipeline
    seen: list[int] = []

    def counted(*given: Any) -> Any:
        seen.append(len(given[2]))
        return predict(*given)

    monkeypatch.setattr(importance, "predict", counted)
    assert set(importance.importances(pipeline, spec, held, seed=0)) == set(features.all)
    assert len(seen) == 61 and sum(seen) <= 1.02 * importance.PREDICTED


def refuses(y: Any, _given: Any) -> float:
    raise ValueError("not today")


@pytest.mark.parametrize("metric", [Metric(name="mine", function=refuses, greater_is_better=True), Metric(name="mape")])
def test_where_nothing_can_be_said_nothing_is(make_spec: Make, metric: Metric) -> None:
    """Too few rows, a metric of the user's own that fails and one that is undefined end no retraining."""
    spec = make_spec(features=THREE, pipeline=linear)
    assert measured(spec, rows(29, seed=9)) == {}
    pipeline = fit(spec, rows(500), None).pipeline
    held = rows(100, seed=9).assign(y=np.nan)
    assert importance.importances(pipeline, spec.model_copy(update={"metric": metric}), held, seed=0) == {}


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=6))
def test_features_add_up_to_one_and_the_prediction_is_one(values: list[float]) -> None:
    """The prediction counts like all watched features together, whatever the metric's unit."""
    names = [f"f{place}" for place in range(len(values))]
    found = importance.weights(dict(zip(names, values, strict=True)) | {"unwatched": 5.0}, names, ("prediction", "y"))
    if sum(values) == 0:
        assert found == {}
    else:
        assert (found.pop("prediction"), found.pop("y")) == (1.0, 1.0)
        assert sum(found.values()) == pytest.approx(1) and set(found) == set(names)


def test_what_is_stored_is_read_and_its_absence_is_known(spec: Any, tmp_path: Path) -> None:
    """Figures come back as they were; a version without the file, or without figures, has None."""
    assert importance.read(tmp_path) is None
    importance.write(tmp_path, spec, {})
    assert importance.read(tmp_path) is None
    importance.write(tmp_path, spec, {"strong": 2.5})
    assert importance.read(tmp_path) == {"strong": 2.5}


def test_few_are_shown_under_names_that_mlflow_takes() -> None:
    """The largest twenty, with odd characters replaced."""
    shown = importance.shown({f"c{place}": float(place) for place in range(40)} | {"a/b: %": 99.0})
    assert len(shown) == 20
    assert (next(iter(shown)), min(shown.values())) == ("importance_a_b_ _", 21.0)


def test_a_champion_weighs_its_own_drift_report(
    make_spec: Make, make_rows: Make, make_version: Make, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`x` is all that matters: its drift fails the report, that of `kind` does not; an older version counts alike."""
    spec = make_spec(drift=DriftThresholds(share=0.3, min_rows=100, weigh="importance"))
    champion = make_version(spec, make_rows(600))
    registry, observations = Registry(settings), Observations(settings.lake_uri, spec)
    stored = json.loads((registry.files(champion) / importance.IMPORTANCE).read_text())
    assert stored["metric"] == "mae" and stored["columns"]["x"] > 10 * stored["columns"]["kind"]
    metrics = registry.client.get_run(champion.run_id).data.metrics
    assert metrics["importance_x"] == pytest.approx(stored["columns"]["x"])

    def watched(version: Any, name: str, new: pd.DataFrame) -> DriftReport:
        observations.land(check_batch(new, spec, schema_of(spec), now=NOW).rows, name, name, now=NOW)
        return check_drift(
            Observations(settings.lake_uri, spec),
            registry,
            version,
            observations.snapshot(),
            reports=KeptFiles(settings.report_place),
        )

    strange = watched(champion, "strange", make_rows(200, start=600).assign(kind="odd"))
    assert (strange.verdict, strange.drifted) == (Verdict.PASS, ("kind",))
    assert "of the weight" in strange.reason and strange.share < 0.1
    shifted = watched(champion, "shifted", make_rows(300, start=800, shift=3.0))
    assert (shifted.verdict, set(shifted.drifted)) == (Verdict.FAIL, {"x", "prediction", "kind"})

    monkeypatch.setattr(importance, "read", lambda _folder: None)
    older = watched(champion, "older", make_rows(10, start=1100))
    assert "stored without importances" in older.reason
