"""Rows with an id are appended once, whoever appends at the same time, and however little is remembered."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from evergreen.errors import BusyError
from evergreen.storage import append_once
from evergreen.storage.append_once import OnceWriter
from evergreen.storage.delta_table import Table

SCHEMA = pa.schema([("id", pa.string()), ("value", pa.int64())])


def rows(*ids: str, value: int = 0) -> pa.Table:
    return pa.table({"id": list(ids), "value": [value] * len(ids)}, SCHEMA)


def ids_in(table: Table) -> list[str]:
    return sorted(table.read(["id"])["id"].tolist())


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(str(tmp_path / "table"), SCHEMA)


def test_of_two_commits_of_one_turn_one_is_made(table: Table) -> None:
    """The second is refused, and writes nothing; a commit that is not made in turn does not count."""
    table.append(rows("other"), "first")
    one, two = table.open(), table.open()
    table.append(rows("beside"), "second")
    table.append_in_turn(rows("a"), one)
    with pytest.raises(BusyError):
        table.append_in_turn(rows("a"), two)
    assert ids_in(table) == ["a", "beside", "other"]
    assert table.turn(table.open()) == 1
    # Afterwards it is the version that was written.
    table.append_in_turn(rows("b"), one)
    assert ids_in(table) == ["a", "b", "beside", "other"]


def test_what_was_added_lately_is_not_added_again(table: Table) -> None:
    """A writer knows what it wrote, what others wrote meanwhile, and what was there when it began."""
    one, two = OnceWriter("id"), OnceWriter("id")
    one.look(table)
    assert one.append(table, rows("a", "b"), ()) == set()
    assert one.append(table, rows("b", "c"), ()) == {"b"}
    two.look(table)
    assert two.append(table, rows("a", "d", value=1), ()) == {"a"}
    assert one.append(table, rows("d", "d", "e", value=2), ()) == {"d"}
    assert ids_in(table) == ["a", "b", "c", "d", "e"]
    assert one.append(table, rows("e"), ()) == {"e"}
    assert one.find(table, ["d", "e", "f"], ["id", "value"]).sort_by("id").to_pylist() == [
        {"id": "d", "value": 1},
        {"id": "e", "value": 2},
    ]


def test_what_is_remembered_no_more_is_found_by_a_search(table: Table) -> None:
    """Where a caller says that an id may be there, the whole table is searched for it."""
    writer = OnceWriter("id", remembered=2)
    for name in "abcdef":
        writer.append(table, rows(name), ())
    assert writer.suspects("abcdef") <= {"d", "e", "f"}
    assert writer.append(table, rows("a", "g"), {"a"}) == {"a"}
    assert ids_in(table) == list("abcdefg")


def test_after_a_gap_everything_is_searched(table: Table) -> None:
    """Others added more than a writer remembers: what it holds may be among it, though nothing says so."""
    writer = OnceWriter("id", remembered=3)
    writer.look(table)
    table.append(rows(*"abcdefgh"), "others")
    assert writer.append(table, rows("a", "x"), ()) == {"a"}
    assert writer.append(table, rows("b", "y"), ()) == {"b"}
    assert ids_in(table) == [*"abcdefghxy"]


@pytest.mark.parametrize("length", [10, 40, 64, 120])
def test_ids_that_differ_at_their_end_are_found(table: Table, length: int) -> None:
    """Delta cuts the texts of its statistics; no file is left out for it."""
    writer = OnceWriter("id")
    long = ["k" * length + end for end in "abyz"]
    for name in long[1:3]:
        writer.append(table, rows(name), ())
    assert writer.append(table, rows(*long), set(long)) == set(long[1:3])
    assert ids_in(table) == long


def test_ids_of_any_text_are_found(table: Table) -> None:
    """Quotes, letters beyond ASCII, and what looks like a pattern are texts like others."""
    strange = ["'", '"', "a'b", "%", "_", "é", "\U0010ffff", " ", "\\", "é"]
    OnceWriter("id").append(table, rows(*strange), ())
    assert OnceWriter("id").append(table, rows(*strange), set(strange)) == set(strange)


@given(
    batches=st.lists(st.tuples(st.integers(0, 2), st.lists(st.integers(0, 12), min_size=1, max_size=5)), max_size=10),
    remembered=st.integers(0, 8),
)
@hypothesis(max_examples=15)
def test_each_id_is_there_once(batches: list[tuple[int, list[int]]], remembered: int) -> None:
    """Three writers in any order, each of whose ids may have been seen by another one: no id twice, none lost."""
    with TemporaryDirectory() as folder:
        table = Table(f"{folder}/table", SCHEMA, compact_every=3)
        writers = [OnceWriter("id", remembered) for _ in range(3)]
        for number, numbers in batches:
            ids = [f"{each:02}" for each in dict.fromkeys(numbers)]
            writers[number].append(table, rows(*ids), set(ids))
        wanted = sorted({f"{each:02}" for _, numbers in batches for each in numbers})
        assert (ids_in(table) if table.exists() else []) == wanted


def _at_once(table: Table, append: Callable[[OnceWriter, int], None]) -> None:
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            writer = OnceWriter("id")
            for batch in range(6):
                append(writer, batch)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_writers_that_race_add_each_id_once(table: Table) -> None:
    """Three that have the same messages at the same time: what one committed, the others find."""
    _at_once(
        table,
        lambda writer, batch: writer.append(table, rows(*(f"{n}" for n in range(batch, batch + 4))), ()) and None,
    )
    assert Counter(ids_in(table)) == Counter(f"{number}" for number in range(9))


def test_without_turns_the_same_race_adds_ids_twice(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """The race is real: writers that do not take turns are seen to fail this."""
    names = iter(range(1_000))
    gate = threading.Barrier(3, timeout=60)

    def blind(self: Table, given: pa.Table, opened: object) -> None:
        gate.wait()
        self.append(given, f"commit-{next(names)}")

    monkeypatch.setattr(Table, "append_in_turn", blind)
    table.open()
    _at_once(table, lambda writer, batch: batch == 0 and writer.append(table, rows("a"), ()) and None)
    assert Counter(ids_in(table)) == {"a": 3}


def test_a_table_that_others_write_all_the_time_is_given_up(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, and nothing was written; the caller tries again later."""

    def busy(*_: object, **__: object) -> None:
        raise BusyError("Another consumer wrote it.")

    monkeypatch.setattr(Table, "append_in_turn", busy)
    monkeypatch.setattr(append_once, "_ATTEMPTS", 3)
    with pytest.raises(BusyError, match="all the time"):
        OnceWriter("id").append(table, rows("a"), ())
    assert ids_in(table) == []
