"""Leases in the lake: one holder at a time on any machine, and none for ever."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from evergreen.errors import BusyError
from evergreen.settings import PROJECT, Settings
from evergreen.storage import leases
from evergreen.storage.delta_table import OpenTable, Table
from evergreen.storage.leases import LakeLocks, Lease, Leases
from evergreen.storage.locks import FileLocks, Locks, machine_locks, open_locks
from tests.evergreen.conftest import Store

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def rows(lake: str) -> list[tuple[str, int, bool]]:
    """What was written, oldest first."""
    table = Leases(lake, "toy").table.read().sort_values("until", kind="stable")
    return [(row["purpose"], int(row["token"]), bool(row["released"])) for _, row in table.iterrows()]


def test_the_lock_lives_where_the_state_lives(tmp_path: Path) -> None:
    """In a lake outside of the home, a URL or a folder, for whoever reaches it; otherwise in files of this machine."""
    assert open_locks(Settings(home=tmp_path, lake="s3://shop/lake")) == LakeLocks("s3://shop/lake")
    assert open_locks(Settings(home=tmp_path, lake="/mnt/share/lake")) == LakeLocks("/mnt/share/lake")
    assert open_locks(Settings(home=tmp_path)) == FileLocks(Settings(home=tmp_path).locks)
    assert machine_locks(Settings(home=tmp_path, lake="s3://shop/lake")) == FileLocks(Settings(home=tmp_path).locks)


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    """The second is told who holds it; other purposes and models are free, and so is it afterwards."""
    locks: Locks = LakeLocks(str(tmp_path))
    with locks.hold("toy", "retrain", wait=0, now=NOW):
        with (
            pytest.raises(BusyError, match=r"Another retrain of toy is running \(process \d+ on .+, since 2026-01-01"),
            locks.hold("toy", "retrain", wait=0, now=NOW),
        ):
            pass
        with locks.hold("toy", "promotion", wait=0, now=NOW), locks.hold("other", "retrain", wait=0, now=NOW):
            pass
    again = locks.hold("toy", "retrain", wait=0, now=NOW)
    for _ in range(2):
        with again:
            pass
    tokens = [token for purpose, token, _ in rows(str(tmp_path)) if purpose == "retrain"]
    assert sorted(tokens) == [1, 1, 2, 2, 3, 3]


def test_who_waits_gets_it_when_it_is_given_back(tmp_path: Path) -> None:
    """And gives up after its time."""
    locks, inside, leave = LakeLocks(str(tmp_path)), threading.Event(), threading.Event()

    def hold() -> None:
        with locks.hold("toy", "promotion", wait=0, now=NOW):
            inside.set()
            assert leave.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert inside.wait(60)
    with pytest.raises(BusyError), locks.hold("toy", "promotion", wait=0.3, now=NOW):
        pass
    leave.set()
    with locks.hold("toy", "promotion", wait=60, now=NOW):
        holder.join()


def test_a_lease_is_renewed_while_its_holder_lives(tmp_path: Path) -> None:
    """It would have been over long ago, and nobody else gets it."""
    locks, table = LakeLocks(str(tmp_path), seconds=1.0), Leases(str(tmp_path), "toy")

    def newest() -> Lease:
        found = table.newest("retrain", table.table.open())
        assert found is not None
        return found

    with locks.hold("toy", "retrain", wait=0, now=NOW):
        first, deadline = newest(), time.monotonic() + 60
        while newest().until < first.until + timedelta(seconds=2):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with pytest.raises(BusyError), locks.hold("toy", "retrain", wait=0, now=NOW):
            pass
        assert newest().token == first.token


def test_what_is_written_for_another_purpose_takes_nobodys_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the write of one that does not wait, a lease of another purpose is taken and given back."""
    table, write, busy = Leases(str(tmp_path), "toy"), Table.append_in_turn, []

    def interrupted(own: Table, rows: pd.DataFrame, opened: OpenTable) -> None:
        if not busy:
            busy.append(1)
            with LakeLocks(str(tmp_path)).hold("toy", "promotion", wait=0, now=NOW):
                pass
        write(own, rows, opened)

    monkeypatch.setattr(Table, "append_in_turn", interrupted)
    with LakeLocks(str(tmp_path)).hold("toy", "retrain", wait=0, now=NOW):
        newest = table.newest("retrain", table.table.open())
        assert newest is not None
        assert newest.token == 1


HOLDER = """
import sys, time
from datetime import UTC, datetime
from evergreen.storage.leases import LakeLocks
with LakeLocks(sys.argv[1], seconds=2.0).hold("toy", "retrain", wait=0, now=datetime.now(UTC)):
    print("inside", flush=True)
    time.sleep(600)
"""


