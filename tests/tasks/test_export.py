"""A batch that two versions scored is written with each version's own classes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import tasks.export
from evergreen.data.prediction_log import PredictionLog, Progress
from evergreen.registry.client import Registry
from evergreen.registry.version import Version, VersionTags
from evergreen.runs.context import RunContext
from evergreen.settings import Settings
from evergreen.spec.metric import Metric
from evergreen.spec.model import ModelSpec

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Classifier:
    """What is asked of a loaded pipeline."""

    def __init__(self, *classes: str) -> None:
        self.classes_ = np.array(classes)

    def predict_proba(self, _rows: Any) -> None: ...


class Versions(Registry):
    """A registry of two versions, of which the second knows one class more."""

    def get(self, model: str, number: int) -> Version:
        return Version(model, number, "", "", VersionTags.read({}), "")

    def load(self, version: Version, _spec: ModelSpec) -> Any:
        return Classifier("high", "low") if version.number == 1 else Classifier("high", "low", "mid")


def test_a_batch_that_went_on_after_a_promotion(
    settings: Settings,
    make_spec: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The second version knows another class between the two: each probability stands under its own class."""
    monkeypatch.setattr(tasks.export, "run_logger", lambda *_, **__: logging.getLogger("test"))
    spec = make_spec(task="classification", metric=Metric(name="accuracy"))
    log = PredictionLog(settings.lake_uri, spec)
    for chunk, (version, probability) in enumerate(((1, [0.9, 0.1]), (2, [0.2, 0.3, 0.5]))):
        row = {"batch": "b", "chunk": chunk, "version": version, "at": NOW, "key": chunk, "row": chunk}
        row |= {"scored_at": NOW, "id": str(chunk), "prediction": "high", "probability": probability, "run_id": "r"}
        scored = dict.fromkeys(range(1, version + 1), 1)
        classes = ("high", "low", "mid") if version == 2 else ("high", "low")
        rows = pa.Table.from_pylist([row], schema=log.table.schema)
        log.append(rows, Progress("b", chunk + 1, scored=scored, classes=classes))
    context = RunContext(spec, "spec", settings, Versions(settings), NOW)
    target = tmp_path / "out.csv"
    assert tasks.export.export.fn(context, "b", str(target)) == str(target)
    found = pd.read_csv(target, index_col="version")
    assert found.loc[1, ["probability_high", "probability_low"]].tolist() == [0.9, 0.1]
    assert pd.isna(found.loc[1, "probability_mid"])
    assert found.loc[2, [f"probability_{name}" for name in ("high", "low", "mid")]].tolist() == [0.2, 0.3, 0.5]
