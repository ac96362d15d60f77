"""A backup is of one moment, holds what an environment owns, and is put back as it was or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from errno import ENOSPC
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import pytest
from pydantic import SecretStr

from evergreen import naming
from evergreen.data.observations import Observations
from evergreen.errors import BusyError, EvergreenError, RefusedError, RegistryError
from evergreen.ledger.promotions import Promotions
from evergreen.maintenance import backup_moment, delta_files
from evergreen.maintenance.backup import back_up
from evergreen.maintenance.backup_manifest import read_manifest, verify
from evergreen.maintenance.backup_moment import take_moment
from evergreen.maintenance.restore import Restored, restore
from evergreen.registry import maintenance
from evergreen.registry.client import Registry
from evergreen.registry.database_copy import read_registry
from evergreen.registry.promotion import promote, require_consistent
from evergreen.registry.version import CLEANED, Version
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.storage.file_tree import FileTree
from evergreen.storage.leases import LakeLocks
from evergreen.storage.locks import open_locks
from evergreen.verdicts import Verdict

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
Make = Callable[..., Any]


@pytest.fixture
def spec(make_spec: Make) -> ModelSpec:
    found: ModelSpec = make_spec()
    return found


@pytest.fixture
def fill(spec: ModelSpec, make_rows: Make, make_version: Make, empty_database: Path) -> Make:
    """Give an environment rows, a champion, a report and a landed file: fill(settings)."""

    def make(settings: Settings) -> Version:
        if settings.tracking.startswith("sqlite"):
            database = Path(settings.tracking.removeprefix("sqlite:///"))
            database.parent.mkdir(parents=True, exist_ok=True)
            if not database.exists():
                shutil.copy(empty_database, database)
        registry = Registry(settings)
        version = registry.conclude(make_version(spec, make_rows(100), home=settings), Verdict.PASS, "", {})
        promotions = Promotions(settings.lake_uri, "toy")
        with open_locks(settings).hold("toy", "promotion", wait=0, now=NOW) as lock:
            del lock
        promote(
            spec, registry, promotions, version, reason="test", by="retrain", now=NOW, lock=contextlib.nullcontext()
        )
        reports = FileTree(settings.report_place, "EVERGREEN_REPORTS")
        settings.landing.mkdir(parents=True, exist_ok=True)
        (settings.landing / "old.csv").write_text("id,x\n1,2\n")
        reports.put(settings.landing / "old.csv", "reports/toy/d1/report.html")
        return version

    return make


@pytest.fixture
def copied(fill: Make, once: Callable[[str, Callable[[Path], None]], Path], tmp_path: Path) -> Path:
    """A copy of a backup of a filled home, which is made once."""

    def make(folder: Path) -> None:
        home = Settings(home=tmp_path / "made")
        fill(home)
        back_up(home, folder / "backup", landing=True, now=NOW)
        shutil.rmtree(home.root)

    shutil.copytree(once("backup-of-toy", make) / "backup", tmp_path / "backup")
    return tmp_path / "backup"


@pytest.fixture
def filled(copied: Path, settings: Settings) -> Settings:
    """The test's own home, filled from the backup."""
    put_back(settings, copied)
    return settings


def put_back(settings: Settings, folder: Path, *, replace: bool = False) -> Restored:
    return restore(settings, folder, replace=replace, now=NOW)


