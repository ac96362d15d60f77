"""What tests of backups ask of a home and of a backup."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evergreen.data.observations import Observations
from evergreen.ledger.promotions import Promotions
from evergreen.maintenance import delta_files
from evergreen.maintenance.restore import Restored, restore
from evergreen.registry.client import Registry
from evergreen.registry.promotion import require_consistent
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


Make = Callable[..., Any]


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
