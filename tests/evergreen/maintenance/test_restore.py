"""A backup is put back as it was, or not at all; what was there is never lost."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from errno import ENOSPC
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from evergreen import naming
from evergreen.data.observations import Observations
from evergreen.errors import BusyError, EvergreenError, RefusedError
from evergreen.ledger.promotions import Promotions
from evergreen.maintenance.backup import back_up
from evergreen.maintenance.backup_manifest import read_manifest
from evergreen.maintenance.restore import restore
from evergreen.registry.database_copy import read_registry
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.storage.leases import LakeLocks
from evergreen.storage.locks import open_locks
from tests.evergreen.maintenance.backups import NOW, Make, content, put_back, require_whole


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
