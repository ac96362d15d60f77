"""Reports and refused batches, in a folder and in an object store: one behaviour, and names that can move."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen import naming
from evergreen.errors import EvergreenError, ForeignError
from evergreen.storage.kept_files import KeptFiles, copy_file, kept_name, show_kept

Store = Any
FOLDER = naming.report_folder("toy", "d1")
PAGE = f"{FOLDER}/report.html"


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty folder, or one in a bucket."""
    if request.param == "s3":
        request.getfixturevalue("s3")
        return f"s3://shop/{tmp_path.name}"
    return str(tmp_path / "kept")


@pytest.fixture
def files(place: str) -> Iterator[KeptFiles]:
    """The files there, of which one report is written."""
    opened = KeptFiles(place)
    with opened.writing(FOLDER) as folder:
        (folder / "report.html").write_text("<p>drift</p>")
        (folder / "report.json").write_text("{}")
    yield opened
    for file in opened.listing("reports"):
        opened.delete(file.name)


def test_what_is_written_is_read_elsewhere(files: KeptFiles, place: str) -> None:
    """By name, from the same place opened anew; a file that is not there is None."""
    other = KeptFiles(place)
    assert other.read(PAGE) == b"<p>drift</p>"
    assert other.read(f"{FOLDER}/no.html") is None
    with other.reading(PAGE) as path, other.reading(f"{FOLDER}/no.html") as none, other.reading(None) as no:
        assert path is not None and path.read_text() == "<p>drift</p>"
        assert (none, no) == (None, None)


def test_a_listing_has_every_file_below(files: KeptFiles) -> None:
    """With size and time; none of another model's, nor of a folder that is not there."""
    found = files.listing(naming.report_folder("toy", ""))
    assert [(file.name, file.bytes) for file in found] == [(PAGE, 12), (f"{FOLDER}/report.json", 2)]
    assert all(file.modified.tzinfo for file in found)
    assert files.listing(naming.report_folder("other", "")) == ()


def test_a_file_is_deleted_once(files: KeptFiles) -> None:
    """What is gone already is no fault."""
    for _ in range(2):
        files.delete(PAGE)
    assert files.read(PAGE) is None
    assert [file.name for file in files.listing("reports")] == [f"{FOLDER}/report.json"]


def test_a_block_that_fails_keeps_nothing_in_a_store(s3: Store, tmp_path: Path) -> None:
    """Files reach an object store when the block has ended well."""
    opened = KeptFiles(f"s3://shop/{tmp_path.name}")

    def write_half() -> None:
        with opened.writing(FOLDER) as folder:
            (folder / "report.html").write_text("half")
            folder.write_text("a folder is no file")

    with pytest.raises(IsADirectoryError):
        write_half()
    assert opened.listing("reports") == ()


def test_another_environments_files_are_only_read(tmp_path: Path) -> None:
    """Writing and deleting are refused by its name."""
    with KeptFiles(str(tmp_path)).writing(FOLDER) as folder:
        (folder / "report.html").write_text("theirs")
    seen = KeptFiles(naming.ForeignPlace(str(tmp_path), "prod"))
    assert seen.read(PAGE) == b"theirs"
    with pytest.raises(ForeignError, match="belongs to the environment prod"):
        seen.delete(PAGE)
    with pytest.raises(ForeignError, match="belongs to the environment prod"), seen.writing(FOLDER):
        pass


def test_a_store_that_is_not_there_is_one_sentence(s3: Store) -> None:
    """The setting and the URL are named."""
    opened = KeptFiles("s3://no-such-bucket/x")
    with (
        pytest.raises(EvergreenError, match=r"^EVERGREEN_REPORTS: s3://no-such-bucket/x cannot be "),
        opened.writing(FOLDER) as folder,
    ):
        (folder / "report.html").write_text("lost")


NAMES = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1).filter(
    lambda name: name not in (".", "..")
)


@given(model=NAMES, decision=NAMES, home=st.lists(NAMES, max_size=3))
def test_a_former_path_is_read_by_its_end(model: str, decision: str, home: list[str]) -> None:
    """A home that moved, or another machine's; a name is its own name."""
    for name in (f"reports/{model}/{decision}/report.html", f"quarantine/{model}/{decision}"):
        assert kept_name(name) == name
        assert kept_name("/" + "/".join([*home, name])) == name


@pytest.mark.parametrize(
    "stored",
    [None, "", "/data/input.csv", "reports/toy/../../secret", "/reports/toy/x/../../../etc", "a/reports/b/c/d"],
)
def test_what_is_none_of_ours_has_no_name(stored: str | None) -> None:
    """Nor has what would leave the folder."""
    assert kept_name(stored) is None


@pytest.mark.parametrize(
    ("place", "stored", "shown"),
    [
        ("/srv/home", PAGE, f"/srv/home/{PAGE}"),
        ("/srv/home", f"/old/home/{PAGE}", f"/srv/home/{PAGE}"),
        ("s3://me:secret@shop/x", PAGE, f"s3://shop/x/{PAGE}"),
        ("/srv/home", "/data/input.csv", "/data/input.csv"),
    ],
)
def test_where_a_file_is_for_a_person(place: str, stored: str, shown: str) -> None:
    """Never with a password."""
    assert show_kept(place, stored) == shown


def test_a_copy_is_whole_and_may_be_of_a_file_that_nobody_may_change(tmp_path: Path) -> None:
    """Only its bytes are kept."""
    (source := tmp_path / "a.csv").write_bytes(b"a,b\n")
    source.chmod(0o444)
    copy_file(source, tmp_path / "b.csv")
    assert (tmp_path / "b.csv").read_bytes() == b"a,b\n"
    assert (tmp_path / "b.csv").stat().st_mode & 0o200
