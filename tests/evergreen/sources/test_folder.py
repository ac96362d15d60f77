"""Sources: each content once, nothing half-written, nothing from elsewhere, and every refusal in one line."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from evergreen.errors import DataError, ModelFileError
from evergreen.sources.base import Batch, Source, Waiting
from evergreen.sources.bundled import Bundled, Dataset
from evergreen.sources.fallback import Fallback
from evergreen.sources.file_formats import LAST_LINE_SECONDS, SETTLE_SECONDS
from evergreen.sources.folder import Folder
from evergreen.sources.text_encoding import NAME_ENCODING

NOW = 1_800_000_000.0
OLD = 2 * SETTLE_SECONDS
CSV = b"a,b,c\n1,2.5,x\n2,3.5,y\n"
PACKED = gzip.compress(CSV, mtime=0)  # a packed file holds the time, and these bytes name tests in two processes


def parquet(frame: pd.DataFrame) -> bytes:
    """A frame as the bytes of a Parquet file."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


PARQUET = parquet(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}))


class Landing:
    """A landing folder under a root, with a clock that stands still until it is set."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "in"
        self.path.mkdir()
        self.now = NOW

    def put(self, name: str, content: bytes, *, age: float = OLD) -> Path:
        """Write a file that is `age` seconds old."""
        file = self.path / name
        file.write_bytes(content)
        os.utime(file, (NOW - age, NOW - age))
        return file

    def source(self, **fields: Any) -> Folder:
        """The source under test."""
        return Folder("in", now=lambda: self.now, **fields)

    def read(self, new: Callable[[str], bool] = lambda _batch: True) -> list[Batch | Waiting]:
        """All that the source yields."""
        return list(self.source().read(self.root, new))

    def one(self) -> Batch | Waiting:
        """The only thing it yields."""
        (found,) = self.read()
        return found

    def problem(self) -> str:
        """Why its only file is refused."""
        found = self.one()
        assert isinstance(found, Batch)
        assert found.frame is None
        return found.problem

    def frame(self) -> pd.DataFrame:
        """The rows of its only file."""
        found = self.one()
        assert isinstance(found, Batch)
        assert found.frame is not None, found.problem
        return found.frame

    def fingerprint(self) -> str:
        """The source's fingerprint."""
        return self.source().fingerprint(self.root)


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    """An empty landing folder."""
    return Landing(tmp_path)


def test_a_missing_folder_is_an_empty_one(tmp_path: Path) -> None:
    """Before anything landed there is nothing to read, and the fingerprint says so."""
    source = Folder("nowhere")
    assert not list(source.read(tmp_path, lambda _batch: True))
    (tmp_path / "nowhere").mkdir()
    assert source.fingerprint(tmp_path) == Folder("also/nowhere").fingerprint(tmp_path)


def test_every_source_keeps_the_protocol() -> None:
    """All sources can stand in a model file."""
    assert isinstance(Folder("in"), Source)
    assert isinstance(Bundled("iris"), Source)
    assert isinstance(Fallback(Folder("in"), Bundled("iris")), Source)


def test_the_clock_is_no_part_of_what_a_folder_is() -> None:
    """Two folders that differ in their clock only are equal and are written alike."""
    assert Folder("in", now=lambda: 0.0) == Folder("in")
    assert repr(Folder("in", now=lambda: 0.0)) == "Folder(path='in', pattern='*')"


def test_files_come_in_the_order_of_their_names(landing: Landing) -> None:
    """One batch a file, oldest name first, known by the hash of its bytes."""
    landing.put("2011-02.csv", CSV)
    landing.put("2011-01.csv", b"a\n1\n")
    first, second = landing.read()
    assert isinstance(first, Batch)
    assert isinstance(second, Batch)
    assert (first.origin, second.origin) == ("2011-01.csv", "2011-02.csv")
    assert second.id == hashlib.sha256(CSV).hexdigest()[:32]
    assert second.path == landing.path / "2011-02.csv"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.csv", CSV),
        ("UPPER.CSV", CSV),
        ("windows.csv", CSV.replace(b"\n", b"\r\n")),
        ("bom.csv", b"\xef\xbb\xbf" + CSV),
        ("semicolon.csv", CSV.replace(b",", b";")),
        ("tab.csv", CSV.replace(b",", b"\t")),
        ("blank-end.csv", CSV + b"\n\n"),
        ("no-end.csv", CSV.rstrip()),
        ("tab.tsv", CSV.replace(b",", b"\t")),
        ("packed.csv.gz", PACKED),
        ("packed.tsv.gz", gzip.compress(CSV.replace(b",", b"\t"), mtime=0)),
        ("quoted.csv", b'"a","b","c"\n1,2.5,"x"\n2,3.5,"y"\n'),
        ("table.parquet", parquet(pd.read_csv(io.BytesIO(CSV)))),
    ],
)
def test_the_usual_ways_to_write_a_table(landing: Landing, name: str, content: bytes) -> None:
    """Line ends, byte-order mark, separators, quotes, gzip and Parquet all give the same rows; CSV as it is written."""
    landing.put(name, content)
    wanted = pd.read_csv(io.BytesIO(CSV), dtype=None if name.endswith(".parquet") else str)
    assert_frame_equal(landing.frame(), wanted)


