from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from evergreen.errors import BusyError, DataError, EvergreenError
from evergreen.maintenance import delta_files
from evergreen.maintenance.delta_files import Unneeded
from evergreen.storage.delta_table import KEEP_LOG, Table, sql_literal

PROJECT = Path(__file__).resolve().parents[3]
SCHEMA = pa.schema([("n", pa.int64()), ("word", pa.string())])


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(str(tmp_path / "lake" / "toy" / "things"), SCHEMA)


def rows(*numbers: int, word: str = "a") -> pd.DataFrame:
    return pd.DataFrame({"n": list(numbers), "word": word})


def held(table: Table) -> list[int]:
    return sorted(table.read(["n"])["n"])


@pytest.mark.parametrize("folder", ["plain", "a b", "a#ü?"])
def test_a_local_table_is_read_without_python_in_the_threads_of_arrow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    """Such a thread may let go of a file while the interpreter ends, which aborts the process; deltalake's own does."""
    from deltalake.fs import DeltaStorageHandler

    table = Table(str(tmp_path / folder), SCHEMA)
    table.append(rows(1, 2), "first")

    def opened(_handler: DeltaStorageHandler, path: str) -> Any:
        raise OSError(f"{path} was opened by Python")

    monkeypatch.setattr(DeltaStorageHandler, "open_input_file", opened)
    assert held(table) == [1, 2]
    assert delta_files.damage(table, table.open().version(), read=True) == ()
    with pytest.raises(OSError, match="opened by Python"):
        table.open().to_pyarrow_dataset().to_table()


def test_a_table_that_is_not_there(table: Table) -> None:
    """Reading makes an empty table; asking whether there is one does not."""
    assert not table.exists()
    assert not table.has_commit("one")
    assert not table.commit_lookup()("one")
    assert not table.exists()
    assert table.read().empty
    assert table.read().columns.tolist() == ["n", "word"]
    assert table.exists()


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_many_create_a_table_at_once(tmp_path: Path, name: str) -> None:
    """Whoever comes second has the table of the first; each write lands, or says that another run wrote."""
    table, start = Table(str(tmp_path / name), SCHEMA), threading.Barrier(8)

    def write(number: int) -> int | None:
        start.wait(60)
        assert table.read().columns.tolist() == ["n", "word"]
        try:
            table.append(rows(number), f"commit {number}")
        except BusyError:
            return None
        return number

    with ThreadPoolExecutor(8) as threads:
        written = [number for number in threads.map(write, range(8)) if number is not None]
    assert held(table) == written


def test_a_commit_is_made_once(table: Table) -> None:
    """The same commit id again changes nothing, whatever the rows; the facts are those of the newest commit."""
    table.append(rows(1, 2), "one", {"said": "this"})
    table.append(rows(1, 2), "one")
    table.replace(rows(9), "one", {}, where="n >= 0")
    assert held(table) == [1, 2]
    assert table.has_commit("one")
    assert table.commit_lookup()("one")
    assert not table.has_commit("two")
    assert table.commit_metadata(table.open())["said"] == "this"


def test_replacing_by_condition(table: Table) -> None:
    """Rows that meet the condition go, all others stay, and quotes in a text do no harm."""
    word = "it's \"sql_literal\" -- ' OR 1=1"
    table.append(rows(1, 2, word=word), "one")
    table.append(rows(3), "two")
    table.replace(rows(4, word=word), "three", {}, where=f"word = {sql_literal(word)}")
    assert held(table) == [3, 4]
    table.replace(rows(word=word), "four", {}, where=f"word = {sql_literal(word)}")
    assert held(table) == [3]


def test_a_table_of_a_newer_delta(table: Table) -> None:
    """A feature that this deltalake does not know is named beside its version, and nobody is told to start anew."""
    table.append(rows(1), "one")
    log = Path(table.uri) / "_delta_log"
    features = {"minReaderVersion": 3, "minWriterVersion": 7, "writerFeatures": ["later"]}
    newest = len(list(log.glob("*.json")))
    (log / f"{newest:020d}.json").write_text(json.dumps({"protocol": features | {"readerFeatures": ["later"]}}) + "\n")
    for use in (table.read, lambda: table.append(rows(2), "two")):
        with pytest.raises(EvergreenError, match=f"is beyond deltalake {version('deltalake')}.*'later'") as newer:
            use()
        assert "install the newer one" in newer.value.fix


