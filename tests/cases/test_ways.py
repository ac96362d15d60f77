"""One table by four ways, and in any split into files: the same values, known by the same digest."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evergreen.data.observations import Observations
from evergreen.drift.compare import compare
from evergreen.drift.report import DriftReport
from evergreen.ingest.ingest import ingest
from evergreen.settings import Settings
from evergreen.sources import DeltaSource, Folder, ParquetDataset, Source, SqlSource
from evergreen.spec.data import Features, Reading
from evergreen.spec.model import ModelSpec
from evergreen.spec.monitoring import DriftThresholds

NOW = datetime(2026, 6, 1, tzinfo=UTC)
COUNT = 60


def _contract() -> Any:
    return pa.DataFrameSchema(
        {
            "id": pa.Column(int),
            "at": pa.Column("datetime64[us, UTC]"),
            "zip": pa.Column(str),
            "country": pa.Column(str, nullable=True),
            "price": pa.Column(float, nullable=True),
            "stock": pa.Column(int, nullable=True),
            "sold": pa.Column(bool),
            "y": pa.Column(float),
        }
    )


def _table() -> pd.DataFrame:
    """Rows with ids of 18 digits, zips, a country called NA, and missing values of each type."""
    random = np.random.default_rng(11)
    stock = pd.array([None if n % 9 == 4 else 9_007_199_254_740_993 + n for n in range(COUNT)], dtype="Int64")
    return pd.DataFrame(
        {
            "id": 900_719_925_474_099_000 + np.arange(COUNT),
            "at": pd.date_range("2026-01-01", periods=COUNT, freq="h", tz="UTC"),
            "zip": random.choice(["02139", "10001", "K1A0B1", "1E3"], COUNT),
            "country": pd.array([None if n % 7 == 3 else ["NA", "DE", "ZA"][n % 3] for n in range(COUNT)], dtype="str"),
            "price": np.where(np.arange(COUNT) % 5 == 2, np.nan, random.normal(size=COUNT)),
            "stock": stock,
            "sold": random.random(COUNT) < 0.5,
            "y": random.normal(size=COUNT),
        }
    )


TABLE = _table()


def _csv(rows: pd.DataFrame) -> bytes:
    text = io.StringIO()
    rows.to_csv(text, index=False)
    return text.getvalue().encode()


def _by_csv(folder: Path) -> Source:
    (folder / "a.csv").write_bytes(_csv(TABLE))
    os.utime(folder / "a.csv", (1, 1))
    return Folder(str(folder))


def _by_parquet(folder: Path) -> Source:
    TABLE.to_parquet(folder / "a.parquet")
    os.utime(folder / "a.parquet", (1, 1))
    return ParquetDataset(str(folder))


def _by_dictionaries(folder: Path) -> Source:
    TABLE.astype({"zip": "category", "country": "category"}).to_parquet(folder / "a.parquet")
    os.utime(folder / "a.parquet", (1, 1))
    return ParquetDataset(str(folder))


def _by_sql(folder: Path) -> Source:
    from sqlalchemy import create_engine

    engine = create_engine(f"sqlite:///{folder}/a.db")
    TABLE.to_sql("rows", engine, index=False)
    engine.dispose()
    return SqlSource(f"sqlite:///{folder}/a.db", "SELECT * FROM rows")


def _by_delta(folder: Path) -> Source:
    from deltalake import write_deltalake

    write_deltalake(str(folder / "table"), TABLE)
    return DeltaSource(str(folder / "table"))


@pytest.fixture
def spec(make_spec: Any) -> ModelSpec:
    features = Features(numeric=("price", "stock"), categorical=("zip", "country", "sold"))
    found: ModelSpec = make_spec(contract=_contract, features=features, reading=Reading())
    return found


def _digest(spec: ModelSpec, source: Source, home: Path) -> str:
    spec = spec.model_copy(update={"source": source})
    state = Settings(home=home)
    landing = ingest(spec, state, now=NOW)
    assert (landing.added, [batch for batch in landing.batches if batch.rejected]) == (COUNT, [])
    return Observations(state.lake_uri, spec).snapshot().digest


def _rows(spec: ModelSpec, home: Path) -> pd.DataFrame:
    observations = Observations(Settings(home=home).lake_uri, spec)
    return observations.frame(observations.snapshot().version)


def _drift(frame: pd.DataFrame) -> DriftReport:
    """The report on the later half against the earlier one."""
    thresholds = DriftThresholds(min_rows=10)
    names = {"numeric": ("price", "stock"), "categorical": ("zip", "country")}
    return compare(frame.iloc[:30], frame.iloc[30:], thresholds, **names, folder=None)


def _predictions(frame: pd.DataFrame) -> Any:
    """Of trees that are fitted on the rows in their order."""
    from sklearn.ensemble import RandomForestRegressor

    features = frame[["price", "stock", "sold"]].astype("float64").fillna(0.0)
    return RandomForestRegressor(5, random_state=1).fit(features, frame["y"]).predict(features)


@pytest.mark.parametrize("way", [_by_csv, _by_parquet, _by_dictionaries, _by_sql, _by_delta])
def test_four_ways(spec: ModelSpec, way: Any, tmp_path: Path) -> None:
    """CSV, Parquet, SQL and Delta give the values that were there."""
    (tmp_path / "in").mkdir()
    digest = _digest(spec, way(tmp_path / "in"), tmp_path / "home")
    observations = Observations(Settings(home=tmp_path / "home").lake_uri, spec)
    # As they are stored: a frame would make floats of whole numbers beside a missing one.
    rows = pyarrow.Table.from_batches(list(observations.table.scan(observations.content))).sort_by("id")
    for name in TABLE.columns:
        wanted = [None if pd.isna(value) else value for value in TABLE[name].tolist()]
        assert rows.column(name).to_pylist() == wanted, name
    (tmp_path / "csv").mkdir()
    assert digest == _digest(spec, _by_csv(tmp_path / "csv"), tmp_path / "other")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=6, deadline=None)
@given(cuts=st.sets(st.integers(1, COUNT - 1), max_size=4))
def test_any_split(spec: ModelSpec, cuts: set[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    """However the rows are cut into files, the table is the same, and so are predictions and the drift report."""
    folder = tmp_path_factory.mktemp("split")
    (folder / "in").mkdir()
    (folder / "whole").mkdir()
    ends = [0, *sorted(cuts), COUNT]
    for number, (start, stop) in enumerate(pairwise(ends)):
        file = folder / "in" / f"{number}.csv"
        file.write_bytes(_csv(TABLE.iloc[start:stop]))
        os.utime(file, (1, 1))
    split = _digest(spec, replace(Folder(str(folder / "in"))), folder / "home")
    assert split == _digest(spec, _by_csv(folder / "whole"), folder / "other")
    frames = [_rows(spec, folder / home) for home in ("home", "other")]
    pd.testing.assert_frame_equal(*frames)
    assert _drift(frames[0]) == _drift(frames[1])
    np.testing.assert_array_equal(_predictions(frames[0]), _predictions(frames[1]))
