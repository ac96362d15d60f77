"""What the state folder holds, and what databases give back, with real SQLite files."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from evergreen.errors import EvergreenError
from evergreen.maintenance.state_folder import Part, give_back, measure, shrink
from evergreen.settings import Settings


@contextlib.contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    """As Prefect opens it: with a write-ahead log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        yield connection


def _fill(path: Path, *, delete: int) -> None:
    """A hundred rows of 10 kB, of which so many are deleted again."""
    with _open(path) as connection:
        connection.execute("CREATE TABLE event (id INTEGER PRIMARY KEY, payload BLOB)")
        connection.executemany("INSERT INTO event (payload) VALUES (?)", [(b"x" * 10_000,)] * 100)
        connection.execute("DELETE FROM event WHERE id <= ?", [delete])


def _part(settings: Settings) -> Part:
    (part,) = [part for part in measure(settings) if part.name == "Prefect's database"]
    return part


def test_free_pages_are_given_back(settings: Settings) -> None:
    """The file shrinks by what was said to be free, and the rows that were kept are there."""
    path = settings.prefect_home / "prefect.db"
    _fill(path, delete=80)
    part = _part(settings)
    assert part.bytes == path.stat().st_size
    assert part.bytes * 0.7 < part.free < part.bytes
    parts, in_use = shrink(settings, step=(steps := []).append)
    assert (parts, in_use, len(steps)) == ((part,), (), 1)
    assert path.stat().st_size == pytest.approx(part.bytes - part.free, abs=8192)
    assert _part(settings).free == 0
    with _open(path) as connection:
        assert connection.execute("SELECT count(*), min(id) FROM event").fetchone() == (20, 81)


def test_little_that_is_free_is_left_to_be_used_again(settings: Settings) -> None:
    """Tomorrow's rows take it; rewriting the file every night would be in vain."""
    path = settings.prefect_home / "prefect.db"
    _fill(path, delete=10)
    before = path.stat().st_mtime_ns
    assert _part(settings).free == 0
    assert shrink(settings)[1] == ()
    assert path.stat().st_mtime_ns == before


def test_a_database_in_use_is_left_alone(settings: Settings) -> None:
    """Also where whoever has it open does nothing at the moment, as a server between two requests."""
    path = settings.prefect_home / "prefect.db"
    _fill(path, delete=80)
    with _open(path) as server:
        server.execute("SELECT count(*) FROM event").fetchone()
        assert shrink(settings)[1] == ("Prefect's database",)
        assert _part(settings).free
        server.execute("INSERT INTO event (payload) VALUES ('later')")
    assert shrink(settings)[1] == ()


def test_a_broken_database_is_one_line(tmp_path: Path) -> None:
    """It names the file."""
    path = tmp_path / "broken.db"
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)
    with pytest.raises(EvergreenError, match=r"broken\.db cannot be rewritten"):
        give_back(Part("broken", str(path), 1, 1, ""))


def test_only_what_is_here_is_measured(tmp_path: Path) -> None:
    """A registry in PostgreSQL and a lake in an object store are elsewhere; an empty folder holds nothing."""
    elsewhere = Settings(home=tmp_path, tracking_uri="postgresql://u:p@h/d", lake="s3://lake")  # type: ignore[arg-type]
    _fill(tmp_path / "mlflow.db", delete=0)
    logs = elsewhere.stack / "logs"
    logs.mkdir(parents=True)
    (logs / "worker.log").write_text("one line\n")
    elsewhere.landing.mkdir()
    assert [(part.name, part.bytes) for part in measure(elsewhere)] == [("logs of the stack", 9)]
    assert "MLflow's database" in [part.name for part in measure(Settings(home=tmp_path))]
