"""A home that is filled, and a backup of it, which is made once."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from evergreen.ledger.promotions import Promotions
from evergreen.maintenance.backup import back_up
from evergreen.registry.client import Registry
from evergreen.registry.promotion import promote
from evergreen.registry.version import Version
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.storage.file_tree import FileTree
from evergreen.storage.locks import open_locks
from evergreen.verdicts import Verdict
from tests.evergreen.maintenance.backups import NOW, Make, put_back


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
