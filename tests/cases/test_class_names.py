"""Classes whose names are long, or mean something to a spreadsheet, in every place that predictions are written to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from evergreen.data.prediction_log import PredictionLog, Progress
from evergreen.errors import EvergreenError
from evergreen.scoring.export import export_batch
from tests.cases.conftest import NOW, Place
from tests.cases.test_values import csv

RANDOM = np.random.default_rng(44)
CLASSES = [
    "=1+1",
    "complaint about a delivery that the carrier brought late, with damage",
    "complaint about a delivery that the carrier brought late, without damage",
    "complaint about a delivery that the carrier brought more than a week late",
]
SERVER = "postgresql+psycopg://postgres@127.0.0.1:5432/postgres"


def scored(place: Place) -> PredictionLog:
    """A model file of `new`, its pipeline fitted on what landed, and its predictions in the log."""
    days = RANDOM.integers(0, 40, 400)
    reason = np.array(CLASSES)[days // 10]
    file = place.drop("first.csv", csv(pd.DataFrame({"id": range(400), "days": days, "reason": reason})))
    place.new(file, "reason", keys=("id",))
    place.ingest()
    rows, spec = place.rows(), place.spec
    features = rows[list(spec.features.all)].astype("float64")
    model = spec.pipeline(1).fit(features, rows["reason"])
    assert list(model.classes_) == CLASSES
    log = PredictionLog(place.settings.lake_uri, spec)
    same = {"batch": "b", "chunk": 0, "version": 1, "at": None, "scored_at": NOW, "run_id": "run"}
    values = {name: [value] * 400 for name, value in same.items()} | {
        **{"key": range(400), "row": range(400), "id": rows["id"].astype(str), "prediction": model.predict(features)},
        "probability": model.predict_proba(features).tolist(),
    }
    log.append(pa.table(values, schema=log.table.schema), Progress("b", 1, scored={1: 400}, classes=tuple(CLASSES)))
    return log


def test_each_class_has_its_own_column(place: Place, tmp_path: Path) -> None:
    """Four probabilities under four names, which sum to one, and the class as it is written."""
    log = scored(place)
    export_batch("", log, "b", f"{tmp_path}/out.csv", place.spec)
    export_batch("", log, "b", f"sqlite:///{tmp_path}/out.db#p", place.spec)
    tables = (pd.read_csv(tmp_path / "out.csv"), pd.read_sql("SELECT * FROM p", f"sqlite:///{tmp_path}/out.db"))
    for table in tables:
        names = [name for name in table if name.startswith("probability_")]
        assert names == [f"probability_{one}" for one in CLASSES]
        np.testing.assert_allclose(table[names].sum(axis=1), 1.0)
        assert set(table["prediction"]) == set(CLASSES)


def test_postgresql_refuses_what_it_would_cut_off(place: Place, postgres_schema: str) -> None:
    """It takes names of 63 bytes: one line names the columns, and no table is made."""
    log = scored(place)
    with pytest.raises(EvergreenError, match="takes names of at most 63 bytes, and would cut off 'probability_compl"):
        export_batch("", log, "b", f"{SERVER}#{postgres_schema}.p", place.spec)
    found = pd.read_sql(f"SELECT tablename FROM pg_tables WHERE schemaname = '{postgres_schema}'", SERVER)  # noqa: S608
    assert found.empty
