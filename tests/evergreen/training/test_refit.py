"""With a refit, what is deployed learned every row, and what is judged is kept beside it and judged again.

On a real registry and a real table.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evergreen.data.observations import Observations
from evergreen.data.split import split_rows
from evergreen.data.windows import row_weights, training_window
from evergreen.errors import ArtifactError
from evergreen.evaluation.judgement import Judgement
from evergreen.performance.labelled_rows import labelled_rows
from evergreen.registry.artifacts import JUDGED, sha256
from evergreen.registry.client import Registry
from evergreen.registry.version import Version, VersionTags
from evergreen.settings import Settings
from evergreen.spec.metric import Metric
from evergreen.spec.model import ModelSpec
from evergreen.spec.monitoring import PerformanceThresholds
from evergreen.spec.training import Holdout, Search, Training
from evergreen.training import candidate
from evergreen.training.candidate import DEPLOYED, stored_ids, trained_ids
from evergreen.training.evaluate import evaluate_candidate
from evergreen.training.fit import fit
from evergreen.training.predict import predict
from evergreen.training.reference import REFERENCE
from evergreen.verdicts import Check, Verdict

Make = Callable[..., Any]
REFIT = Training(min_rows=20, refit=True)


@pytest.fixture
def judge(settings: Settings) -> Callable[..., Judgement]:
    """Judge a version against a champion on the newest snapshot."""

    def run(spec: ModelSpec, version: Version, champion: Version | None = None) -> Judgement:
        observations = Observations(settings.lake_uri, spec)
        window = training_window(spec, observations.snapshot())
        return evaluate_candidate(observations, Registry(settings), version, champion, window)

    return run


def _frame(settings: Settings, spec: ModelSpec) -> pd.DataFrame:
    observations = Observations(settings.lake_uri, spec)
    return training_window(spec, observations.snapshot()).read(observations)


def _checks(judgement: Judgement) -> dict[str, Check]:
    return {check.name: check for check in judgement.checks}


@pytest.mark.parametrize("half_life", [None, timedelta(hours=40)])
def test_the_model_learned_every_row_and_the_judged_fit_is_kept(
    make_spec: Make, make_rows: Make, make_version: Make, settings: Settings, half_life: timedelta | None
) -> None:
    """The model is the fit of all rows with the parameters found on the training rows, weighed by its own newest row.

    The judged fit is that of the training rows. Both are named in the tags.
    """
    spec = make_spec(
        training=Training(min_rows=20, refit=True, half_life=half_life),
        search=Search(grid={"model__alpha": (0.1, 50.0)}),
    )
    version, registry = make_version(spec, make_rows(100)), Registry(settings)
    frame, observations = _frame(settings, spec), Observations(settings.lake_uri, spec)
    held = split_rows(spec, frame).holdout
    train = frame[~held].reset_index(drop=True)
    found = fit(spec, train, row_weights(spec, train))
    whole = fit(spec, frame, row_weights(spec, frame), params=found.params)
    model, judged = (predict(load(version, spec), spec, frame) for load in (registry.load, registry.load_judged))
    assert np.array_equal(model.values, predict(whole.pipeline, spec, frame).values)
    assert np.array_equal(judged.values, predict(found.pipeline, spec, frame).values)
    assert not np.array_equal(model.values, judged.values)

    files, tags = registry.files(version), version.tags
    assert (tags.judged_rows, tags.deployed_rows) == (80, 100)
    assert tags.judged_sha256 == sha256(files / JUDGED) != tags.sha256
    assert tags.fits == "judged is one of 80 rows, deployed is one of 100 rows"
    assert set(trained_ids(registry, version)) == set(observations.ids(train))
    assert set(stored_ids(files / DEPLOYED)) == set(observations.ids(frame))
    assert pd.read_parquet(files / REFERENCE)["id"].tolist() == frame["id"].tolist()
    assert registry.client.get_run(version.run_id).data.metrics["train_rows"] == 80


def test_without_it_there_is_one_fit(make_spec: Make, make_rows: Make, make_version: Make, settings: Settings) -> None:
    """The files and the tags are those of before, and the judged fit is the model."""
    spec = make_spec()
    version, registry = make_version(spec, make_rows(100)), Registry(settings)
    assert {file.name for file in registry.files(version).iterdir()} == {
        "trained_rows.parquet", "probe.parquet", "profile.json", "search.json", "reference.parquet", "importance.json"
    }  # fmt: skip
    assert not [name for name in version.tags.raw if "judged" in name or "deployed" in name]
    assert version.tags.fits == ""
    frame = _frame(settings, spec)
    one, two = (predict(load(version, spec), spec, frame).values for load in (registry.load, registry.load_judged))
    assert np.array_equal(one, two)


def test_judged_fits_meet_on_rows_that_neither_learned(
    make_spec: Make, make_rows: Make, make_version: Make, judge: Make, settings: Settings
) -> None:
    """The champion's deployed fit has learned the blocks of the holdout, and its judged fit has not: they judge."""
    spec = make_spec(
        holdout=Holdout(strategy="blocked", block=timedelta(hours=4), every=5, min_rows=10), training=REFIT
    )
    champion = make_version(spec, make_rows(200))
    version = make_version(spec, make_rows(20, start=200), "second", champion)
    found = judge(spec, version, champion)
    frame, registry = _frame(settings, spec), Registry(settings)
    held = split_rows(spec, frame).holdout
    assert found.rows == held.sum() == 44
    error = np.abs(predict(registry.load_judged(champion, spec), spec, frame).values - frame["y"].to_numpy(float))
    assert found.champion_value == pytest.approx(error[held].mean(), rel=1e-12)
    checks = _checks(found)
    assert checks["refit"].status is Verdict.PASS
    assert checks["champion"].reason.startswith("Judged fits: ")
    assert checks["latency"].reason.startswith("Deployed fit: ")


