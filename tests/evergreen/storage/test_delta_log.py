"""The files that a version of a table consists of, whatever was done to the table before and since."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError
from hypothesis import given, settings
from hypothesis import strategies as st

from evergreen.errors import DataError
from evergreen.storage.delta_log import added_files, log_files, newest_version
from evergreen.storage.file_tree import FileTree

STEPS = ("append", "replace", "delete", "compact", "checkpoint", "vacuum", "rename", "forget")


def rows(number: int) -> pa.Table:
    return pa.table({"id": [number, number + 1], "kind": ["a b", f"{number % 3}/%20é"]})


def change(place: str, step: str, number: int) -> None:
    """Do something to a table, as this program or another might."""
    table = DeltaTable(place)
    if step == "append":
        write_deltalake(place, rows(number), mode="append", partition_by=["kind"])
    elif step == "replace":
        one = rows(number).slice(0, 1)
        write_deltalake(place, one, mode="overwrite", predicate=f"id = {number}")
    elif step == "delete":
        table.delete(f"id = {number // 2}")
    elif step == "compact":
        table.optimize.compact()
    elif step == "checkpoint":
        table.create_checkpoint()
    elif step == "vacuum":
        table.vacuum(0, dry_run=False, enforce_retention_duration=False)
    elif step == "rename":
        table.alter.set_table_properties({"delta.logRetentionDuration": f"interval {number + 1} days"})
    else:
        # As the cleaning of a log does when its commits are old enough.
        table.create_checkpoint()
        for file in Path(place, "_delta_log").glob("*.json"):
            if int(file.stem) < table.version():
                file.unlink()


def read(place: Path | str, version: int) -> list[dict[str, object]] | None:
    """The rows of a version; None where it cannot be read any more."""
    try:
        found: list[dict[str, object]] = DeltaTable(place, version=version).to_pyarrow_table().to_pylist()
    except (DeltaError, OSError):
        return None
    return sorted(found, key=str)


def copy(lake: Path, version: int, target: Path) -> None:
    """Copy one version of the table `t`."""
    tree = FileTree(str(lake), "lake")
    log = log_files(tree, "t", version)
    assert not set(tree.fetch_all((*log, *added_files(tree, "t", log)), target)) & set(log)


@settings(max_examples=20)
@given(
    steps=st.lists(st.sampled_from(STEPS), min_size=1, max_size=10), later=st.lists(st.sampled_from(STEPS), max_size=3)
)
def test_a_copy_reads_as_the_table_did(steps: list[str], later: list[str]) -> None:
    """The version itself, and each former one that could be read; nothing of what came later is in the copy."""
    with tempfile.TemporaryDirectory() as folder:
        place = f"{folder}/lake/t"
        write_deltalake(place, rows(0), partition_by=["kind"])
        for number, step in enumerate(steps, start=1):
            change(place, step, number)
        version = newest_version(FileTree(f"{folder}/lake", "lake"), "t")
        assert version == DeltaTable(place).version()
        expected = {past: read(place, past) for past in range(version + 1)}
        for number, step in enumerate((step for step in later if step not in ("vacuum", "forget")), start=100):
            change(place, step, number)
        copy(Path(folder, "lake"), version, Path(folder, "copy"))
        assert DeltaTable(f"{folder}/copy/t").version() == version
        assert {past: read(f"{folder}/copy/t", past) for past in range(version + 1)} == expected


def test_files_of_later_versions_and_of_nobody_are_left_out(tmp_path: Path) -> None:
    """What a killed writer left, the hint of the last checkpoint, and whatever else lies there."""
    place = tmp_path / "lake" / "t"
    write_deltalake(place, rows(0))
    (first,) = (path.name for path in place.glob("*.parquet"))
    write_deltalake(place, rows(1), mode="append")
    DeltaTable(place).create_checkpoint()
    (place / "stray.parquet").write_bytes(b"half")
    (place / "_delta_log" / "notes.txt").touch()
    tree = FileTree(str(tmp_path / "lake"), "lake")
    log = log_files(tree, "t", 0)
    assert log == ("t/_delta_log/00000000000000000000.json",)
    assert added_files(tree, "t", log) == (f"t/{first}",)
    assert "t/_delta_log/00000000000000000001.checkpoint.parquet" in log_files(tree, "t", 1)


def test_a_folder_without_a_log_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    tree = FileTree(str(tmp_path), "lake")
    assert newest_version(tree, "t") is None
    assert newest_version(tree, "missing") is None


def test_a_file_of_the_log_that_is_gone_is_told(tmp_path: Path) -> None:
    """Between the listing and the reading somebody may delete it."""
    tree = FileTree(str(tmp_path), "EVERGREEN_LAKE")
    with pytest.raises(DataError, match=r"EVERGREEN_LAKE: .* cannot be read: it is not there"):
        added_files(tree, "t", ["t/_delta_log/00000000000000000000.json"])


def test_the_line_that_adds_a_file_may_be_written_by_another_program(tmp_path: Path) -> None:
    """With blanks in it; a text in the statistics that looks like one is none."""
    log = tmp_path / "t" / "_delta_log"
    log.mkdir(parents=True)
    lines = [{"commitInfo": {"operation": '{"add"'}}, {"add": {"path": "kind=a%20b/x.parquet"}}]
    (log / "00000000000000000000.json").write_text("\n".join(map(json.dumps, lines)))
    tree = FileTree(str(tmp_path), "lake")
    assert added_files(tree, "t", log_files(tree, "t", 0)) == ("t/kind=a b/x.parquet",)