def test_a_named_index_of_parquet_is_a_column(landing: Landing) -> None:
    """Nothing that a file holds is lost, not even what pandas kept as an index."""
    landing.put("a.parquet", parquet(pd.DataFrame({"a": [1]}, index=pd.Index([7], name="key"))))
    assert landing.frame().to_dict("list") == {"key": [7], "a": [1]}


@pytest.mark.parametrize("name", [".a.csv", "_SUCCESS", "_a.csv", "a.csv.tmp", "a.csv.part", "a.csv.crdownload"])
def test_what_copies_leave_behind_is_passed_over(landing: Landing, name: str) -> None:
    """Hidden and temporary names are neither read nor part of the fingerprint, and folders are not entered."""
    before = landing.fingerprint()
    landing.put(name, CSV)
    (landing.path / "deeper").mkdir()
    (landing.path / "deeper" / "a.csv").write_bytes(CSV)
    assert not landing.read()
    assert landing.fingerprint() == before


def test_only_names_of_the_pattern_are_looked_at(landing: Landing) -> None:
    """A pattern narrows the folder, and the rest does not exist for it."""
    landing.put("bike.csv", CSV)
    landing.put("readme.txt", b"hello")
    found = list(landing.source(pattern="*.csv").read(landing.root, lambda _batch: True))
    assert [item.origin for item in found] == ["bike.csv"]


