"""Registries and lakes that others share, PostgreSQL, and object stores: what is taken, and where it may go."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from evergreen import naming
from evergreen.errors import RefusedError, RegistryError
from evergreen.maintenance.backup import back_up
from evergreen.maintenance.restore import restore
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from tests.evergreen.maintenance.backups import NOW, Make, content, put_back, require_whole


@pytest.fixture
def shared(fill: Make, tmp_path: Path) -> dict[str, Settings]:
    """No environment and two with a name, on one MLflow and one lake, filled."""
    places = {"tracking_uri": f"sqlite:///{tmp_path / 'mlflow.db'}", "lake": str(tmp_path / "lake")}
    found = {
        name: Settings(home=tmp_path / f"home-{name}", environment=name, **places)  # type: ignore[arg-type]
        for name in ("", "dev", "prod")
    }
    for settings in found.values():
        fill(settings)
    return found


def test_of_what_is_shared_only_its_own_is_taken_and_replaced(
    shared: dict[str, Settings], spec: ModelSpec, tmp_path: Path
) -> None:
    """Nothing of another environment is in a backup, and a restore touches nothing of one."""
    for name in ("", "dev"):
        _require_own(shared, name, spec, tmp_path)
    before = content(tmp_path / "lake"), content(tmp_path / "home-dev")
    with pytest.raises(RegistryError, match="has entries of others as well"):
        put_back(shared["dev"], tmp_path / "of-dev", replace=True)
    assert (content(tmp_path / "lake"), content(tmp_path / "home-dev")) == before
    # Into the lake that all share, with a registry of its own: the others' folders stay where they are.
    alone = Settings(home=tmp_path / "alone", lake=shared[""].lake)
    others = content(tmp_path / "lake" / "environment-prod")
    result = restore(alone, tmp_path / "of-", replace=True, now=datetime.now(UTC) + timedelta(hours=1))
    assert [Path(moved.place).name for moved in result.aside] == ["toy"]
    assert content(tmp_path / "lake" / "environment-prod") == others
    require_whole(alone, spec)
    require_whole(shared["prod"], spec)


def _require_own(shared: dict[str, Settings], name: str, spec: ModelSpec, tmp_path: Path) -> None:
    """No table, file, version or byte of a name of another environment is in its backup; and it is whole by itself."""
    folder = tmp_path / f"of-{name}"
    manifest = back_up(shared[name], folder, landing=False, now=NOW)
    others = [other for other in shared if other not in ("", name)]
    assert manifest.models == ("toy",)
    assert not any(f"environment-{other}" in file for other in others for file in manifest.files)
    stored = (folder / naming.BACKUP_DATABASE).read_bytes()
    assert not any(f"{other}-toy".encode() in stored for other in others)
    assert any("What others have in the same model registry" in line for line in manifest.left_out)
    there = Settings(home=tmp_path / f"there-{name}", environment=name)
    put_back(there, folder)
    require_whole(there, spec)
    with contextlib.closing(sqlite3.connect(there.root / "mlflow.db")) as database:
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (1,)


def test_without_the_programs_of_postgresql(filled: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says which program is missing and how to get it; no password is in it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = Settings(home=filled.home, tracking_uri=SecretStr("postgresql+psycopg://me:s3cret@127.0.0.1:1/x"))
    with pytest.raises(RegistryError, match="pg_dump is not installed here") as refused:
        back_up(settings, tmp_path / "again", landing=False, now=NOW)
    assert "postgresql-client" in refused.value.fix
    assert "s3cret" not in str(refused.value)


@pytest.fixture
def databases() -> Iterator[list[str]]:
    """Two empty databases of a real PostgreSQL, by their URLs."""
    psycopg = pytest.importorskip("psycopg")
    if shutil.which("pg_dump") is None or shutil.which("pg_restore") is None:
        pytest.skip("pg_dump and pg_restore are not installed")
    try:
        connection = psycopg.connect("host=127.0.0.1 user=postgres dbname=postgres connect_timeout=3", autocommit=True)
    except psycopg.OperationalError:
        pytest.skip("no PostgreSQL answers at 127.0.0.1:5432 to the user postgres")
    names = [f"test_{uuid4().hex[:12]}" for _ in range(2)]
    with contextlib.closing(connection):
        try:
            for name in names:
                connection.execute(f"CREATE DATABASE {name}")
            yield [f"postgresql+psycopg://postgres@127.0.0.1:5432/{name}" for name in names]
        finally:
            for name in names:
                connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.mark.slow
def test_a_registry_in_postgresql(
    databases: list[str], fill: Make, spec: ModelSpec, tmp_path: Path, settings: Settings
) -> None:
    """It goes into another empty database; one that has tables already is refused, and so is a shared one."""
    here = Settings(home=settings.home, tracking_uri=SecretStr(databases[0]))
    fill(here)
    assert back_up(here, tmp_path / "again", landing=False, now=NOW).registry == "postgresql"
    with pytest.raises(RegistryError, match="has the tables of a model registry already"):
        put_back(here, tmp_path / "again", replace=True)
    there = Settings(home=tmp_path / "there", tracking_uri=SecretStr(databases[1]))
    assert put_back(there, tmp_path / "again").places > 0
    shutil.rmtree(here.root)
    require_whole(there, spec)
    dev = Settings(home=tmp_path / "dev", tracking_uri=SecretStr(databases[1]), environment="dev")
    with pytest.raises(RegistryError, match="has entries of others as well: toy"):
        back_up(dev, tmp_path / "of-dev", landing=False, now=NOW)


@pytest.mark.slow
@pytest.mark.usefixtures("s3")
def test_an_object_store_is_copied_and_filled(
    fill: Make, spec: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lake, files of versions and reports go from a bucket to another prefix, which has to be empty."""

    def places(folder: str) -> dict[str, Any]:
        return {name: f"s3://shop/{folder}/{name}" for name in ("lake", "artifacts", "reports")}

    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    here = Settings(home=tmp_path / "here", **places("bucket-a"))
    fill(here)
    manifest = back_up(here, tmp_path / "again", landing=False, now=NOW)
    assert manifest.damaged == ()
    assert "toy/leases" not in manifest.tables
    there = Settings(home=tmp_path / "there", **places("bucket-b"))
    put_back(there, tmp_path / "again")
    require_whole(there, spec)
    again = Settings(home=tmp_path / "again", **places("bucket-b"))
    with pytest.raises(RefusedError, match="is not moved aside"):
        put_back(again, tmp_path / "again", replace=True)
