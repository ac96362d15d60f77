"""The cache key of ingest: the same as long as nothing that matters changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from evergreen.errors import BusyError, DataError
from evergreen.registry.client import Registry
from evergreen.runs.context import RunContext
from evergreen.settings import Settings
from evergreen.sources.folder import Folder
from evergreen.spec.data import Labels
from tasks import passing, passing_or_busy
from tasks.ingest import ingest, source_contract_and_code

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Make = Callable[..., Any]


@pytest.fixture
def key(make_spec: Make, settings: Settings) -> Callable[..., str]:
    """The cache key for a folder of files and a model file's hash."""

    def of(spec_hash: str = "one", **changes: Any) -> str:
        spec = make_spec(source=Folder("toy"), **changes)
        return source_contract_and_code(
            None, {"context": RunContext(spec, spec_hash, settings, Registry(settings), NOW)}
        )

    return of


def test_the_key_changes_with_source_contract_and_code(key: Callable[..., str], settings: Settings) -> None:
    """A new file, a changed cell, another contract, model file or table each give another key; nothing else does."""
    folder = settings.landing / "toy"
    folder.mkdir(parents=True)
    seen = [key()]
    assert key() == seen[0]
    file: Path = folder / "a.csv"
    pd.DataFrame({"x": [1, 2]}).to_csv(file, index=False)
    seen.append(key())
    file.write_text(file.read_text().replace("2", "3"))
    seen.append(key())
    seen.append(key(spec_hash="two"))
    seen.append(key(timezone="Europe/Paris"))
    seen.append(key(name="other"))
    assert len(set(seen)) == len(seen)
    assert key() == seen[2]


def test_the_key_changes_with_the_labels(make_spec: Make, settings: Settings) -> None:
    """A new file of labels, or another way to read them, gives another key."""

    def key(**changes: Any) -> str:
        spec = make_spec(source=Folder("toy"), labels=Labels(source=Folder("labels"), **changes))
        return source_contract_and_code(None, {"context": RunContext(spec, "one", settings, Registry(settings), NOW)})

    folder = settings.landing / "labels"
    folder.mkdir(parents=True)
    seen = [key()]
    pd.DataFrame({"id": [1], "y": [2.0]}).to_csv(folder / "a.csv", index=False)
    seen += [key(), key(time="known"), key(prepare=lambda frame: frame)]
    assert len(set(seen)) == 4
    assert key() == seen[1]


class _State:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def result(self, *, raise_on_failure: bool) -> Exception:
        assert not raise_on_failure
        return self.error


def test_what_a_person_has_to_mend_is_not_tried_again() -> None:
    """Bad input fails at once; an outage is worth another try."""
    assert not passing(None, None, _State(DataError("no rows")))
    assert passing(None, None, _State(OSError("connection reset")))
    assert not passing_or_busy(None, None, _State(DataError("no rows")))
    assert passing_or_busy(None, None, _State(BusyError("Another run wrote at the same time.")))
    assert ingest.retry_condition_fn is passing_or_busy