def content(folder: Path) -> dict[str, str]:
    """Every file below a folder, by its hash."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def require_whole(settings: Settings, spec: ModelSpec, number: int = 1) -> None:
    """The champion loads, its files are what was registered, and the log, the alias and the rows agree."""
    registry, promotions = Registry(settings), Promotions(settings.lake_uri, "toy")
    champion = registry.champion("toy")
    assert champion is not None
    assert champion.number == number
    require_consistent(registry, champion, promotions)
    registry.require_intact(champion, spec)
    assert registry.files(champion).is_dir()
    observations = Observations(settings.lake_uri, spec)
    assert observations.measure(observations.snapshot().version) == observations.snapshot().digest
    assert delta_files.damage(observations.table, observations.version(), read=True) == ()


def test_into_another_home(copied: Path, filled: Settings, spec: ModelSpec, tmp_path: Path) -> None:
    """All of it is there, the registry looks for its files in the new home, and the old one is not needed."""
    there = Settings(home=tmp_path / "there")
    result = put_back(there, copied)
    shutil.rmtree(filled.root)
    require_whole(there, spec)
    assert (result.tables, result.aside, result.damaged) == (2, (), ())
    assert (there.root / "reports" / "toy" / "d1" / "report.html").read_text() == "id,x\n1,2\n"
    assert (there.landing / "old.csv").exists()
    assert Promotions(there.lake_uri, "toy").done()[0].reason == "test"


def test_a_backup_changes_nothing_that_it_copies(filled: Settings, tmp_path: Path) -> None:
    """Not a byte of the home is another one, and no lock or table was made in it."""
    before = content(filled.root)
    back_up(filled, tmp_path / "again", landing=False, now=NOW)
    assert content(filled.root) == before


def test_what_it_says_of_itself(filled: Settings, tmp_path: Path) -> None:
    """Environment, versions of tables and libraries, what the registry is and what is not in it."""
    copied = tmp_path / "again"
    back_up(filled, copied, landing=True, now=NOW)
    manifest = read_manifest(copied)
    assert (manifest.environment, manifest.home, manifest.registry) == ("", str(filled.root), "sqlite")
    assert manifest.models == ("toy",)
    assert set(manifest.tables) == {"toy/observations", "toy/promotions"}
    assert {"evergreen", "mlflow", "deltalake"} <= set(manifest.versions)
    assert (manifest.left_out, manifest.damaged) == ((), ())
    assert manifest.bytes == sum(path.stat().st_size for path in copied.rglob("*") if path.is_file()) - sum(
        (copied / name).stat().st_size for name in (naming.BACKUP_MANIFEST, naming.BACKUP_SEAL)
    )


def _flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    stored = bytearray(path.read_bytes())
    stored[len(stored) // 2] ^= 1
    path.write_bytes(bytes(stored))


DAMAGES: dict[str, Callable[[Path], None]] = {
    "rows": lambda folder: _flip(next(folder.glob("lake/toy/observations/*.parquet"))),
    "log": lambda folder: _flip(folder / "lake/toy/promotions/_delta_log/00000000000000000001.json"),
    "registry": lambda folder: _flip(folder / naming.BACKUP_DATABASE),
    "pipeline": lambda folder: _flip(next(folder.glob("artifacts/toy/**/model.skops"))),
    "manifest": lambda folder: _flip(folder / naming.BACKUP_MANIFEST),
    "seal": lambda folder: _flip(folder / naming.BACKUP_SEAL),
    "missing": lambda folder: next(folder.glob("artifacts/toy/**/probe.parquet")).unlink(),
    "no manifest": lambda folder: (folder / naming.BACKUP_MANIFEST).unlink(),
    "cut off": lambda folder: next(folder.glob("lake/toy/observations/*.parquet")).write_bytes(b"PAR1"),
    "added": lambda folder: (folder / "lake" / "toy" / "observations" / "planted.parquet").write_bytes(b"PAR1"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_backup_is_refused_before_anything_is_changed(
    damage: Callable[[Path], None], copied: Path, filled: Settings
) -> None:
    """One bit changed, a file missing, cut off or added: the line says which backup, and the target stays as it was."""
    damage(copied)
    before = content(filled.root)
    with pytest.raises(EvergreenError, match=r"is damaged: .* Nothing was changed|is no backup"):
        put_back(filled, copied, replace=True)
    assert content(filled.root) == before


def test_what_is_there_is_replaced_only_when_asked_and_never_lost(
    copied: Path, filled: Settings, spec: ModelSpec, make_rows: Make, make_version: Make
) -> None:
    """The line says what would go; with --yes it lies beside its place, byte for byte."""
    make_version(spec, make_rows(50, start=100), "second")
    before = content(filled.root)
    with pytest.raises(RefusedError, match="2 versions in the model registry") as refused:
        put_back(filled, copied)
    assert "1 model in " in refused.value.what
    assert content(filled.root) == before
    result = put_back(filled, copied, replace=True)
    # MLflow of this process has the former file open; other processes have not.
    assert [version.number for version in read_registry(filled).versions] == [1]
    aside = {moved.place: Path(moved.aside) for moved in result.aside}
    assert all(path.exists() for path in aside.values())
    lost = dict(before)
    for place, path in aside.items():
        name = Path(place).relative_to(filled.root).as_posix()
        moved = content(path) if path.is_dir() else {"": content(path.parent)[path.name]}
        for inside, digest in moved.items():
            assert lost.pop(f"{name}/{inside}".rstrip("/")) == digest
    assert {name for name in lost if not name.startswith("locks/")} == set()


def test_a_home_that_was_only_opened_is_empty(
    copied: Path, spec: ModelSpec, tmp_path: Path, empty_database: Path
) -> None:
    """A registry without versions, which any command makes, is no reason to ask; it is moved aside all the same."""
    there = Settings(home=tmp_path / "there")
    there.root.mkdir()
    shutil.copy(empty_database, there.root / "mlflow.db")
    assert len(put_back(there, copied).aside) == 1
    require_whole(there, spec)


def test_a_run_that_writes_to_the_target_is_not_disturbed(copied: Path, filled: Settings) -> None:
    """While a model is trained there, by a lock of this machine or a lease of a lake, nothing is replaced."""
    with (
        open_locks(filled).hold("toy", "retrain", wait=0, now=NOW),
        pytest.raises(BusyError, match="Another retrain of toy is running"),
    ):
        put_back(filled, copied, replace=True)
    shared = Settings(home=filled.home, lake=filled.lake_uri)
    before = content(filled.root / "artifacts")
    with (
        LakeLocks(shared.lake_uri).hold("toy", "score", wait=0, now=NOW),
        pytest.raises(BusyError, match="A score of toy is running"),
    ):
        restore(shared, copied, replace=True, now=datetime.now(UTC))
    assert content(filled.root / "artifacts") == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"environment": "dev"}, "of the environment nameless, and this one is dev"),
        ({"tracking_uri": SecretStr("postgresql+psycopg://me:secret@127.0.0.1:1/x")}, "is an SQLite file, and"),
        ({"tracking_uri": SecretStr("http://127.0.0.1:1")}, "behind the MLflow server"),
        ({"tracking_uri": SecretStr("mysql://me:secret@127.0.0.1:1/x")}, "neither SQLite nor PostgreSQL"),
    ],
)
def test_where_it_cannot_go(change: dict[str, Any], message: str, copied: Path, tmp_path: Path) -> None:
    """Another environment, another kind of database, a server: one line, without a password."""
    there = Settings(home=tmp_path / "there", **change)
    with pytest.raises(EvergreenError, match=message) as refused:
        put_back(there, copied)
    assert "secret" not in str(refused.value)
    assert not there.root.exists()


def test_folders_that_no_backup_goes_to(filled: Settings, tmp_path: Path) -> None:
    """One with something in it, a file, and one inside of what is backed up."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").touch()
    for folder, message in (
        (tmp_path / "full", "is not empty"),
        (tmp_path / "full" / "note", "is a file"),
        (Path(filled.lake_uri) / "backup", "which is backed up"),
        (filled.landing / "backup", "which is backed up"),
    ):
        with pytest.raises(EvergreenError, match=message):
            back_up(filled, folder, landing=False, now=NOW)
    assert (tmp_path / "full" / "note").exists()