def test_a_killed_holder_loses_it_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before its time is over, the clocks' difference included; the next token is higher."""
    monkeypatch.setattr(leases, "_SKEW_SECONDS", 1.0)
    words = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(words, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "inside\n"
        process.kill()
    locks, table = LakeLocks(str(tmp_path)), Leases(str(tmp_path), "toy")
    left = table.newest("retrain", table.table.open())
    assert left is not None
    with locks.hold("toy", "retrain", wait=60, now=NOW):
        assert datetime.now(UTC) >= left.until + timedelta(seconds=1)
        mine = table.newest("retrain", table.table.open())
        assert mine is not None
        assert mine.token == left.token + 1


def test_who_was_taken_for_dead_gives_back_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The lease of the one that came after stays as it is."""
    monkeypatch.setattr(leases, "_SKEW_SECONDS", -3600.0)
    locks, table = LakeLocks(str(tmp_path)), Leases(str(tmp_path), "toy")
    cut_off = locks.hold("toy", "retrain", wait=0, now=NOW)
    with cut_off:
        second = table.take("retrain", "another machine", 60.0)
        assert second.token == 2
    assert "The retrain of toy was taken for dead" in caplog.text
    newest = table.newest("retrain", table.table.open())
    assert newest is not None
    assert (newest.token, newest.released) == (2, False)
    assert not table.extend("retrain", Lease(1, "me", NOW, released=False), 60.0)


@pytest.mark.parametrize("other", ["takes it", "gives it back", "none"])
def test_a_holder_finds_out_whether_it_still_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """Right before a write that only a holder may make; who was taken for dead is refused, also when the other is done.

    An expired lease that nobody else took is renewed.
    """
    monkeypatch.setattr(leases, "_SKEW_SECONDS", -3600.0)
    table = Leases(str(tmp_path), "toy")
    with LakeLocks(str(tmp_path)).hold("toy", "retrain", wait=0, now=NOW) as held:
        held.require()
        if other == "none":
            held.require()
            return
        second = table.take("retrain", "another machine", 60.0)
        if other == "gives it back":
            assert table.extend("retrain", second, 60.0, release=True)
        with pytest.raises(BusyError, match="This retrain of toy was taken for dead, and another one may have begun"):
            held.require()


def test_of_two_who_were_both_let_in_one_goes_on(tmp_path: Path) -> None:
    """A store whose conditional write is not atomic keeps the second's lease, of the same number."""
    ours, theirs = (Leases(str(tmp_path / name), "toy") for name in ("ours", "theirs"))
    first, second = ours.take("retrain", "one", 60), theirs.take("retrain", "other", 60)
    assert (first.token, second.token) == (1, 1)
    assert theirs.extend("retrain", second, 60)
    assert not theirs.extend("retrain", first, 60)
    assert not theirs.extend("retrain", first, 60, release=True)
    assert theirs.extend("retrain", second, 60)


def test_a_file_is_held_until_it_is_given_back(tmp_path: Path) -> None:
    """The operating system vouches for it."""
    with FileLocks(tmp_path).hold("toy", "retrain", wait=0, now=NOW) as held:
        held.require()


RACER = """
import os, sys
from datetime import UTC, datetime
from evergreen.storage.leases import LakeLocks
lake, marker, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
locks = LakeLocks(lake)
for _ in range(rounds):
    with locks.hold("toy", "promotion", wait=120, now=datetime.now(UTC)):
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        os.unlink(marker)
print("done")
"""


def race(lake: str, folder: Path, rounds: int) -> None:
    """Four processes take it in turns; a second one inside would find the marker of the first."""
    words = [sys.executable, "-c", RACER, lake, str(folder / "marker"), str(rounds)]
    racers = [
        subprocess.Popen(words, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    told = [racer.communicate(timeout=300) for racer in racers]
    assert [out for out, _ in told] == ["done\n"] * 4, "".join(error for _, error in told)
    table = Leases(lake, "toy").table.read()
    taken = table[~table["released"]].drop_duplicates("token")
    assert sorted(taken["token"]) == list(range(1, 4 * rounds + 1))


def test_four_processes_are_inside_one_after_another(tmp_path: Path) -> None:
    """Each token is taken once."""
    race(str(tmp_path / "lake"), tmp_path, 3)


def test_on_an_object_store(s3: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By conditional writes."""
    # The server of this test has no certificate.
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    race("s3://shop/leases", tmp_path, 2)


@pytest.mark.parametrize("seconds", [0.0, 14.0])
def test_a_clock_that_goes_wrong_by_a_little_takes_nobodys_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """A machine whose clock is ahead sees a lease that has just expired as held."""
    lease = Lease(1, "another machine", NOW, released=False)
    assert lease.is_held(NOW + timedelta(seconds=seconds))
    assert not lease.is_held(NOW + timedelta(seconds=15))
    assert not Lease(1, "another machine", NOW, released=True).is_held(NOW - timedelta(seconds=1))