def test_known_content_is_never_parsed(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that is not new costs its hash only."""
    landing.put("a.csv", CSV)
    monkeypatch.setattr("evergreen.sources.folder.read_rows", lambda *_file: pytest.fail("parsed"))
    assert not landing.read(lambda _batch: False)


def test_the_same_bytes_twice_are_one_batch(landing: Landing) -> None:
    """Two names, a copy made later, a link within the folder: one batch."""
    landing.put("a.csv", CSV)
    landing.put("b.csv", CSV, age=SETTLE_SECONDS + 1)
    (landing.path / "c.csv").symlink_to("a.csv")
    assert [item.origin for item in landing.read()] == ["a.csv"]


def test_the_fingerprint_notices_every_change(landing: Landing) -> None:
    """New, grown, changed, renamed and removed files change it; looking does not, and nothing else does."""
    file = landing.put("a.csv", CSV)
    seen = [landing.fingerprint()]
    assert landing.fingerprint() == seen[0]
    landing.read()
    assert landing.fingerprint() == seen[0]
    landing.put("b.csv", CSV)
    seen.append(landing.fingerprint())
    file.write_bytes(CSV.replace(b"1", b"7"))
    os.utime(file, (NOW - OLD, NOW - OLD))
    seen.append(landing.fingerprint())
    file.rename(landing.path / "c.csv")
    seen.append(landing.fingerprint())
    (landing.path / "c.csv").unlink()
    seen.append(landing.fingerprint())
    assert len(set(seen)) == 5


def test_the_fingerprint_opens_no_settled_file(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a file is old, its content is not even opened."""
    landing.put("a.csv", CSV)
    monkeypatch.setattr(Path, "open", lambda *_args, **_kwargs: pytest.fail("opened"))
    assert landing.fingerprint()


@pytest.mark.parametrize(
    ("name", "content", "until"),
    [
        ("empty.csv", b"", SETTLE_SECONDS),
        ("empty.parquet", b"", SETTLE_SECONDS),
        ("blank.csv", b"\n\n", SETTLE_SECONDS),
        ("header.csv", b"a,b\n", SETTLE_SECONDS),
        ("half-header.csv", b"a,b", SETTLE_SECONDS),
        ("cut-row.csv", b"a,b,c\n1,2,3\n4,5", SETTLE_SECONDS),
        ("cut-quoted-row.csv", b'a,b,c\n1,"x\ny",3\n"4",5', SETTLE_SECONDS),
        ("cut-in-quotes.csv", b'a,b\n1,"x\n2,3\n', SETTLE_SECONDS),
        ("cut.parquet", PARQUET[:-1], SETTLE_SECONDS),
        ("begun.parquet", PARQUET[:2], SETTLE_SECONDS),
        ("cut.csv.gz", PACKED[:-9], SETTLE_SECONDS),
        ("no-line-end.csv", b"a,b\n1,2\n3,4", LAST_LINE_SECONDS),
    ],
)
def test_a_half_written_file_is_left_alone(landing: Landing, name: str, content: bytes, until: float) -> None:
    """It is waited for while it is fresh; then it is read or refused, and the fingerprint tells that there is news."""
    landing.put(name, content, age=0)
    landing.now = NOW + until - 1
    assert isinstance(landing.one(), Waiting)
    before = landing.fingerprint()
    landing.now = NOW + until
    found = landing.one()
    assert isinstance(found, Batch)
    assert (found.frame is None) == bool(found.problem) == (until == SETTLE_SECONDS)
    assert landing.fingerprint() != before


def test_a_file_from_the_future_is_fresh(landing: Landing) -> None:
    """A clock that is a minute ahead does not make a half-written file look settled; one that is a year ahead does."""
    file = landing.put("a.csv", b"a,b\n1,2\n3", age=-60)
    assert isinstance(landing.one(), Waiting)
    os.utime(file, (NOW + 3e7, NOW + 3e7))
    assert isinstance(landing.one(), Batch)


def test_a_whole_file_is_not_waited_for(landing: Landing) -> None:
    """A complete file is read at once, and growing old is no news."""
    landing.put("a.csv", CSV, age=0)
    landing.put("b.parquet", PARQUET, age=0)
    before = landing.fingerprint()
    assert all(isinstance(item, Batch) for item in landing.read())
    landing.now += 2 * SETTLE_SECONDS
    assert landing.fingerprint() == before


@pytest.mark.parametrize("step", ["identify_file", "read_rows"])
def test_a_file_that_changes_while_it_is_read_is_left_alone(
    landing: Landing, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Rows that were appended during the hash or the parse make the batch wait for the next time."""
    import evergreen.sources.folder

    file = landing.put("a.csv", CSV)
    real = getattr(evergreen.sources.folder, step)

    def and_grow(*arguments: Any) -> Any:
        result = real(*arguments)
        file.write_bytes(CSV + b"3,4.5,z\n")
        return result

    monkeypatch.setattr(evergreen.sources.folder, step, and_grow)
    assert landing.one() == Waiting("a.csv", "it changed while it was read")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(st.integers(), st.text(st.characters(exclude_categories=["C"]), min_size=1), st.floats(0, 1)),
        min_size=1,
        max_size=4,
    ),
    where=st.integers(0, 10_000),
    end=st.sampled_from(["\n", "\r\n"]),
)
@example(rows=[(1, "a\nb", 0.5), (2, 'say "x"', 0.25)], where=25, end="\n")
def test_cut_anywhere_a_fresh_csv_waits_or_gives_whole_rows(
    rows: list[tuple[int, str, float]], where: int, end: str
) -> None:
    """Of a copy in progress either nothing is taken, or rows that are there exactly as in the whole file."""
    frame = pd.DataFrame(rows, columns=["key", "text, with comma", "value"])
    content = frame.to_csv(index=False, lineterminator=end).encode()
    assume(b"\0" not in content)
    cut = where % (len(content) + 1)
    with tempfile.TemporaryDirectory() as folder:
        landing = Landing(Path(folder))
        landing.put("a.csv", content[:cut], age=0)
        found = landing.one()
        if cut == len(content):
            assert isinstance(found, Batch)
        if isinstance(found, Batch):
            assert found.frame is not None, found.problem
            whole = pd.read_csv(io.BytesIO(content), low_memory=False, dtype="str").head(len(found.frame))
            assert_frame_equal(pd.read_csv(io.BytesIO(content[:cut]), dtype="str"), whole)
            assert len(found.frame) > 0


@settings(max_examples=30)
@given(st.integers(0, len(PARQUET) - 1))
def test_cut_anywhere_a_fresh_parquet_waits(cut: int) -> None:
    """Without its footer a Parquet file is never opened."""
    with tempfile.TemporaryDirectory() as folder:
        landing = Landing(Path(folder))
        landing.put("a.parquet", PARQUET[:cut], age=0)
        assert isinstance(landing.one(), Waiting)


@settings(max_examples=60)
@given(st.binary(max_size=200), st.sampled_from(["a.csv", "a.csv.gz", "a.parquet", "a.txt", "a"]), st.booleans())
def test_any_bytes_are_read_or_refused(content: bytes, name: str, fresh: bool) -> None:
    """No content of a file ends in an exception, and a refusal is one short line."""
    with tempfile.TemporaryDirectory() as folder:
        landing = Landing(Path(folder))
        landing.put(name, content, age=1 if fresh else OLD)
        found = landing.one()
        text = found.reason if isinstance(found, Waiting) else found.problem
        assert len(text) < 120
        assert text.isprintable()
        if isinstance(found, Batch):
            assert (found.frame is None) == bool(found.problem)


@settings(max_examples=40)
@given(st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=60))
def test_any_name_is_one_line_of_text(name: str) -> None:
    """Line breaks, control characters and what is no text at all do not reach a log; nothing leaves the folder."""
    with tempfile.TemporaryDirectory() as folder:
        landing = Landing(Path(folder))
        try:
            landing.put(f"{name}.csv", CSV)
        except (OSError, UnicodeError):
            assume(False)
        for item in landing.read():
            assert item.origin.isprintable()
            assert item.origin.encode()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a,b,c\n1,2,3\n4,5,6\n7,8,9\nsecret,1,2,3\n1,2,3\n", "row 4 has 4 fields, and the header has 3"),
        (b"a,b\n1,2,secret\n", "row 1 has 3 fields, and the header has 2"),
        (b"a,b,c\n1,2,3\n4,secret\n", "its last row has 2 of 3 fields"),
        (b"a,b,a\n1,2,3\n", "columns 1 and 3 have the same name"),
        (b"a,b\n1,\0secret\n", "it is not text: it holds zero bytes"),
        (CSV.decode().encode("utf-16"), "its text is UTF-16; save it as UTF-8"),
        ("a,b\né,secret\n".encode("latin-1"), f"its text is not UTF-8, first in line 2; {NAME_ENCODING}"),
        (b'a,b\n1,"secret\n2,3\n', "it is cut short: a quote is never closed"),
        (b"a,b\n", "it has a header and no rows"),
        (b"", "it is empty"),
        (b"x" * (1 << 21), "its first line is longer than 1 MiB"),
        (PARQUET, "its name ends in .csv, and its content is something else"),
    ],
)
def test_a_csv_that_cannot_be_read_says_why(landing: Landing, content: bytes, problem: str) -> None:
    """One line with the line's number where it is known, and never what the line holds."""
    landing.put("a.csv", content)
    assert landing.problem() == problem


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.txt", b"hello", "it is not a CSV or Parquet file"),
        ("a.parquet", PARQUET[:-9], "it is damaged: it cannot be read as parquet"),
        ("a.parquet", PARQUET[:4] + b"\xff" * 40 + PARQUET[44:], "it is damaged: it cannot be read as parquet"),
        ("a.parquet", parquet(pd.DataFrame({"a": []})), "it has a header and no rows"),
        ("a.csv.gz", PACKED[:-9], "it is cut short: the end of the compressed data is missing"),
        ("a.csv.gz", b"\x1f\x8b" + b"x" * 50, "it is damaged: it cannot be read as csv.gz"),
    ],
)
def test_other_files_that_cannot_be_read_say_why(landing: Landing, name: str, content: bytes, problem: str) -> None:
    """The wrong kind, a damaged or a truncated file is a batch with a problem, not an exception."""
    landing.put(name, content)
    assert landing.problem() == problem


