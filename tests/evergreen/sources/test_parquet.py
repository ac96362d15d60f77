"""A partitioned Parquet dataset as a source: its folders are columns, and each file is read once."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from evergreen.errors import DataError, ModelFileError
from evergreen.ingest.ingest import ingest
from evergreen.ingest.landing import Landing
from evergreen.settings import Settings
from evergreen.sources.base import Batch
from evergreen.sources.parquet import ParquetDataset
from evergreen.spec.model import ModelSpec
from evergreen.storage.delta_table import Table

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Make = Callable[..., ModelSpec]
Rows = Callable[..., pd.DataFrame]
Held = Callable[[ModelSpec], pd.DataFrame]


def put(file: Path, rows: pd.DataFrame, *, age: float = 1e6) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    rows.to_parquet(file)
    os.utime(file, (1_760_000_000 - age, 1_760_000_000 - age))


def dataset(path: Path, **changes: int) -> ParquetDataset:
    return ParquetDataset(str(path), now=lambda: 1_760_000_000, **changes)


def test_folders_are_columns_and_files_are_read_once(
    make_spec: Make, make_rows: Rows, settings: Settings, held: Held
) -> None:
    """Numbers and texts by their names, `__HIVE_DEFAULT_PARTITION__` as missing; what is no data is passed over."""
    root = settings.landing / "shop"
    for kind, start in (("kind=a%20b", 0), ("kind=__HIVE_DEFAULT_PARTITION__", 20)):
        put(root / "year=2025" / kind / "part-0.parquet", make_rows(20, start=start).drop(columns="kind"))
    for name in ("_SUCCESS", "year=2025/.hidden.parquet", "_temporary/part.parquet", "year=2025/x.parquet.tmp"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"no Parquet")
    spec = make_spec(source=ParquetDataset("shop"))
    first, second = spec.source.read(settings.landing, lambda _batch: True)
    assert isinstance(first, Batch) and isinstance(second, Batch) and second.frame is not None
    assert first.origin == "year=2025/kind=__HIVE_DEFAULT_PARTITION__/part-0.parquet"
    assert second.frame[["year", "kind"]].drop_duplicates().to_dict("records") == [{"year": 2025, "kind": "a b"}]
    assert ingest(spec, settings, now=NOW).added == 40
    assert ingest(spec, settings, now=NOW) == Landing()
    found = held(spec)
    assert found["kind"].isna().tolist() == [False] * 20 + [True] * 20
    before = spec.source.fingerprint(settings.landing)
    put(root / "year=2026" / "kind=c" / "part-0.parquet", make_rows(3, start=40).drop(columns="kind"))
    assert spec.source.fingerprint(settings.landing) != before
    assert [report.added for report in ingest(spec, settings, now=NOW).batches] == [3]


def test_a_file_that_changed_is_read_again(make_spec: Make, make_rows: Rows, settings: Settings) -> None:
    """Its rows with a known key replace the earlier ones; the others are no news."""
    file = settings.landing / "shop" / "a.parquet"
    put(file, make_rows(40).head(20))
    spec = make_spec(source=dataset(settings.landing / "shop"))
    ingest(spec, settings, now=NOW)
    put(file, make_rows(40).head(21).assign(y=lambda rows: rows["y"].where(rows["id"] != 4, 77)), age=1e5)
    (report,) = ingest(spec, settings, now=NOW).batches
    assert (report.added, report.replaced, report.repeated) == (1, 1, 19)


def test_a_large_file_comes_in_pieces_and_a_crash_goes_on_between_them(
    make_spec: Make, make_rows: Rows, settings: Settings, monkeypatch: pytest.MonkeyPatch, held: Held
) -> None:
    """However row groups lie; cut before any commit, the rest is read, each piece once."""
    file = settings.landing / "shop" / "a.parquet"
    put(file, make_rows(10))
    make_rows(1_000).to_parquet(file, row_group_size=150)
    os.utime(file, (1, 1))
    piece = -(-file.stat().st_size // 4)
    real, calls = Table._open_for_commit, 0

    def cut(table: Table, *arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return real(table, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Table, "_open_for_commit", cut)
        with pytest.raises(KeyboardInterrupt):
            ingest(make_spec(source=dataset(settings.landing / "shop", piece=piece)), settings, now=NOW)
    spec = make_spec(source=dataset(settings.landing / "shop", piece=piece))
    assert [report.added for report in ingest(spec, settings, now=NOW).batches] == [250, 250]
    assert held(spec)["id"].tolist() == list(range(1_000))


def test_a_file_that_is_not_whole_waits_and_a_damaged_one_is_refused(
    make_spec: Make, make_rows: Rows, settings: Settings
) -> None:
    """A fresh one without its footer may still be written; an old one will stay so, and is kept with the reason."""
    root = settings.landing / "shop"
    put(root / "good.parquet", make_rows(20))
    whole = (root / "good.parquet").read_bytes()
    for name, age in (("fresh.parquet", 1.0), ("old.parquet", 1e6)):
        (root / name).write_bytes(whole[:-9])
        os.utime(root / name, (1_760_000_000 - age, 1_760_000_000 - age))
    spec = make_spec(source=dataset(root))
    landing = ingest(spec, settings, now=NOW)
    assert landing.added == 20
    assert [(item.origin, item.reason) for item in landing.waiting] == [
        ("fresh.parquet", "it has no Parquet footer yet")
    ]
    assert [(report.origin, report.problem) for report in landing.quarantined] == [
        ("old.parquet", "it is damaged: it cannot be read as parquet")
    ]
    assert ingest(spec, settings, now=NOW).batches == ()
    fingerprint = spec.source.fingerprint(settings.landing)
    (root / "fresh.parquet").write_bytes(whole)
    os.utime(root / "fresh.parquet", (1_760_000_000, 1_760_000_000))
    assert spec.source.fingerprint(settings.landing) != fingerprint
    assert [report.repeated for report in ingest(spec, settings, now=NOW).batches] == [20]


def test_what_cannot_be_a_dataset_is_one_line(make_spec: Make, make_rows: Rows, settings: Settings) -> None:
    """A Delta table, a model without keys, a password; a folder that is not there has nothing yet."""
    (settings.landing / "table" / "_delta_log").mkdir(parents=True)
    with pytest.raises(DataError, match=r"is a Delta table\. Take DeltaSource"):
        ParquetDataset("table").fingerprint(settings.landing)
    with pytest.raises(ModelFileError, match="ParquetDataset may give a row again"):
        ingest(make_spec(source=ParquetDataset("shop"), keys=()), settings, now=NOW)
    with pytest.raises(ModelFileError, match="holds a password"):
        ParquetDataset("s3://key:secret@bucket/folder")
    assert ingest(make_spec(source=ParquetDataset("shop")), settings, now=NOW) == Landing()
