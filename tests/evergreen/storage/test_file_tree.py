"""Files below a folder or a URL, copied to this machine and back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from evergreen.errors import DataError
from evergreen.storage import file_tree
from evergreen.storage.file_tree import FileTree


@pytest.fixture(params=["folder", "store"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> FileTree:
    """An empty one on this machine, and one in memory behind the same interface as a bucket."""
    place = str(tmp_path / "tree") if request.param == "folder" else f"memory://{tmp_path.name}/tree"
    return FileTree(place, "EVERGREEN_LAKE")


def test_what_is_put_is_listed_and_fetched(tree: FileTree, tmp_path: Path) -> None:
    """By names below the tree, with sizes; nothing is listed where there is nothing."""
    assert (tree.listing(), tree.children(), tree.children("a")) == ((), (), ())
    (source := tmp_path / "source").write_bytes(b"rows")
    tree.put_all(["a/one", "a/b/two", "c"], lambda _name: source)
    assert [(file.name, file.bytes) for file in tree.listing()] == [("a/b/two", 4), ("a/one", 4), ("c", 4)]
    assert [file.name for file in tree.listing("a/b")] == ["a/b/two"]
    assert (tree.children(), tree.children("a")) == (("a", "c"), ("b", "one"))
    assert tree.read("a/one") == b"rows"
    assert tree.fetch_all(["a/b/two", "missing", "c"], tmp_path / "copy") == ("missing",)
    assert sorted(path.name for path in (tmp_path / "copy").rglob("*") if path.is_file()) == ["c", "two"]


def test_what_is_not_there_is_told_without_its_key() -> None:
    tree = FileTree("memory://user:s3cret@nowhere/tree", "EVERGREEN_LAKE")
    with pytest.raises(DataError, match="cannot be read: it is not there") as refused:
        tree.read("rows")
    assert "s3cret" not in str(refused.value)


def test_a_relative_folder_is_where_the_process_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Delta takes it."""
    monkeypatch.chdir(tmp_path)
    assert FileTree("lake", "EVERGREEN_LAKE").place == str(tmp_path / "lake")


def test_a_copy_is_never_of_two_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is written while it is copied is copied again; one that never rests is refused."""
    source, target, real, writes = tmp_path / "source", tmp_path / "target", file_tree.shutil.copyfile, [2]
    source.write_text("first")

    def copy(path: Path, to: Path) -> Any:
        done = real(path, to)
        if writes[0]:
            writes[0] -= 1
            source.write_text("later" * writes[0])
        return done

    monkeypatch.setattr(file_tree.shutil, "copyfile", copy)
    assert FileTree(str(tmp_path), "lake").fetch("source", target)
    assert target.read_text() == source.read_text() == ""
    assert os.stat(target).st_mtime_ns == os.stat(source).st_mtime_ns  # noqa: PTH116
    writes[0] = 1000
    with pytest.raises(DataError, match="again and again"):
        FileTree(str(tmp_path), "lake").fetch("source", target)
