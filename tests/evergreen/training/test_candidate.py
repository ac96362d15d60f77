"""What is stored with a candidate is what later decisions need."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evergreen.data.observations import Observations
from evergreen.data.split import split_rows
from evergreen.errors import ModelFileError
from evergreen.registry.artifacts import sha256
from evergreen.registry.client import Registry
from evergreen.settings import Settings
from evergreen.spec.data import Features
from evergreen.spec.model import ModelSpec
from evergreen.training.candidate import PROBE, PROFILE, TRAINED, trained_ids
from evergreen.training.reference import REFERENCE

Make = Callable[..., Any]


def test_a_candidate_keeps_what_it_was_trained_on(
    make_spec: Make, make_rows: Make, make_version: Make, settings: Settings
) -> None:
    """Reference, identities of the training rows, probe and profile are there, and none of it is of the holdout."""
    spec: ModelSpec = make_spec()
    version = make_version(spec, make_rows(100))
    registry, observations = Registry(settings), Observations(settings.lake_uri, spec)
    folder = registry.files(version)
    assert {file.name for file in folder.iterdir()} >= {REFERENCE, TRAINED, PROBE, PROFILE}
    rows = observations.frame(observations.snapshot().version)
    held = split_rows(spec, rows).holdout
    assert set(trained_ids(registry, version)) == set(observations.ids(rows[~held]))
    reference = pd.read_parquet(folder / REFERENCE)
    assert reference["id"].tolist() == rows.loc[~held, "id"].tolist()
    profile = json.loads((folder / PROFILE).read_text())
    assert profile["rows"] == 80
    assert set(profile["columns"]) == {"x", "kind"}
    assert profile["columns"]["x"]["quantiles"][3] == pytest.approx(reference["x"].median())


def test_the_run_tells_where_it_came_from(
    make_spec: Make, make_rows: Make, make_version: Make, settings: Settings
) -> None:
    """The MLflow run has the training metric, our digest as its input's, exact requirements, and doubles."""
    spec = make_spec()
    version = make_version(spec, make_rows(100))
    registry = Registry(settings)
    run = registry.client.get_run(version.run_id)
    snapshot = Observations(settings.lake_uri, spec).snapshot()
    assert run.data.metrics["train_rows"] == 80
    assert "train_mae" in run.data.metrics
    assert [given.dataset.digest for given in run.inputs.dataset_inputs] == [snapshot.digest]
    folder = registry.stored.model_folder(version.model_id)
    assert "scikit-learn==" in (folder / "requirements.txt").read_text()
    model = " ".join((folder / "MLmodel").read_text().split())
    assert '"type": "double", "name": "x"' in model
    assert '"type": "string", "name": "kind"' in model
    assert version.tags.raw["sha256"] == sha256(folder / "model.skops")
    wanted = "decision_id reason compared_with data_version data_digest spec_hash git_commit git_dirty packages seed"
    assert set(wanted.split()) <= set(version.tags.raw)


def test_types_that_nobody_trusts_are_named(make_spec: Make, make_rows: Make, make_version: Make) -> None:
    """A pipeline that could not be loaded again is refused before it is stored, with the line to add."""

    def selected(seed: int) -> Any:
        from sklearn.linear_model import Ridge
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import FunctionTransformer

        return Pipeline([("best", FunctionTransformer(np.nan_to_num)), ("model", Ridge())])

    spec = make_spec(pipeline=selected, features=Features(numeric=("x",)))
    with pytest.raises(ModelFileError, match=r"trusted=\('numpy.nan_to_num',\)"):
        make_version(spec, make_rows(100))
