"""A Delta table of another program as a source: what was added is read, once, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from deltalake import DeltaTable, write_deltalake

from evergreen.data.observations import Observations
from evergreen.errors import DataError, ModelFileError
from evergreen.ingest.ingest import ingest
from evergreen.ingest.landing import Landing
from evergreen.registry.lineage import lineage
from evergreen.settings import Settings
from evergreen.sources.delta import DeltaSource
from evergreen.spec.model import ModelSpec
from evergreen.storage.delta_table import Table

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Make = Callable[..., ModelSpec]
Rows = Callable[..., pd.DataFrame]
Held = Callable[[ModelSpec], pd.DataFrame]


def test_what_was_appended_is_read_and_nothing_else(
    make_spec: Make, make_rows: Rows, settings: Settings, tmp_path: Path
) -> None:
    """The same version has nothing, an appended file its rows; the data's revision is the table's version."""
    place = tmp_path / "shop"
    write_deltalake(place, make_rows(30))
    spec = make_spec(source=DeltaSource(str(place)))
    assert ingest(spec, settings, now=NOW).added == 30
    before = spec.source.fingerprint(settings.landing)
    assert ingest(spec, settings, now=NOW) == Landing()
    write_deltalake(place, make_rows(5, start=30), mode="append")
    assert spec.source.fingerprint(settings.landing) != before
    landing = ingest(spec, Settings(home=settings.home), now=NOW)
    assert [(report.added, report.repeated) for report in landing.batches] == [(5, 0)]
    snapshot = Observations(settings.lake_uri, spec).snapshot()
    tags = lineage(
        snapshot, decision="d", reason="r", spec_hash="s", compared_with=None, params=None, seed=1, flow_run=""
    )
    assert tags["data_revision"].startswith("shop/part-")
    assert tags["data_revision"].endswith("@1")


def test_rewritten_files_are_read_again_and_only_news_counts(
    make_spec: Make, make_rows: Rows, settings: Settings, tmp_path: Path, held: Held
) -> None:
    """After an update, a compaction and a deletion: one row is replaced, none comes twice, what was deleted stays."""
    place = tmp_path / "shop"
    for start in (0, 20):
        write_deltalake(place, make_rows(20, start=start).assign(kind="a b"), mode="append", partition_by=["kind"])
    spec = make_spec(source=DeltaSource(str(place)))
    ingest(spec, settings, now=NOW)
    table = DeltaTable(place)
    table.update(predicate="id = 3", updates={"y": "77.0"})
    table.optimize.compact()
    table.delete("id = 4")
    landing = ingest(spec, settings, now=NOW)
    assert (landing.added, [report.replaced for report in landing.batches]) == (1, [1])
    found = held(spec)
    assert (len(found), found["y"][3], set(found["kind"])) == (40, 77, {"a b"})


def test_a_large_file_comes_in_pieces_and_a_crash_goes_on_between_them(
    make_spec: Make, make_rows: Rows, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: Held
) -> None:
    """Pieces are bounded by bytes; cut before any commit, the rest is read, each piece once."""
    place = tmp_path / "shop"
    write_deltalake(place, make_rows(1_000))
    size = sum(file.stat().st_size for file in place.glob("*.parquet"))
    real, calls = Table._open_for_commit, 0

    def cut(table: Table, *arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return real(table, *arguments)  # type: ignore[arg-type]

    spec = make_spec(source=DeltaSource(str(place), piece=-(-size // 4)))
    with monkeypatch.context() as patch:
        patch.setattr(Table, "_open_for_commit", cut)
        with pytest.raises(KeyboardInterrupt):
            ingest(spec, settings, now=NOW)
    assert held(spec)["id"].tolist() == list(range(500))
    landing = ingest(make_spec(source=DeltaSource(str(place), piece=-(-size // 4))), settings, now=NOW)
    assert [report.added for report in landing.batches] == [250, 250]
    assert held(spec)["id"].tolist() == list(range(1_000))


def test_what_cannot_be_read_is_one_line(
    make_spec: Make, make_rows: Rows, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No table, no such scheme, a file that is gone, no keys, a password: each says what to do."""
    (tmp_path / "empty").mkdir()
    for path, said in (
        ("nowhere", "nowhere is not a Delta table"),
        (str(tmp_path / "empty"), "empty is not a Delta table"),
        ("env:EVERGREEN_ABSENT", "'EVERGREEN_ABSENT', which the source"),
    ):
        with pytest.raises(Exception, match=said):
            DeltaSource(path).fingerprint(tmp_path)
    with pytest.raises(ModelFileError, match="holds a password"):
        DeltaSource("s3://key:secret@bucket/table")
    place = tmp_path / "shop"
    write_deltalake(place, make_rows(30))
    with pytest.raises(ModelFileError, match="DeltaSource may give a row again"):
        ingest(make_spec(source=DeltaSource(str(place)), keys=()), settings, now=NOW)
    for file in place.glob("*.parquet"):
        file.unlink()
    with pytest.raises(DataError, match=r"version 0 of the Delta table shop cannot be read \(FileNotFoundError\)"):
        ingest(make_spec(source=DeltaSource(str(place))), settings, now=NOW)
    (place / "_delta_log" / "00000000000000000000.json").write_text("{broken")
    with pytest.raises(DataError, match="source: The table"):
        DeltaSource(str(place)).fingerprint(tmp_path)
