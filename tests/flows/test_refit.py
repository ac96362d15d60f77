"""A retraining with a refit: what the alias names learned every row, and what it is compared by is kept beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import models
from evergreen.data.frames import model_frame
from evergreen.data.observations import Observations
from evergreen.data.split import split_rows
from evergreen.data.windows import training_window
from evergreen.ledger.promotions import Promotions
from evergreen.maintenance.rebuild import rebuild
from evergreen.registry.client import Registry
from evergreen.registry.mlflow_calls import quiet_mlflow
from evergreen.registry.version import Version
from evergreen.settings import Settings, load_settings
from evergreen.spec.model import ModelSpec
from evergreen.training.fit import fit
from evergreen.training.predict import predict
from evergreen.training.reference import REFERENCE
from flows.retrain import retrain
from flows.rollback import rollback

pytestmark = pytest.mark.usefixtures("in_process")
TOY = Path(__file__).resolve().parents[1] / "faults" / "models" / "toy.py"
MODEL = "toy"


@pytest.fixture(autouse=True)
def write_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Write the toy's model file with or without a refit: write_model(refit); it begins with one."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("EVERGREEN_MODELS", str(folder))

    def write(refit: bool) -> None:
        text = TOY.read_text().replace("import DriftThresholds,", "import Training, DriftThresholds,")
        fields = f"    training=Training(refit={refit}),\n    drift=DriftThresholds(min_rows=50, share=1.0),\n"
        (folder / f"{MODEL}.py").write_text(text.replace("    drift=DriftThresholds(min_rows=50),\n", fields))

    write(True)
    return write


@pytest.fixture
def land(settings: Settings, make_rows: Callable[..., Any]) -> Callable[..., None]:
    """Put rows into the landing folder: land(start, rows)."""

    def put(start: int, rows: int, **law: float) -> None:
        folder = settings.landing / MODEL
        folder.mkdir(parents=True, exist_ok=True)
        make_rows(rows, start=start, **law).to_csv(folder / f"{start:06}.csv", index=False)

    return put


def _rows(spec: ModelSpec, version: Version) -> pd.DataFrame:
    """The rows of a version's window, as they were then."""
    observations = Observations(load_settings().lake_uri, spec)
    return training_window(spec, observations.snapshot(version.tags.data_version)).read(observations)


def test_the_newest_rows_are_learned_and_the_judged_fits_meet(
    land: Callable[..., None], write_model: Callable[[bool], None]
) -> None:
    """From a champion of one fit, over two with a refit, and back: each step as the records say."""
    write_model(False)
    land(0, 200)
    assert retrain(MODEL).outcome == "promoted"
    write_model(True)
    land(200, 100, slope=4.0)
    assert retrain(MODEL, reason="schedule").outcome == "promoted"

    settings = load_settings()
    spec, registry = models.load(MODEL, settings.models).spec, Registry(settings)
    first, second = registry.get(MODEL, 1), registry.get(MODEL, 2)
    frame = _rows(spec, second)
    held = split_rows(spec, frame).holdout
    train = frame[~held].reset_index(drop=True)
    assert (first.tags.judged_sha256, second.tags.judged_rows, second.tags.deployed_rows) == ("", 240, 300)
    mlflow = quiet_mlflow()
    mlflow.set_registry_uri(settings.tracking)
    mlflow.set_tracking_uri(settings.tracking)
    loaded = mlflow.sklearn.load_model(f"models:/{MODEL}@champion")
    everything, judged = (predict(fit(spec, rows, None, params={}).pipeline, spec, frame) for rows in (frame, train))
    assert np.array_equal(loaded.predict(model_frame(frame, spec.features)), everything.values)
    assert np.array_equal(predict(registry.load_judged(second, spec), spec, frame).values, judged.values)
    assert not np.array_equal(everything.values, judged.values)

    y = frame["y"].to_numpy(dtype=float)
    before = predict(registry.load(first, spec), spec, frame).values
    verdict = second.tags.judgement
    assert verdict is not None
    assert verdict.value == pytest.approx(np.abs(y - judged.values)[held].mean(), rel=1e-12)
    assert verdict.champion_value == pytest.approx(np.abs(y - before)[held].mean(), rel=1e-12)
    assert np.abs(y - everything.values)[held].mean() < verdict.value
    assert second.tags.learned_end == frame["at"].max().isoformat()
    assert pd.read_parquet(registry.files(second) / REFERENCE)["id"].tolist() == frame["id"].tolist()
    assert "| sha256 of the judged fit |" in second.description, second.description
    line = Promotions(settings.lake_uri, MODEL).done()[-1]
    assert (line.sha256, line.judged_sha256) == (second.tags.sha256, second.tags.judged_sha256)

    # The third meets the judged fit of the second, on rows that the second's model has learned.
    land(300, 60, slope=4.2)
    retrain(MODEL, reason="schedule")
    third = registry.get(MODEL, 3).tags.judgement
    assert third is not None
    frame = _rows(spec, registry.get(MODEL, 3))
    held = split_rows(spec, frame).holdout
    error = np.abs(frame["y"].to_numpy(dtype=float) - predict(registry.load_judged(second, spec), spec, frame).values)
    assert (third.rows, held.sum(), int((frame[held]["id"] < 300).sum())) == (72, 72, 12)
    assert third.champion_value == pytest.approx(error[held].mean(), rel=1e-12)

    loaded_file = models.load(MODEL, settings.models)
    assert rebuild(spec, loaded_file.hash, settings, registry, 2).equal
    assert rollback(MODEL, "test", to=1).champion == 1


def test_a_bad_refit_is_not_promoted(land: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of shuffled targets would be deployed by what the judged fit has shown; it stays out."""
    from evergreen.training import candidate

    real = candidate.refit

    def shuffled(spec: ModelSpec, frame: pd.DataFrame, params: Any, _workers: object) -> Any:
        return real(spec, frame.assign(y=frame["y"].sample(frac=1, random_state=0).to_numpy()), params)

    monkeypatch.setattr(candidate, "refit", shuffled)
    land(0, 200)
    told = retrain(MODEL)
    assert (told.outcome, told.champion) == ("rejected", None)
    assert told.explanation.startswith("refit: On 160 rows that both fits learned, mae is ")
