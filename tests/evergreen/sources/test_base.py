"""The same rows land alike whatever they come from: the UCI file's where it is there, and the simulator's."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import pytest
from deltalake import write_deltalake
from sqlalchemy import create_engine

import models
from evergreen.data.observations import Observations
from evergreen.ingest.ingest import ingest
from evergreen.ingest.landing import Landing
from evergreen.settings import Settings
from evergreen.sources.base import Batch, Source
from evergreen.sources.delta import DeltaSource
from evergreen.sources.dvc import DvcSource
from evergreen.sources.folder import Folder
from evergreen.sources.object_store import ObjectFolder
from evergreen.sources.parquet import ParquetDataset
from evergreen.sources.simulator import Simulator
from evergreen.sources.sql import SqlSource
from evergreen.spec.model import ModelSpec

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PROJECT = Path(__file__).resolve().parents[3]
SERVER = "postgresql+psycopg://postgres@127.0.0.1:5432/postgres"
Place = Callable[[pd.DataFrame, Path, Any], Source]


def _simulated() -> pd.DataFrame:
    batches = Simulator(start=date(2011, 1, 1), days=40).read(Path(), lambda _batch: True)
    return pd.concat([item.frame for item in batches if isinstance(item, Batch)], ignore_index=True)


@pytest.fixture(scope="module", params=["simulated", "uci"])
def hours(request: pytest.FixtureRequest) -> pd.DataFrame:
    """Hours of the UCI Bike Sharing schema."""
    if request.param == "simulated":
        return _simulated()
    return pd.read_csv(request.getfixturevalue("uci")).head(4_000)


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    """The bike demand model."""
    return models.load("bike_demand", PROJECT / "models").spec


@pytest.fixture(scope="module")
def digest(hours: pd.DataFrame, spec: ModelSpec, tmp_path_factory: pytest.TempPathFactory) -> str:
    """That of the rows as they land from a folder."""
    settings = Settings(home=tmp_path_factory.mktemp("folder"))
    file = settings.landing / "bikes" / "hour.csv"
    file.parent.mkdir(parents=True)
    hours.to_csv(file, index=False)
    os.utime(file, (1, 1))
    return _landed(spec, Folder("bikes"), settings)


def _landed(spec: ModelSpec, source: Source, settings: Settings) -> str:
    spec = spec.model_copy(update={"source": source})
    assert ingest(spec, settings, now=NOW).added > 900
    assert ingest(spec, settings, now=NOW) == Landing()
    return Observations(settings.lake_uri, spec).snapshot().digest


def _sqlite(hours: pd.DataFrame, folder: Path, _request: Any) -> Source:
    url = f"sqlite:///{folder / 'bikes.db'}"
    _fill(url, hours, "hours")
    return SqlSource(url, "SELECT * FROM hours", "instant", batch_rows=1_500)


def _fill(url: str, hours: pd.DataFrame, table: str) -> None:
    engine = create_engine(url)
    hours.assign(instant=range(len(hours))).to_sql(table, engine, index=False)
    engine.dispose()


def _postgres(hours: pd.DataFrame, folder: Path, request: Any) -> Source:
    psycopg = pytest.importorskip("psycopg")
    table = f"bikes_{uuid4().hex[:12]}"
    with suppress(psycopg.OperationalError):
        connection = psycopg.connect("host=127.0.0.1 user=postgres dbname=postgres connect_timeout=3", autocommit=True)

        def drop() -> None:
            with closing(connection):
                connection.execute(f"DROP TABLE IF EXISTS {table}")

        request.addfinalizer(drop)
        _fill(SERVER, hours, table)
        return SqlSource(SERVER, f"SELECT * FROM {table}", "instant", batch_rows=1_500)  # noqa: S608
    pytest.skip("no PostgreSQL answers at 127.0.0.1:5432 to the user postgres")


def _delta(hours: pd.DataFrame, folder: Path, _request: Any) -> Source:
    for start in (0, 700):
        write_deltalake(folder / "bikes", hours[start : start + 700 if start == 0 else None], mode="append")
    return DeltaSource(str(folder / "bikes"), piece=20_000)


def _parquet(hours: pd.DataFrame, folder: Path, _request: Any) -> Source:
    hours.to_parquet(folder / "bikes", partition_cols=["season", "mnth"], index=False)
    return ParquetDataset(str(folder / "bikes"))


def _dvc(hours: pd.DataFrame, folder: Path, request: Any) -> Source:
    made = request.getfixturevalue("repository")(folder / "bikes")
    made.put("data/hour.csv", hours)
    made.commit("v1", "data/hour.csv")
    return DvcSource("data/hour.csv", "v1", str(made.root))


def _objects(hours: pd.DataFrame, folder: Path, request: Any) -> Source:
    request.getfixturevalue("s3").put("bikes/hour.csv", hours.to_csv(index=False).encode())
    return ObjectFolder("s3://shop/bikes")


def _object_dataset(hours: pd.DataFrame, folder: Path, request: Any) -> Source:
    _parquet(hours, folder, request)
    s3 = request.getfixturevalue("s3")
    for name in s3.files.find("shop/set"):
        s3.files.rm_file(name)
    for file in (folder / "bikes").rglob("*.parquet"):
        s3.put(f"set/{file.relative_to(folder / 'bikes')}", file.read_bytes())
    return ParquetDataset("s3://shop/set")


@pytest.mark.parametrize("place", [_sqlite, _postgres, _delta, _parquet, _dvc, _objects, _object_dataset])
def test_the_same_rows_have_the_same_digest(
    hours: pd.DataFrame, spec: ModelSpec, digest: str, place: Place, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Every kind of source lands them as a folder does, and has nothing new the second time."""
    assert _landed(spec, place(hours, tmp_path, request), Settings(home=tmp_path / "home")) == digest
