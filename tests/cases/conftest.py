"""A place for one case: files that land, the model file that `evergreen new` writes from them, and what was learned."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import models
from evergreen.data.observations import Observations
from evergreen.ingest.ingest import ingest
from evergreen.ingest.landing import Landing
from evergreen.ingest.quarantine import quarantine_table
from evergreen.model_files.new import scaffold
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@dataclass
class Place:
    """The folders of a case."""

    root: Path
    name: str = "case"

    def __post_init__(self) -> None:
        for folder in ("in", "models"):
            (self.root / folder).mkdir()
        self.settings = Settings(home=self.root / "home", models=self.root / "models")

    def drop(self, name: str, content: str | bytes) -> Path:
        """A file that has been in the landing folder for an hour."""
        file = self.root / "in" / name
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        os.utime(file, (1, 1))
        return file

    def new(self, file: Path, target: str, **options: Any) -> tuple[str, ...]:
        """Write the model file, let it take every file of the folder; the notes."""
        made = scaffold(self.name, file, self.settings.models, target=target, **options)
        made.path.write_text(re.sub(r'pattern="[^"]*"', 'pattern="*"', made.path.read_text()))
        return made.notes

    @property
    def spec(self) -> ModelSpec:
        return models.load(self.name, self.settings.models).spec

    def ingest(self) -> Landing:
        return ingest(self.spec, self.settings, now=NOW)

    def rows(self) -> pd.DataFrame:
        """The observations."""
        observations = Observations(self.settings.lake_uri, self.spec)
        return observations.frame(observations.snapshot().version)

    def reasons(self) -> list[str]:
        """Why rows and batches are in quarantine."""
        found: list[str] = quarantine_table(self.settings.lake_uri, self.name).read(["reason"])["reason"].tolist()
        return found


def rejected(landing: Landing) -> int:
    """How many rows of all batches were rejected."""
    return sum(batch.rejected for batch in landing.batches)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)
