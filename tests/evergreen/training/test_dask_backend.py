"""A fit on the workers of a cluster is the fit of one process, and what goes wrong with them is said in a line."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import models
from evergreen.errors import EvergreenError, ModelFileError
from evergreen.registry.artifacts import packed, state_sha256
from evergreen.settings import PROJECT
from evergreen.spec.model import ModelSpec
from evergreen.training.fit import Fitted, fit
from evergreen.training.predict import predict
from evergreen.training.workers import FitWorkers, has_parts
from tests.dask_processes import dask_processes

MODELS = PROJECT / "tests" / "dask_models"
MakeRows = Callable[..., pd.DataFrame]


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A scheduler with two workers, each a process of its own."""
    pytest.importorskip("distributed")
    with dask_processes(tmp_path_factory.mktemp("dask")) as address:
        yield address


def _workers(address: str, loaded: models.LoadedModel, folder: Path = MODELS) -> FitWorkers:
    from evergreen.training.dask_cluster import open_cluster

    read_model = partial(models.load_same, loaded.spec.name, folder, loaded.hash, loaded.recipe)
    return FitWorkers(partial(open_cluster, address, 2), read_model)


def _state(spec: ModelSpec, fitted: Fitted, folder: Path) -> str:
    file = folder / "pipeline.skops"
    file.write_bytes(packed(fitted.pipeline, spec.file, spec.trusted))
    return state_sha256(file)


@pytest.fixture
def rows(make_rows: MakeRows) -> pd.DataFrame:
    """Enough for arrays that are brought to the workers once."""
    frame = make_rows(12_000)
    return frame.assign(at=frame["at"].dt.tz_localize("UTC"), y=frame["y"] + 2 * frame["x"].abs())


@pytest.mark.slow
def test_workers_fit_what_one_process_fits(scheduler: str, rows: pd.DataFrame, tmp_path: Path) -> None:
    """The values of the search, what it chose and the fitted pipeline are the same, byte by byte; so is progress."""
    loaded = models.load("parts", MODELS)
    weight = np.linspace(0.5, 1.0, len(rows))
    here = fit(loaded.spec, rows, weight)
    seen: list[tuple[int, int]] = []
    with _workers(scheduler, loaded) as workers:
        there = fit(loaded.spec, rows, weight, workers=workers, progress=lambda *done: seen.append(done))
        assert len(_logs_of_work(workers)) == 2, "each worker did a part of it"
    assert seen == [(number, 12) for number in range(1, 13)]
    assert (there.tried, there.params, there.value) == (here.tried, here.params, here.value)
    assert _state(loaded.spec, there, tmp_path) == _state(loaded.spec, here, tmp_path)


def _logs_of_work(workers: FitWorkers) -> set[str]:
    """The workers that read the model file."""
    client = workers.backend.cluster.client

    def has_read() -> bool:
        import models

        return bool(models._loaded_same)

    return {name for name, read in client.run(has_read).items() if read}


SEARCHED = """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingGridSearchCV

    forest = RandomForestRegressor(n_estimators=5, random_state=seed)
    searched = SEARCH
    return Pipeline([("columns", columns), ("model", searched)])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "search",
    [
        'GridSearchCV(forest, {"max_depth": [2, 4, 6]}, cv=3)',
        'RandomizedSearchCV(forest, {"max_depth": [2, 4, 6]}, n_iter=2, cv=3, random_state=seed, n_jobs=-1)',
        'HalvingGridSearchCV(forest, {"max_depth": [2, 4]}, cv=3, random_state=seed)',
    ],
)
def test_searches_of_scikit_learn_choose_the_same(
    search: str, scheduler: str, rows: pd.DataFrame, tmp_path: Path
) -> None:
    """Their scores and predictions are the same; `cv_results_` has times, which no two fits share."""
    text = (MODELS / "parts.py").read_text()
    begin, end = text.index("    both = VotingRegressor"), text.index("\n\nMODEL = ")
    text = text[:begin] + SEARCHED.replace("SEARCH", search).strip("\n") + "\n" + text[end:]
    text = text.replace("    search=Search(grid=GRID, folds=3),\n", "")
    (tmp_path / "parts.py").write_text(text)
    loaded = models.load("parts", tmp_path)
    here = fit(loaded.spec, rows, None)
    with _workers(scheduler, loaded, tmp_path) as workers:
        there = fit(loaded.spec, rows, None, workers=workers)
        assert _logs_of_work(workers)
    mine, theirs = (one.pipeline.steps[-1][1] for one in (here, there))
    chosen, also_chosen = mine.best_estimator_, theirs.best_estimator_
    assert mine.best_params_ == theirs.best_params_
    for name, values in mine.cv_results_.items():
        if "time" not in name:
            assert np.array_equal(values, theirs.cv_results_[name], equal_nan="score" in name), name
    for one, other in zip(chosen, also_chosen, strict=True):
        assert np.array_equal(one.tree_.threshold, other.tree_.threshold)
    assert np.array_equal(
        predict(here.pipeline, loaded.spec, rows).values, predict(there.pipeline, loaded.spec, rows).values
    )


@pytest.mark.slow
def test_a_worker_reads_a_changed_file_again_and_refuses_another_one(
    scheduler: str, rows: pd.DataFrame, tmp_path: Path
) -> None:
    """Workers live on from run to run: a helper that was edited counts, and a file that is not the run's is refused."""
    team = tmp_path / "team"
    team.mkdir()
    (team / "_depths.py").write_text("DEPTHS = (2, 5)\n")
    text = (
        (MODELS / "parts.py")
        .read_text()
        .replace('"model__tree__max_depth": (2, 5)', '"model__tree__max_depth": DEPTHS')
    )
    text = text.replace("from evergreen.sources", "from models.team._depths import DEPTHS\nfrom evergreen.sources")
    (team / "parts.py").write_text(text)
    first = models.load("parts", tmp_path)
    with _workers(scheduler, first, tmp_path) as workers:
        assert (
            "model__tree__max_depth=5, model__tree__min_samples_leaf=1"
            in fit(first.spec, rows, None, workers=workers).tried
        )
    (team / "_depths.py").write_text("DEPTHS = (3, 7)\n")
    models._forget("models.team._depths")
    second = models.load("parts", tmp_path)
    assert second.recipe != first.recipe
    with _workers(scheduler, second, tmp_path) as workers:
        assert (
            "model__tree__max_depth=7, model__tree__min_samples_leaf=1"
            in fit(second.spec, rows, None, workers=workers).tried
        )
    with _workers(scheduler, first, tmp_path) as workers, pytest.raises(ModelFileError, match="is another file than"):
        fit(first.spec, rows, None, workers=workers)


