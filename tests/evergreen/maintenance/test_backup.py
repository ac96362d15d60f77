"""What a backup holds, says of itself, and refuses."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
from pathlib import Path

import pytest

from evergreen import naming
from evergreen.errors import EvergreenError
from evergreen.maintenance.backup import back_up
from evergreen.maintenance.backup_manifest import read_manifest, verify
from evergreen.registry.client import Registry
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from tests.evergreen.maintenance.backups import NOW, Make, content, put_back, require_whole


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


def test_a_backup_can_be_copied_by_any_program(copied: Path, tmp_path: Path) -> None:
    """It is files: a copy without their times and modes is verified like the backup itself."""
    subprocess.run(["cp", "-r", str(copied), str(tmp_path / "elsewhere")], check=True)
    verify(tmp_path / "elsewhere", read_manifest(tmp_path / "elsewhere"))
