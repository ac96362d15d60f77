"""Files that a pattern passes over are told, so that nobody waits for rows that cannot land."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from evergreen.ingest.landing import Landing, describe_unmatched
from evergreen.runs.results import describe_landing
from evergreen.sources.folder import Folder
from evergreen.sources.simulator import Simulator


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text("x,y\n1,2\n")


def test_data_that_the_pattern_does_not_match_is_named(tmp_path: Path) -> None:
    """Where, how many, by their names, and what to do; flags, notes and folders are no data."""
    put(tmp_path, "sales_1.csv", "shops.csv", "shops.csv.md5", "read me.txt", ".hidden.csv")
    (tmp_path / "old.csv").mkdir()
    assert describe_unmatched(Folder(tmp_path, pattern="sales_*.csv"), tmp_path) == (
        f"1 file of {tmp_path} cannot land, because the pattern 'sales_*.csv' does not match: 'shops.csv'. Widen the "
        "pattern in the model file, or move what is no data of this model."
    )
    put(tmp_path, "a.csv", "b.csv", "c.parquet")
    assert "4 files of" in describe_unmatched(Folder(tmp_path, pattern="sales_*.csv"), tmp_path)
    assert "'a.csv', 'b.csv', 'c.parquet' and 1 more." in describe_unmatched(
        Folder(tmp_path, pattern="sales_*.csv"), tmp_path
    )


def test_nothing_is_said_where_everything_lands(tmp_path: Path) -> None:
    """Nor of a folder that is not there yet, or of a source without one."""
    put(tmp_path, "sales_1.csv")
    assert describe_unmatched(Folder(tmp_path, pattern="*.csv"), tmp_path) == ""
    assert describe_unmatched(Folder(tmp_path / "none", pattern="sales_*.csv"), tmp_path) == ""
    assert describe_unmatched(Simulator(start=date(2026, 1, 1), days=7), tmp_path) == ""


def test_it_is_told_whether_or_not_ingest_ran() -> None:
    """A file that is not taken does not make ingest run, and is told all the same."""
    for cached in (True, False):
        assert describe_landing(Landing(), cached=cached, unmatched="1 file cannot land.").doubts == (
            "1 file cannot land.",
        )
        assert describe_landing(Landing(), cached=cached).doubts == ()