def test_nothing_to_back_up(settings: Settings, tmp_path: Path) -> None:
    """An empty home is refused, and neither it nor the backup's folder has anything in it."""
    with pytest.raises(EvergreenError, match="There is nothing to back up"):
        back_up(settings, tmp_path / "backup", landing=False, now=NOW)
    assert content(tmp_path) == {}


def test_what_was_damaged_before_is_said_and_does_not_stand_in_the_way(
    filled: Settings, spec: ModelSpec, make_rows: Make, make_version: Make, tmp_path: Path
) -> None:
    """A version whose file somebody deleted: the rest is copied, and backup and restore name it."""
    lost = make_version(spec, make_rows(50, start=100), "second")
    (Registry(filled).stored.pipeline_folder(lost) / "model.skops").unlink()
    manifest = back_up(filled, tmp_path / "again", landing=False, now=NOW)
    assert manifest.damaged == ("toy version 2: model.skops is missing.",)
    there = Settings(home=tmp_path / "there")
    assert put_back(there, tmp_path / "again").damaged == manifest.damaged
    require_whole(there, spec)


def test_half_a_landing_file_is_left_out(filled: Settings, tmp_path: Path) -> None:
    """A file whose last line is not complete would land as a whole one after a restore; a database is copied whole."""
    (filled.landing / "half.csv").write_text("id,x\n1,")
    with contextlib.closing(sqlite3.connect(filled.landing / "rows.db")) as database, database:
        database.execute("CREATE TABLE rows (id INTEGER)")
    manifest = back_up(filled, tmp_path / "again", landing=True, now=NOW)
    assert manifest.left_out == ("1 file of landing folders that may still be written to.",)
    assert set(manifest.below(naming.BACKUP_LANDING)) == {"old.csv", "rows.db"}