@pytest.mark.parametrize("refits", [(False, True), (True, False)])
def test_a_champion_of_the_other_kind_is_compared(
    make_spec: Make, make_rows: Make, make_version: Make, judge: Make, refits: tuple[bool, bool]
) -> None:
    """A version of before has its model as the judged fit; both ways the newcomer that knows the new law passes."""
    rule = Holdout(strategy="blocked", block=timedelta(hours=4), every=5, min_rows=10)
    old, new = (
        make_spec(holdout=rule, training=Training(last=timedelta(hours=199), min_rows=20, refit=refit))
        for refit in refits
    )
    champion = make_version(old, make_rows(200))
    version = make_version(new, make_rows(200, start=200, slope=-3.0), "second", champion)
    found = judge(new, version, champion)
    assert found.verdict is Verdict.PASS, found.checks
    assert ("refit" in _checks(found)) == refits[1]


def _shuffled(frame: pd.DataFrame, target: str) -> pd.DataFrame:
    return frame.assign(**{target: frame[target].sample(frac=1, random_state=0).to_numpy()})


def _constant(frame: pd.DataFrame, target: str) -> pd.DataFrame:
    return frame.assign(**{target: np.where(np.arange(len(frame)) == 0, 1.0, 0.0)})


def _of_a_feature(frame: pd.DataFrame, _target: str) -> pd.DataFrame:
    return _shuffled(frame, "x")


def _swapped(frame: pd.DataFrame, target: str) -> pd.DataFrame:
    return frame.assign(**{target: -frame[target]})


@pytest.mark.parametrize("plant", [_shuffled, _constant, _of_a_feature, _swapped])
def test_a_bad_refit_is_refused(
    make_spec: Make,
    make_rows: Make,
    make_version: Make,
    judge: Make,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pd.DataFrame, str], pd.DataFrame],
) -> None:
    """A deployed fit of shuffled, constant or negated targets, or of a broken feature, fails; the judged fit passes."""
    real = candidate.refit
    monkeypatch.setattr(
        candidate, "refit", lambda spec, frame, params, _workers: real(spec, plant(frame, spec.target), params)
    )  # fmt: skip
    spec = make_spec(training=REFIT)
    found = judge(spec, make_version(spec, make_rows(200)))
    assert found.verdict is Verdict.FAIL
    assert [check.name for check in found.checks if check.status is not Verdict.PASS] == ["refit"]
    assert found.explanation.startswith("refit: On 160 rows that both fits learned, mae is ")