def test_a_file_renamed_to_what_it_is_is_new(landing: Landing) -> None:
    """A refusal for the name does not stick to the content."""
    refused: set[str] = set()
    for name in ("a.txt", "a.parquet"):
        file = landing.put(name, CSV)
        assert landing.problem()
        refused |= {item.id for item in landing.read() if isinstance(item, Batch)}
        file.unlink()
    landing.put("a.csv", CSV)
    (found,) = landing.read(lambda batch: batch not in refused)
    assert isinstance(found, Batch)
    assert found.frame is not None


def test_links_do_not_lead_out(landing: Landing) -> None:
    """A link to a file elsewhere, or a pipe, is refused unread, and is not what quarantine would copy."""
    outside = landing.root / "secret.csv"
    outside.write_bytes(CSV)
    (landing.path / "a.csv").symlink_to(outside)
    (landing.path / "b.csv").symlink_to("b.csv")
    os.mkfifo(landing.path / "c.csv")
    for item in landing.read():
        assert isinstance(item, Batch)
        assert item.frame is None
        assert item.path is None
        assert item.problem
    assert landing.fingerprint()


def test_an_unreadable_file_is_a_problem(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without permission the batch says so, and other files are read; once it is readable, the file is a new batch."""
    landing.put("a.csv", CSV)
    landing.put("b.csv", b"a\n1\n")
    real = Path.open

    def denied(self: Path, *args: Any, **kwargs: Any) -> Any:
        if self.name == "a.csv":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", denied)
        bad, good = landing.read()
    assert isinstance(bad, Batch)
    assert isinstance(good, Batch)
    assert bad.problem == "it cannot be read: Permission denied"
    assert bad.path is None
    assert good.frame is not None
    assert bad.id not in {item.id for item in landing.read() if isinstance(item, Batch)}


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    """The message names the path and says what to do."""
    (tmp_path / "in").write_bytes(CSV)
    with pytest.raises(DataError, match=r"in cannot be listed: Not a directory\. Make it a folder"):
        Folder("in").fingerprint(tmp_path)


@pytest.mark.parametrize(
    ("path", "pattern"), [("", "*"), ("../in", "*"), ("a/../../b", "*"), ("a\0b", "*"), ("in", ""), ("in", "*/*.csv")]
)
def test_a_path_that_climbs_is_refused(path: str, pattern: str) -> None:
    """A model file cannot name a folder above the landing root but by its absolute path."""
    with pytest.raises(ModelFileError, match="source:"):
        Folder(path, pattern)


def test_an_absolute_path_is_taken_as_it_is(landing: Landing, tmp_path: Path) -> None:
    """The root counts for relative paths only."""
    landing.put("a.csv", CSV)
    assert len(list(Folder(str(landing.path)).read(Path("/elsewhere"), lambda _batch: True))) == 1


@pytest.mark.parametrize("name", get_args(Dataset))
def test_bundled_data_is_one_batch(name: Dataset) -> None:
    """Plain column names, a target, no missing value, and the same id every time."""
    (first,) = Bundled(name).read(Path(), lambda _batch: True)
    (second,) = Bundled(name).read(Path(), lambda _batch: True)
    assert isinstance(first, Batch)
    assert isinstance(second, Batch)
    assert first.id == second.id
    assert first.frame is not None
    assert all(column.replace("_", "").isalnum() and column == column.lower() for column in first.frame.columns)
    assert not first.frame.isna().to_numpy().any()
    target = first.frame["species" if name == "iris" else "target"]
    assert target.dtype == ("float64" if name == "diabetes" else "str")
    assert not list(Bundled(name).read(Path(), lambda batch: batch != first.id))


def test_iris_is_the_classic() -> None:
    """A hundred and fifty flowers in scikit-learn's own order, species as text."""
    (batch,) = Bundled("iris").read(Path(), lambda _batch: True)
    assert isinstance(batch, Batch)
    assert batch.frame is not None
    lengths = ["sepal_length_cm", "sepal_width_cm", "petal_length_cm", "petal_width_cm"]
    assert list(batch.frame.columns) == [*lengths, "species"]
    assert batch.frame["species"].tolist() == ["setosa"] * 50 + ["versicolor"] * 50 + ["virginica"] * 50
    assert batch.frame[lengths].iloc[0].tolist() == [5.1, 3.5, 1.4, 0.2]


def test_an_unknown_data_set_is_named() -> None:
    """The message says which there are."""
    with pytest.raises(ModelFileError, match=r"'boston' is not bundled.*iris"):
        Bundled("boston")  # type: ignore[arg-type]


def test_a_fallback_stands_in_until_a_file_is_there(landing: Landing) -> None:
    """While the folder is empty the other source is read; from the first file on only the folder is."""
    source = Fallback(landing.source(), Bundled("iris"))
    (stand_in,) = source.read(landing.root, lambda _batch: True)
    before = source.fingerprint(landing.root)
    landing.put("a.csv", CSV)
    (found,) = source.read(landing.root, lambda _batch: True)
    assert "iris" in stand_in.origin
    assert found.origin == "a.csv"
    assert source.fingerprint(landing.root) not in (before, Bundled("iris").fingerprint(landing.root))
