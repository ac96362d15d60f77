"""Where a retraining is fitted changes nothing of what it decides."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evergreen.errors import EvergreenError
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Promotions
from evergreen.ledger.timeline import KINDS
from evergreen.registry.client import Registry
from evergreen.settings import PROJECT, load_settings
from evergreen.training.candidate import SEARCH
from tests.dask_processes import dask_processes

MODEL = "parts"
pytestmark = pytest.mark.usefixtures("in_process")


@pytest.fixture(autouse=True)
def _models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERGREEN_MODELS", str(PROJECT / "tests" / "dask_models"))


def _land(make_rows: Callable[..., Any], rows: int, start: int = 0) -> None:
    folder = load_settings().landing / MODEL
    folder.mkdir(parents=True, exist_ok=True)
    frame = make_rows(rows, start=start)
    frame.assign(y=frame["y"] + 2 * frame["x"].abs()).to_csv(folder / f"{start:06}.csv", index=False)


def _decided(make_rows: Callable[..., Any], canonical: Callable[..., str]) -> tuple[Any, ...]:
    """Two retrainings: what was decided, and of every version its state, its search and its judgement."""
    from flows.retrain import retrain

    for rows, start, reason, at in ((400, 0, "first", "2026-01-01"), (200, 400, "schedule", "2026-01-02")):
        _land(make_rows, rows, start)
        retrain(MODEL, reason=reason, at=f"{at}T00:00:00Z")
    settings = load_settings()
    decided = canonical(Decisions(settings.lake_uri, MODEL).select(KINDS), Promotions(settings.lake_uri, MODEL).done())
    registry = Registry(settings)
    versions = registry.versions(MODEL)
    searches = [(registry.files(version) / SEARCH).read_bytes() for version in versions]
    return decided, [version.tags.raw["state_sha256"] for version in versions], searches


@pytest.mark.slow
def test_threads_a_cluster_of_its_own_and_another_one_decide_the_same(
    home: Path,
    tmp_path: Path,
    empty_database: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_rows: Callable[..., Any],
    canonical: Callable[..., str],
) -> None:
    """Byte for byte: decisions with their figures, moves, the fitted pipelines and the values of the search."""
    pytest.importorskip("distributed")

    def decided(name: str, **variables: str) -> tuple[Any, ...]:
        place = tmp_path / name
        place.mkdir()
        shutil.copy(empty_database, place / "mlflow.db")
        with monkeypatch.context() as patch:
            patch.setenv("EVERGREEN_HOME", str(place))
            for variable, value in variables.items():
                patch.setenv(f"EVERGREEN_{variable}", value)
            return _decided(make_rows, canonical)

    here = decided("threads")
    assert here[0].count('"promoted"') == 2, here[0]
    assert decided("own", RUNNER="dask", WORKERS="2") == here
    with dask_processes(tmp_path / "dask") as address:
        assert decided("another", RUNNER="dask", DASK=address) == here


def test_an_unreachable_scheduler_is_one_line_and_frees_the_lock(
    home: Path, monkeypatch: pytest.MonkeyPatch, make_rows: Callable[..., Any]
) -> None:
    """The run ends with what to start; the next one finds the model free and trains it."""
    from flows.retrain import retrain

    pytest.importorskip("distributed")
    _land(make_rows, 300)
    with monkeypatch.context() as patch:
        patch.setenv("EVERGREEN_RUNNER", "dask")
        patch.setenv("EVERGREEN_DASK", "tcp://127.0.0.1:1")
        with pytest.raises(EvergreenError, match=r"The Dask scheduler at 127\.0\.0\.1:1 does not answer"):
            retrain(MODEL)
    assert retrain(MODEL).outcome == "promoted"