def test_a_version_stays_readable(table: Table) -> None:
    """An older version gives the rows that it had."""
    table.append(rows(1), "one")
    version = table.open().version()
    table.append(rows(2), "two")
    assert table.read(version=version)["n"].tolist() == [1]
    assert table.read(where=ds.field("n") > 1)["n"].tolist() == [2]


def test_facts_of_another_version_are_not_written(table: Table) -> None:
    """A commit that was worked out from a version that has passed is refused and changes nothing."""
    table.append(rows(1), "one")
    version = table.open().version()
    table.append(rows(2), "two")
    with pytest.raises(BusyError, match="Another run wrote"):
        table.append(rows(3), "three", {}, expected_version=version)
    assert held(table) == [1, 2]


def test_a_column_is_added(table: Table) -> None:
    """A table gets the columns of a wider schema when it is written next; earlier rows and versions hold nulls."""
    table.append(rows(1), "one")
    wider = Table(table.uri, SCHEMA.append(pa.field("size", pa.float64())))
    assert wider.read()["size"].isna().tolist() == [True]
    wider.append(rows(2).assign(size=2.5), "two")
    assert wider.read().sort_values("n")["size"].fillna(0).tolist() == [0, 2.5]
    assert held(wider) == [1, 2]


def test_a_column_of_another_type(table: Table) -> None:
    """A type that changed is one clear line; nothing is cast behind one's back."""
    table.append(rows(1), "one")
    other = Table(table.uri, pa.schema([("n", pa.string()), ("word", pa.string())]))
    with pytest.raises(EvergreenError, match="holds 'n' as int64, and it is now to be string"):
        other.append(pd.DataFrame({"n": ["1"], "word": "a"}), "two")
    assert held(table) == [1]


def test_statistics_bound_what_a_file_holds(table: Table) -> None:
    """Edges are known of each file without reading it, and None says that they are not."""
    assert table.file_ranges(table.open(), "n") == []
    table.append(rows(3, 1), "one")
    table.append(rows(5), "two")
    assert sorted(table.file_ranges(table.open(), "n") or []) == [(1, 3), (5, 5)]
    assert table.file_ranges(table.open(), "nothing") is None
    table.append(pd.DataFrame({"n": [7], "word": [None]}), "three")
    assert table.file_ranges(table.open(), "word") is None


def _log(table: Table) -> Path:
    return Path(table.uri) / "_delta_log"


@pytest.mark.parametrize("damage", ["garbage", "binary", "gap", "data"])
def test_a_damaged_table(table: Table, damage: str) -> None:
    """A table that cannot be read is one clear line with what to do, and shows no traceback of another library."""
    for number in range(3):
        table.append(rows(number), str(number))
    middle = sorted(_log(table).glob("*.json"))[1]
    if damage == "garbage":
        middle.write_text('{"add": no')
    elif damage == "binary":
        middle.write_bytes(bytes(range(256)))
    elif damage == "gap":
        middle.unlink()
    else:
        next(Path(table.uri).glob("*.parquet")).write_bytes(b"PAR1")
    with pytest.raises(EvergreenError, match="cannot be read") as caught:
        table.read()
    assert "Restore its files" in caught.value.fix


