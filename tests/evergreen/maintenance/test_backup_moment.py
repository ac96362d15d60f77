"""A backup is of one moment, also while tables are written and cleaned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from evergreen.data.observations import Observations
from evergreen.errors import BusyError
from evergreen.maintenance import backup_moment
from evergreen.maintenance.backup import back_up
from evergreen.maintenance.backup_moment import take_moment
from evergreen.registry import maintenance
from evergreen.registry.client import Registry
from evergreen.registry.version import CLEANED
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.storage.file_tree import FileTree
from tests.evergreen.maintenance.backups import NOW, Make, content, put_back


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
