"""A database that cannot be used is one clear line within seconds, and no password is ever in it."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from evergreen.errors import RegistryError
from evergreen.registry import database
from evergreen.registry.client import Registry
from evergreen.registry.database import explained, masked, probe
from evergreen.settings import Settings
from evergreen.storage.schema_revision import sqlite_revision

SECRET = "hunter2%21"
OPEN = """
import os
import mlflow
from evergreen.registry.client import Registry
from evergreen.settings import load_settings
ready, go = os.pipe(), os.pipe()
for _ in range(4):
    if os.fork() == 0:
        os.write(ready[1], b"!")
        os.read(go[0], 1)
        os.write(1, f"{len(Registry(load_settings()).versions('toy'))}\\n".encode())
        os._exit(0)
for _ in range(4):
    os.read(ready[0], 1)
os.write(go[1], b"!!!!")
for _ in range(4):
    os.wait()
"""


@contextmanager
def _locked(path: Path, how: str) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute(f"BEGIN {how}")
        yield other


def _line(caught: pytest.ExceptionInfo[RegistryError]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.fix
    return text


def test_four_processes_open_a_fresh_database(environment: dict[str, str]) -> None:
    """MLflow's schema is made once, although four processes open the registry for the first time together."""
    # One process imports, its four children open.
    words = [sys.executable, "-c", OPEN]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.split() == ["0"] * 4, done.stderr