def test_a_full_disk_is_one_line(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that finds no space leaves the table as it was, and the next one works."""
    import deltalake

    table.append(rows(1), "one")

    def full(*_args: Any, **_options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(deltalake, "write_deltalake", full)
        with pytest.raises(EvergreenError, match="The disk is full") as caught:
            table.append(rows(2), "two")
    assert caught.value.fix == "Free space, then run it again."
    assert held(table) == [1]
    table.append(rows(2), "two")
    assert held(table) == [1, 2]


FULL = """
import os, resource, sys
import pandas as pd, pyarrow as pa
from evergreen.errors import EvergreenError
from evergreen.storage.delta_table import Table
table = Table(sys.argv[1], pa.schema([("n", pa.int64()), ("word", pa.string())]))
table.append(pd.DataFrame({"n": [1], "word": "a"}), "one")
big = pd.DataFrame({"n": range(50_000), "word": [str(number * 7919 % 99991) for number in range(50_000)]})
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
try:
    table.append(big, "two")
except EvergreenError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
assert table.read(["n"])["n"].tolist() == [1]
table.append(big, "two")
assert len(table.read(["n"])) == 50_001
sys.stdout.flush()
# The threads of the write that failed may still be at work; at the end of an interpreter they can abort the process.
os._exit(0)
"""


def test_a_file_that_really_cannot_grow(tmp_path: Path) -> None:
    """Where the system itself stops the write: one clear line, the table as before, and it works again afterwards."""
    # Bytecode is not to be stopped by the limit as well.
    words = [sys.executable, "-B", "-W", "error", "-c", FULL, str(tmp_path / "things")]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The disk is full: ")
    assert len(done.stdout.splitlines()) == 1


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """Where no table can be made, the line says where."""
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(EvergreenError, match="file/things"):
        Table(str(tmp_path / "file" / "things"), SCHEMA).append(rows(1), "one")


def _aged(table: Table, days: int, until: int) -> None:
    """Make the log up to a version as old as if it had been written so many days ago."""
    ago = time.time() - days * 86_400
    for file in _log(table).iterdir():
        if file.name[:20].isdigit() and int(file.name[:20]) <= until:
            text = file.read_text() if file.suffix == ".json" else ""
            if text:
                file.write_text(re.sub(r'("timestamp":)\d+', rf"\g<1>{int(ago * 1000)}", text))
            os.utime(file, (ago, ago))


def _filled(table: Table, commits: int) -> None:
    start = table.open().version()
    for number in range(start, start + commits):
        table.append(rows(number), str(number), {"said": str(number)})


@pytest.mark.parametrize("lasting", [True, False])
def test_a_lasting_table_reads_what_is_older_than_a_month(table: Table, lasting: bool) -> None:
    """By itself Delta deletes a log of 30 days at a checkpoint; a version that is gone is never the newest one."""
    table = Table(table.uri, SCHEMA, keep_versions=lasting)
    _filled(table, 20)
    _aged(table, 40, 20)
    _filled(table, 25)
    assert len(table.read()) == 45
    if lasting:
        assert len(table.read(version=5)) == 5
        return
    with pytest.raises(DataError, match="cannot be read at version 5: there is none"):
        table.read(version=5)


def test_an_earlier_table_becomes_lasting(table: Table) -> None:
    """At the next write; what its last commit of rows said of itself still is what it says."""
    table.append(rows(1), "one", {"said": "one"})
    lasting = Table(table.uri, SCHEMA, keep_versions=True)
    lasting.append(rows(2), "two", {"said": "two"})
    assert KEEP_LOG.items() <= lasting.open().metadata().configuration.items()
    lasting.open().alter.set_table_properties({"delta.checkpointInterval": "30"})
    assert lasting.commit_metadata(lasting.open())["said"] == "two"
    assert held(lasting) == [1, 2]


def test_forgetting_the_log(table: Table) -> None:
    """What is older than asked and than every kept version goes up to a checkpoint; the others are read as before."""
    table = Table(table.uri, SCHEMA, keep_versions=True)
    now = datetime.now(UTC)
    _filled(table, 60)
    assert delta_files.forget(table, 30, now=now) == 0
    _aged(table, 50, 45)
    assert delta_files.forget(table, 60, now=now) == 0
    assert delta_files.forget(table, 30, (3,), now=now) == 0
    assert len(table.read(version=3)) == 3
    assert delta_files.forget(table, 30, (50,), now=now) > 30
    for number in (45, 50, 60):
        assert len(table.read(version=number)) == number
    assert table.commit_metadata(table.open())["said"] == "59"
    assert table.commit_metadata(table.open(50))["said"] == "49"
    with pytest.raises(DataError, match="there is none"):
        table.open(3)
    assert table.has_commit("0")


def test_a_vacuum_spares_what_kept_versions_need(table: Table) -> None:
    """Of replaced files only those go that neither the newest nor a kept version has; both read as before."""
    for number in range(3):
        table.append(rows(number), str(number))
    for number in range(3):
        table.replace(rows(number, word="b"), f"again {number}", {"said": str(number)}, where=f"n = {number}")
    version = table.open().version()
    assert delta_files.unneeded(table, 24) == Unneeded(0, 0)
    assert delta_files.unneeded(table, 0, (version - 2,)).files == 1
    assert delta_files.unneeded(table, 0).files == 3
    delta_files.vacuum(table, 0, (version - 2,))
    assert delta_files.unneeded(table, 0, (version - 2,)) == Unneeded(0, 0)
    assert sorted(table.read(version=version - 2)["word"]) == ["a", "a", "b"]
    assert held(table) == [0, 1, 2]
    assert delta_files.damage(table, version - 2, read=True) == ()
    assert [line.rpartition(" is ")[2] for line in delta_files.damage(table, version - 3)] == ["missing"]
    assert table.commit_metadata(table.open())["said"] == "2"