@pytest.mark.slow
def test_workers_that_die_are_one_line(rows: pd.DataFrame, tmp_path: Path) -> None:
    """A worker that is killed by its work, where no other is left to try: the cluster is named, not the model file."""
    pytest.importorskip("distributed")
    loaded = models.load("parts", MODELS)
    deadly = {"EVERGREEN_TEST_DIES": "1", "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    with (
        dask_processes(tmp_path / "dask", 2, deadly, nanny=False) as address,
        _workers(address, loaded) as workers,
        pytest.raises(EvergreenError, match="died at the same piece") as died,
    ):
        fit(loaded.spec, rows, None, workers=workers)
    assert not isinstance(died.value, ModelFileError)
    assert "more of it" in died.value.fix


@pytest.mark.slow
def test_a_cluster_without_workers_is_one_line(tmp_path: Path) -> None:
    """Nothing waits for ever for workers that do not come, with the model's lock held."""
    pytest.importorskip("distributed")
    from distributed import Client

    from evergreen.training.dask_cluster import Cluster

    with (
        dask_processes(tmp_path / "dask", 0) as address,
        Client(address, set_as_default=False) as client,  # type: ignore[no-untyped-call]
    ):
        cluster = Cluster(client, "the Dask cluster of a test", without_workers=0.5)
        with pytest.raises(EvergreenError, match=r"^The Dask cluster of a test has had no worker"), cluster.watched():
            cluster.result(cluster.submit(len, "abc"))


@pytest.mark.slow
def test_a_scheduler_that_dies_is_one_line(tmp_path: Path) -> None:
    """What waits for it ends, and so does the run."""
    pytest.importorskip("distributed")
    from evergreen.training.dask_cluster import open_cluster

    with dask_processes(tmp_path / "dask", 1) as address, open_cluster(address, 1) as cluster:
        waiting = cluster.submit(signal.pause)
        os.kill(cluster.client.run_on_scheduler(os.getpid), signal.SIGKILL)
        with pytest.raises(EvergreenError, match=r"^The scheduler of the Dask cluster at .* does not answer any more"):
            cluster.result(waiting)


def test_only_parts_open_a_cluster(make_spec: Callable[..., ModelSpec], make_rows: MakeRows) -> None:
    """A model without a search and without `n_jobs` is fitted here, and no process is started for it."""

    def refuse() -> AbstractContextManager[Any]:
        raise EvergreenError("a cluster was opened")

    spec = make_spec()
    with FitWorkers(refuse, lambda: spec) as workers:
        fit(spec, make_rows(100), None, workers=workers)
        with pytest.raises(EvergreenError, match=r"^a cluster was opened"):
            fit(models.load("parts", MODELS).spec, make_rows(100), None, params={}, workers=workers)


@pytest.mark.parametrize(
    ("step", "parts"),
    [
        ("forest", True),
        ("forest of one job", False),
        ("search", True),
        ("search within a chain", True),
        ("ridge", False),
    ],
)
def test_what_has_parts(step: str, parts: bool) -> None:
    """A search of scikit-learn wherever it is, and whatever asks for more than one job."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV
    from sklearn.multioutput import RegressorChain
    from sklearn.pipeline import Pipeline

    search = GridSearchCV(Ridge(), {"alpha": [1.0, 2.0]})
    steps = {
        "forest": RandomForestRegressor(n_jobs=2),
        "forest of one job": RandomForestRegressor(n_jobs=1),
        "search": search,
        "search within a chain": RegressorChain(search),
        "ridge": Ridge(),
    }
    assert has_parts(Pipeline([("model", steps[step])])) is parts