def test_a_refit_without_finite_predictions_is_refused(
    make_spec: Make, make_rows: Make, make_version: Make, judge: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Predictions that are no numbers fail, and the metric of them is undefined."""
    real = candidate.refit

    def broken(spec: ModelSpec, frame: pd.DataFrame, params: Any, _workers: object) -> Any:
        pipeline = real(spec, frame, params)
        pipeline.steps[-1][1].coef_ = pipeline.steps[-1][1].coef_ * np.nan
        return pipeline

    monkeypatch.setattr(candidate, "refit", broken)
    spec = make_spec(training=REFIT)
    found = _checks(judge(spec, make_version(spec, make_rows(200))))
    assert found["deployed finite"].status is Verdict.FAIL
    assert found["refit"].status is Verdict.INCONCLUSIVE
    assert found["finite"].status is found["baseline"].status is Verdict.PASS


def test_a_damaged_judged_fit_is_not_loaded(
    make_spec: Make, make_rows: Make, make_version: Make, judge: Make, settings: Settings
) -> None:
    """Its hash is compared before anything is read, also by what promotes and rolls back; the model still serves."""
    spec = make_spec(training=REFIT)
    version, registry = make_version(spec, make_rows(200)), Registry(settings)
    file = registry.files(version) / JUDGED
    file.write_bytes((registry.stored.model_folder(version.model_id) / "model.skops").read_bytes())
    for refused in (registry.load_judged, registry.require_intact):
        with pytest.raises(ArtifactError, match=r"its judged fit: .*sha256 differs"):
            refused(version, spec)
    with pytest.raises(ArtifactError, match="sha256 differs"):
        judge(spec, version)
    forged = replace(version, tags=VersionTags.read({**version.tags.raw, "judged_sha256": sha256(file)}))
    with pytest.raises(ArtifactError, match="is not what was registered"):
        judge(spec, forged)
    assert registry.load(version, spec) is not None
    file.unlink()
    with pytest.raises(ArtifactError, match=f"{JUDGED} is missing"):
        registry.load_judged(version, spec)


def test_without_its_tag_the_model_is_judged_by_nothing_that_it_learned(
    make_spec: Make, make_rows: Make, make_version: Make, judge: Make
) -> None:
    """Whoever takes the tag of the judged fit away does not get the deployed fit judged on its own training rows."""
    spec = make_spec(training=REFIT)
    version = make_version(spec, make_rows(200))
    left = {name: value for name, value in version.tags.raw.items() if name != "judged_sha256"}
    found = _checks(judge(spec, replace(version, tags=VersionTags.read(left))))
    assert found["holdout"].status is Verdict.FAIL
    assert found["holdout"].reason.startswith("40 of 40 holdout rows were in the training data")
    assert "champion" not in found and "baseline" not in found


def test_a_judged_fit_that_predicts_otherwise_fails_integrity(
    make_spec: Make, make_rows: Make, make_version: Make, judge: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each fit repeats its own probe: with the probes exchanged both fail, and the reasons say of which fit."""
    monkeypatch.setattr(candidate, "PROBE", candidate.JUDGED_PROBE)
    monkeypatch.setattr(candidate, "JUDGED_PROBE", "probe.parquet")
    spec = make_spec(training=REFIT)
    found = _checks(judge(spec, make_version(spec, make_rows(200))))
    assert found["integrity"].reason.startswith("Judged fit: The stored artifact is not sound: ")
    assert found["deployed integrity"].reason.startswith("Deployed fit: the stored artifact is not sound: ")
    assert found["integrity"].status is found["deployed integrity"].status is Verdict.FAIL


def test_a_classification_is_refitted(
    make_spec: Make, make_rows: Make, make_version: Make, judge: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Classes and a metric of probabilities do as well, and swapped labels are refused."""
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    def pipeline(seed: int) -> Any:
        columns = ColumnTransformer(
            [("kind", OneHotEncoder(handle_unknown="ignore"), ["kind"])], remainder="passthrough"
        )
        return Pipeline([("columns", columns), ("model", LogisticRegression())])

    rows = make_rows(300)
    rows["y"] = (rows["y"] > 0).astype(float)
    spec = make_spec(task="classification", pipeline=pipeline, training=REFIT, metric=Metric(name="roc_auc"))
    found = judge(spec, make_version(spec, rows))
    assert found.verdict is Verdict.PASS, found.checks
    real = candidate.refit
    monkeypatch.setattr(
        candidate,
        "refit",
        lambda spec, frame, params, _workers: real(spec, frame.assign(y=1 - frame["y"]), params),
    )
    assert _checks(judge(spec, make_version(spec, rows, "second")))["refit"].status is Verdict.FAIL


def test_no_row_that_the_deployed_fit_learned_judges_it_in_production(
    make_spec: Make, make_rows: Make, make_version: Make, settings: Settings
) -> None:
    """Performance takes rows after the newest labelled row of the window, which is the newest row that was learned."""
    spec = make_spec(training=REFIT, performance=PerformanceThresholds(window=timedelta(hours=24)))
    version = make_version(spec, make_rows(100))
    make_version(spec, make_rows(100, start=100), "second", version)
    observations, registry = Observations(settings.lake_uri, spec), Registry(settings)
    rows = labelled_rows(observations, version, observations.snapshot(), pd.Timestamp("2026-01-01", tz="UTC"))
    assert len(rows.frame) > 20
    assert not np.isin(rows.ids, stored_ids(registry.files(version) / DEPLOYED)).any()
    assert json.loads((registry.files(version) / "profile.json").read_text())["rows"] == 100