class Interrupted:
    """Copies the registry, and lets somebody write to a table just before, so many times."""

    def __init__(self, write: Callable[[int], None], times: int) -> None:
        self.write, self.times, self.calls = write, times, 0
        self.copy = backup_moment._copy_registry

    def __call__(self, settings: Settings, folder: Path) -> Any:
        self.calls += 1
        if self.calls <= self.times:
            self.write(self.calls)
        return self.copy(settings, folder)


@pytest.fixture
def writes(spec: ModelSpec, make_rows: Make, filled: Settings) -> Callable[[int], None]:
    def land(number: int) -> None:
        rows: pd.DataFrame = make_rows(5, start=1000 * number)
        Observations(filled.lake_uri, spec).land(rows, f"b{number}", f"b{number}", now=NOW)

    return land


def test_a_table_that_is_written_meanwhile_is_looked_at_again(
    filled: Settings, tmp_path: Path, writes: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The versions that are taken are those that stood when the registry was copied."""
    interrupted, pauses = Interrupted(writes, 2), list[float]()
    monkeypatch.setattr(backup_moment, "_copy_registry", interrupted)
    lake = FileTree(filled.lake_uri, "lake")
    before = backup_moment._versions(lake, lambda _name: True)["toy/observations"]
    moment = take_moment(filled, lake, tmp_path, wait=60, sleep=pauses.append)
    assert (interrupted.calls, len(pauses)) == (3, 2)
    assert moment.tables["toy/observations"] == before + 2


def test_tables_that_are_never_still_are_told_of(
    filled: Settings, tmp_path: Path, writes: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not try for ever, and leaves no folder that looks like a backup."""
    monkeypatch.setattr(backup_moment, "_copy_registry", Interrupted(writes, 100))
    with pytest.raises(BusyError, match="written without a pause"):
        back_up(filled, tmp_path / "again", landing=False, now=NOW, wait=0)
    assert content(tmp_path / "again") == {}


def test_rows_that_land_after_the_moment_are_not_in_it(
    filled: Settings, tmp_path: Path, writes: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, spec: ModelSpec
) -> None:
    """A commit that comes between the moment and the copy of the files leaves no trace in the copy."""
    taken = backup_moment.take_moment

    def write_then(*words: Any, **more: Any) -> Any:
        moment = taken(*words, **more)
        writes(1)
        return moment

    monkeypatch.setattr("evergreen.maintenance.backup.take_moment", write_then)
    back_up(filled, tmp_path / "again", landing=False, now=NOW)
    there = Settings(home=tmp_path / "there")
    put_back(there, tmp_path / "again")
    assert (
        Observations(there.lake_uri, spec).snapshot().rows,
        Observations(filled.lake_uri, spec).snapshot().rows,
    ) == (*(100, 105),)


def _clean_version(settings: Settings, spec: ModelSpec) -> None:
    registry = Registry(settings)
    version = registry.get("toy", 1)
    registry.tag(version, CLEANED, NOW.isoformat())
    for place in maintenance.places(registry, version):
        maintenance.discard(registry, place)


def _clean_table(settings: Settings, spec: ModelSpec) -> None:
    """A commit replaces every row, and the files of the former version are deleted."""
    table = Observations(settings.lake_uri, spec).table
    old = set(Path(table.uri).glob("*.parquet"))
    table.replace(table.read(), "again", {}, where="id >= 0")
    for path in old:
        path.unlink()


@pytest.mark.parametrize("clean", [_clean_version, _clean_table])
def test_what_a_cleaning_deletes_meanwhile_is_missed(
    clean: Callable[[Settings, ModelSpec], None],
    filled: Settings,
    tmp_path: Path,
    spec: ModelSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A backup that names files which are not in it is not kept."""
    taken = backup_moment.take_moment

    def clean_then(*words: Any, **more: Any) -> Any:
        moment = taken(*words, **more)
        clean(filled, spec)
        return moment

    monkeypatch.setattr("evergreen.maintenance.backup.take_moment", clean_then)
    with pytest.raises(BusyError, match="were deleted while they were copied"):
        back_up(filled, tmp_path / "again", landing=False, now=NOW)
    assert content(tmp_path / "again") == {}


def _without_locks(folder: Path) -> dict[str, str]:
    return {name: digest for name, digest in content(folder).items() if not name.startswith("locks/")}


@pytest.mark.parametrize("files", [0, 3, 12])
def test_a_full_disk_leaves_the_target_as_it_was(
    files: int, copied: Path, filled: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many files; nothing was moved aside, and no half copy is left."""
    before, real, left = _without_locks(filled.root), shutil.copyfile, [files]

    def copy(source: Path, target: Path) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(ENOSPC, "No space left on device", str(target))
        return real(source, target)

    monkeypatch.setattr("evergreen.storage.file_tree.shutil.copyfile", copy)
    with pytest.raises(EvergreenError, match="No space left on device"):
        put_back(filled, copied, replace=True)
    assert _without_locks(filled.root) == before
    assert list(filled.root.glob("*.before-restore-*")) == list(filled.root.glob(f"{naming.PART_PREFIX}*")) == []


def test_a_manifest_that_names_files_outside_of_the_backup(copied: Path) -> None:
    """Also where its hash is right."""
    text = (copied / naming.BACKUP_MANIFEST).read_text().replace('"landing/old.csv"', '"../old.csv"')
    (copied / naming.BACKUP_MANIFEST).write_text(text)
    (copied / naming.BACKUP_SEAL).write_text(hashlib.sha256(text.encode()).hexdigest())
    with pytest.raises(EvergreenError, match="names files outside of it"):
        read_manifest(copied)


@pytest.mark.slow
def test_former_versions_of_a_table_can_be_read_after_a_restore(
    filled: Settings, tmp_path: Path, spec: ModelSpec, make_rows: Make
) -> None:
    """Rows that were replaced since are what a version was trained on; so are they past a checkpoint of the log."""
    observations = Observations(filled.lake_uri, spec)
    first = observations.version()
    for number in range(25):
        observations.land(make_rows(10, seed=number + 1), f"again{number}", f"again{number}", now=NOW)
    then = observations.measure(first)
    back_up(filled, tmp_path / "again", landing=False, now=NOW)
    there = Settings(home=tmp_path / "there")
    put_back(there, tmp_path / "again")
    shutil.rmtree(filled.root)
    restored = Observations(there.lake_uri, spec)
    assert list(Path(there.lake_uri, "toy", "observations", "_delta_log").glob("*.checkpoint.parquet"))
    assert restored.measure(first) == then
    assert restored.snapshot().rows == 100


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


def test_a_backup_can_be_copied_by_any_program(copied: Path, tmp_path: Path) -> None:
    """It is files: a copy without their times and modes is verified like the backup itself."""
    subprocess.run(["cp", "-r", str(copied), str(tmp_path / "elsewhere")], check=True)
    verify(tmp_path / "elsewhere", read_manifest(tmp_path / "elsewhere"))