@pytest.mark.parametrize("how", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_locked_database_is_told(
    settings: Settings, empty_database: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that another program keeps locked is given up after a bounded wait."""
    assert database._WAIT_SECONDS <= 15
    monkeypatch.setattr(database, "_WAIT_SECONDS", 0.3)
    settings.root.mkdir(parents=True)
    path = Path(shutil.copy(empty_database, settings.root / "mlflow.db"))
    with _locked(path, how), pytest.raises(RegistryError) as caught:
        Registry(settings).versions("toy")
    assert "is locked by another program" in _line(caught)


def test_a_lock_that_is_given_up_is_waited_for(settings: Settings, registry: Registry) -> None:
    """Opening, reading and writing wait for a database that is locked for a moment."""
    path = settings.root / "mlflow.db"
    for call in (lambda: Registry(settings).client, lambda: registry.versions("toy"), lambda: registry.sweep("toy")):
        with _locked(path, "EXCLUSIVE") as other:
            release = threading.Timer(0.4, other.execute, ("ROLLBACK",))
            release.start()
            started = time.monotonic()
            call()
            assert time.monotonic() - started > 0.2
            release.join()


def test_a_database_of_a_newer_version_is_told(settings: Settings, registry: Registry) -> None:
    """A schema that this MLflow does not know is named beside the newest that it knows, and left as it is."""
    path = settings.root / "mlflow.db"
    newest = sqlite_revision(path)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE alembic_version SET version_num = '0123456789ab'")
    before = path.read_bytes()
    with pytest.raises(RegistryError) as caught:
        registry.versions("toy")
    line = _line(caught)
    assert (
        f"has the schema 0123456789ab, and MLflow {version('mlflow')}, which is installed, knows schemas up to " in line
    )
    assert f"up to {newest}: a newer MLflow has used it" in line
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["garbage", "truncated", "folder"])
def test_a_damaged_file_is_told(settings: Settings, registry: Registry, damage: str) -> None:
    """A file that is no database, or half of one, is one line that says where it is."""
    path = settings.root / "mlflow.db"
    if damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(b"rubbish" * 999 if damage == "garbage" else path.read_bytes()[:9000])
    with pytest.raises(RegistryError) as caught:
        registry.versions("toy")
    assert str(path) in _line(caught)
    assert "cannot be opened" in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        f"postgresql+psycopg://someone:{SECRET}@127.0.0.1:1/x",
        f"postgresql+psycopg://someone:{SECRET}@127.0.0.1:port/x",
        f"postgresql://someone:{SECRET}@127.0.0.1/x",
        f"http://someone:{SECRET}@127.0.0.1:1",
        f"http://[someone:{SECRET}@x",
        f"oracle://someone:{SECRET}@127.0.0.1/x",
        f"://someone:{SECRET}@x",
        "/a/folder",
        "sqlite:////proc/nowhere/mlflow.db",
    ],
)
def test_an_unusable_address_is_told_at_once(settings: Settings, uri: str) -> None:
    """Whatever is wrong with the address, it is one line within seconds, without the password."""
    started = time.monotonic()
    with pytest.raises(RegistryError) as caught:
        Registry(Settings(home=settings.home, tracking_uri=uri)).versions("toy")
    assert time.monotonic() - started < 12
    text = _line(caught)
    assert "hunter2" not in text
    assert "hunter2" not in repr(caught.value.__context__) or caught.value.__suppress_context__


def test_a_password_is_blotted_out_wherever_it_stands() -> None:
    """Also where a driver repeats the address, as it was written or decoded."""
    uri = f"postgresql+psycopg://someone:{SECRET}@host/name"
    assert masked(uri) == "postgresql+psycopg://someone:***@host/name"
    assert masked(f"postgresql+psycopg://host/name?user=me&password={SECRET}&sslmode=require") == (
        "postgresql+psycopg://host/name?user=me&password=***&sslmode=require"
    )
    told = str(explained(uri, ValueError(f"cannot use {uri} with hunter2! here\nsecond line")))
    assert "hunter2" not in told
    assert "second line" not in told


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ("(sqlite3.OperationalError) database is locked", "is locked"),
        ("Detected out-of-date database schema (found version a, but expected b)", "another MLflow version"),
        ("[Errno 28] No space left on device", "the disk is full"),
        ("database or disk is full", "the disk is full"),
        ("[Errno 27] File too large", "the disk is full"),
        ("attempt to write a readonly database", "cannot be written"),
        ('FATAL: password authentication failed for user "someone"', "refuses this user"),
        ("connection timeout expired", "cannot be reached"),
        ("", "failed: ValueError"),
    ],
)
def test_complaints_are_understood(message: str, meaning: str) -> None:
    """What MLflow, the database and the disk say is told as what it means."""
    assert meaning in explained("sqlite:///mlflow.db", ValueError(message)).what


def test_a_healthy_database_is_left_alone(settings: Settings, registry: Registry) -> None:
    """Asking whether it can be written writes nothing."""
    path = settings.root / "mlflow.db"
    before = path.read_bytes()
    probe(settings.tracking)
    assert path.read_bytes() == before


@pytest.fixture
def postgres() -> Iterator[str]:
    """The URI of a database of the test's own on a local PostgreSQL; skipped where there is none."""
    psycopg = pytest.importorskip("psycopg")
    server = "host=127.0.0.1 port=5432 user=postgres connect_timeout=3"
    try:
        psycopg.connect(server, dbname="postgres").close()
    except psycopg.OperationalError:
        pytest.skip("no PostgreSQL answers at 127.0.0.1:5432 to the user postgres")
    name = f"evergreen_test_{time.time_ns()}"

    def command(words: str) -> None:
        with closing(psycopg.connect(server, dbname="postgres", autocommit=True)) as connection:
            connection.execute(words)

    command(f"CREATE DATABASE {name}")
    try:
        yield f"postgresql+psycopg://postgres:{SECRET}@127.0.0.1:5432/{name}"
    finally:
        command(f"DROP DATABASE {name} WITH (FORCE)")


def test_postgresql_is_a_registry_like_any_other(
    postgres: str,
    make_spec: Callable[..., Any],
    make_rows: Callable[..., Any],
    make_version: Callable[..., Any],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Storing, registering, tags, aliases and finding work on PostgreSQL; a missing database is one line."""
    remote = Settings(home=settings.home, tracking_uri=postgres)
    monkeypatch.setattr(Settings, "tracking", property(lambda _self: postgres))
    registry = Registry(remote)
    spec = make_spec()
    version = make_version(spec, make_rows(100))
    registry.set_alias("toy", "champion", version.number)
    assert registry.champion("toy") == version
    assert registry.find("toy", version.tags.raw["decision_id"]) == version
    assert registry.by_alias("toy", "challenger") is None
    assert registry.lookup("toy", 99) is None
    registry.load(version, spec)
    with pytest.raises(RegistryError) as caught:
        probe(postgres.replace("evergreen_test", "nowhere"))
    assert "does not exist" in _line(caught)
    assert "hunter2" not in str(caught.value)
