"""The stored rows get the types of a changed contract; nothing changes its meaning, and nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa
import pytest

from evergreen.data.observations import Observations
from evergreen.errors import DataError, EvergreenError
from evergreen.ingest.ingest import ingest
from evergreen.maintenance.rebuild_table import rebuild_table
from evergreen.settings import Settings
from evergreen.sources.folder import Folder
from evergreen.spec.data import Features, Reading
from evergreen.spec.model import ModelSpec

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2026, 1, 2, tzinfo=UTC)
Build = Callable[..., ModelSpec]


@pytest.fixture
def build(make_spec: Build, tmp_path: Path) -> Build:
    """A model without a time over files of `in`, with the types that a test names."""

    def make(ward: Any = int, *, x: Any = int, keys: tuple[str, ...] = ("id",)) -> ModelSpec:
        columns = {"id": pa.Column(int), "ward": pa.Column(ward), "x": pa.Column(x), "y": pa.Column(float)}
        return make_spec(
            source=Folder(str(tmp_path / "in")),
            contract=lambda: pa.DataFrameSchema(columns),
            keys=keys,
            time=None,
            features=Features(numeric=("x",), categorical=("ward",)),
            reading=Reading(),
        )

    return make


def land(tmp_path: Path, name: str, rows: str) -> Path:
    """A file that has been there for an hour."""
    file = tmp_path / "in" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("id,ward,x,y\n" + rows)
    os.utime(file, (1, 1))
    return file


def stored(spec: ModelSpec, settings: Settings) -> pd.DataFrame:
    observations = Observations(settings.lake_uri, spec)
    return observations.frame(observations.snapshot().version)


@pytest.mark.parametrize("keys", [("id",), ()])
def test_a_number_that_becomes_a_text_is_read_from_its_file(
    build: Build, settings: Settings, tmp_path: Path, keys: tuple[str, ...]
) -> None:
    """With the zeros that it had there; row numbers stay, and the next file lands."""
    before, after = build(keys=keys), build(str, keys=keys)
    land(tmp_path, "a.csv", "1,007,3,1.5\n2,7,3,1.5\n")
    land(tmp_path, "b.csv", "3,0042,4,2.5\n")
    ingest(before, settings, now=NOW)
    version = Observations(settings.lake_uri, before).snapshot().version
    with pytest.raises(
        EvergreenError, match=r"'ward' as int64, and it is now to be string.* evergreen rebuild-table toy"
    ):
        ingest(after, settings, now=NOW)
    result = rebuild_table(after, settings, now=NOW)
    assert [(column.name, column.from_files) for column in result.columns] == [("ward", True)]
    rows = stored(after, settings)
    assert rows[["id", "ward", "_row"]].to_numpy().tolist() == [[1, "007", 0], [2, "7", 1], [3, "0042", 2]]
    land(tmp_path, "c.csv", "4,A1,5,3.5\n")
    assert ingest(after, settings, now=NOW).added == 1
    assert Observations(settings.lake_uri, before).frame(version)["ward"].tolist() == [7, 7, 42]


def test_what_follows_from_the_value_needs_no_file(build: Build, settings: Settings, tmp_path: Path) -> None:
    """Whole numbers as decimals, and back; the digest is that of rows that landed so."""
    before, after = build(), build(x=float)
    file = land(tmp_path, "a.csv", "1,7,3,1.5\n2,7,4,1.5\n")
    ingest(before, settings, now=NOW)
    content = file.read_text()
    file.unlink()
    rebuild_table(after, settings, now=NOW)
    assert stored(after, settings)["x"].tolist() == [3.0, 4.0]
    observations = Observations(settings.lake_uri, after)
    snapshot = observations.snapshot()
    assert observations.measure(snapshot.version) == snapshot.digest
    land(tmp_path, "b.csv", content.removeprefix("id,ward,x,y\n"))
    assert ingest(after, settings, now=NOW).batches == ()
    rebuild_table(before, settings, now=NOW)
    assert stored(before, settings)["x"].tolist() == [3, 4]


def test_a_value_without_an_equal_in_the_new_type_is_refused(build: Build, settings: Settings, tmp_path: Path) -> None:
    """3.5 is no whole number; the table stays as it was."""
    before, after = build(x=float), build()
    land(tmp_path, "a.csv", "1,7,3.5,1.5\n2,7,4,1.5\n")
    ingest(before, settings, now=NOW)
    with pytest.raises(DataError, match=r"1 of 2 stored rows have no equal value of 'x'.*not a whole number"):
        rebuild_table(after, settings, now=NOW)
    assert stored(before, settings)["x"].tolist() == [3.5, 4.0]


def test_a_file_that_is_needed_and_gone_is_named(build: Build, settings: Settings, tmp_path: Path) -> None:
    """Nothing is guessed, and nothing is written."""
    before, after = build(), build(str)
    land(tmp_path, "a.csv", "1,007,3,1.5\n").unlink()
    land(tmp_path, "a.csv", "1,007,3,1.5\n")
    ingest(before, settings, now=NOW)
    land(tmp_path, "a.csv", "1,008,3,1.5\n")
    with pytest.raises(
        DataError, match=r"1 stored rows came from a.csv, .* how 'ward' was written.*Put the files back"
    ):
        rebuild_table(after, settings, now=NOW)
    assert stored(before, settings)["ward"].tolist() == [7]


def test_a_table_in_the_right_types_is_left_alone(build: Build, settings: Settings, tmp_path: Path) -> None:
    """The command may be run again, and after a crash."""
    spec = build()
    land(tmp_path, "a.csv", "1,7,3,1.5\n")
    ingest(spec, settings, now=NOW)
    version = Observations(settings.lake_uri, spec).snapshot().version
    assert rebuild_table(spec, settings, now=NOW).columns == ()
    assert Observations(settings.lake_uri, spec).snapshot().version == version


def test_a_table_without_rows_takes_any_types(build: Build, settings: Settings, tmp_path: Path) -> None:
    """A first file that went to quarantine whole leaves nothing that a mended contract could contradict."""
    before, after = build(), build(str)
    land(tmp_path, "a.csv", "1,A7,3,1.5\n2,B7,3,1.5\n")
    assert "break the contract" in ingest(before, settings, now=NOW).batches[0].problem
    assert ingest(after, settings, now=LATER).added == 2
    assert stored(after, settings)["ward"].tolist() == ["A7", "B7"]
    configuration = Observations(settings.lake_uri, after).table.open().metadata().configuration
    assert configuration["delta.enableExpiredLogCleanup"] == "false"
