"""What runs tasks beside each other: threads by default, Dask where it is asked for, and one clear line otherwise."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from prefect.task_runners import ThreadPoolTaskRunner

from evergreen import naming
from evergreen.backtest.job_cache import JobCache
from evergreen.backtest.job_runner import JobRunner, JobSource, Spent
from evergreen.backtest.report import Backtest
from evergreen.backtest.request import Request, named, steps_of
from evergreen.backtest.run import run
from evergreen.backtest.simulation import SimulationPlan
from evergreen.data.observations import Observations
from evergreen.errors import EvergreenError
from evergreen.settings import PROJECT, Settings
from flows.shared.executors import executor, task_runner, workers
from models import load_spec
from tests.dask_processes import dask_processes

TOYS = PROJECT / "tests" / "faults" / "models"


def test_threads_are_bounded(settings: Settings) -> None:
    """By default one a processor and at most four; EVERGREEN_WORKERS says otherwise."""
    runner = task_runner(settings)
    assert isinstance(runner, ThreadPoolTaskRunner)
    assert runner == ThreadPoolTaskRunner(max_workers=workers(settings))
    assert 1 <= workers(settings) <= 4
    assert workers(settings.model_copy(update={"workers": 7})) == 7


def test_dask_is_imported_only_where_it_is_asked_for() -> None:
    """A run on threads does not pay for it."""
    code = (
        "import sys; from flows.shared.executors import task_runner; from evergreen.settings import Settings;"
        "task_runner(Settings()); sys.exit(bool({'dask', 'distributed', 'prefect_dask'} & set(sys.modules)))"
    )
    surroundings = {key: value for key, value in os.environ.items() if not key.startswith("EVERGREEN_")}
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=surroundings, check=False)
    assert done.returncode == 0


def test_the_dask_extra_is_asked_for(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package, one line says how to have it."""
    monkeypatch.setitem(sys.modules, "prefect_dask", None)
    with pytest.raises(EvergreenError, match=r"pip install .*dask"):
        task_runner(settings.model_copy(update={"runner": "dask"}))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:PORT", "127.0.0.1:PORT", "tcp://127.0.0.1:port", "scheduler"])
def test_a_scheduler_that_is_not_there_is_one_line(address: str, settings: Settings) -> None:
    """It is asked before anything is handed to it; a port that nothing listens on is refused at once."""
    pytest.importorskip("prefect_dask")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = address.replace("PORT", str(free.getsockname()[1]))
        with pytest.raises(EvergreenError, match="Dask scheduler") as error:
            task_runner(settings.model_copy(update={"runner": "dask", "dask": place}))
    assert "EVERGREEN_DASK" in str(error.value)


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_dask_gives_the_same_table_as_threads(
    settings: Settings, make_rows: Callable[..., pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real local cluster scores the chunks; but for run and time the predictions table is the same, row by row."""
    distributed = pytest.importorskip("distributed")
    pytest.importorskip("prefect_dask")
    from flows.retrain import retrain
    from flows.score import score

    monkeypatch.setenv("EVERGREEN_MODELS", str(TOYS))
    (settings.landing / "toy").mkdir(parents=True)
    make_rows(200).to_csv(settings.landing / "toy" / "history.csv", index=False)
    assert retrain("toy").champion == 1
    given = tmp_path / "given.csv"
    rows = make_rows(1000, start=200).drop(columns="y")
    rows.loc[rows.index % 100 == 7, "kind"] = "never seen"
    rows.to_csv(given, index=False)
    place = naming.table(settings.lake_uri, "toy", "predictions")

    def predicted() -> pd.DataFrame:
        result = score("toy", str(given), chunk_rows=120)
        assert (result.rows_in, result.rows_scored, result.rows_rejected) == (1000, 990, 10)
        found = pd.read_parquet(place).sort_values("row", ignore_index=True)
        shutil.rmtree(place)
        return found.drop(columns=["run_id", "scored_at"])

    on_threads = predicted()
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0") as cluster:
        monkeypatch.setenv("EVERGREEN_RUNNER", "dask")
        monkeypatch.setenv("EVERGREEN_DASK", cluster.scheduler_address)
        on_dask = predicted()
        assert "predict" in cluster.scheduler.task_prefixes
    pd.testing.assert_frame_equal(on_dask, on_threads)
    assert on_dask["chunk"].nunique() == 9


@pytest.mark.parametrize(
    "runner", ["threads", *(pytest.param(name, marks=pytest.mark.slow) for name in ("dask", "dask of others"))]
)
def test_a_backtest_tells_the_same_wherever_its_work_is_done(
    runner: str, settings: Settings, make_rows: Callable[..., pd.DataFrame], tmp_path: Path
) -> None:
    """In processes beside each other, or on a Dask cluster, as in this process alone; all of it once."""
    if runner != "threads":
        pytest.importorskip("distributed")
    spec = load_spec("toy", TOYS)
    observations = Observations(settings.lake_uri, spec)
    rows = make_rows(42 * 24)
    observations.land(
        rows.assign(at=rows["at"].dt.tz_localize("UTC")), "b", "test", now=datetime(2026, 1, 1, tzinfo=UTC)
    )
    version = observations.snapshot().version

    def told(place: str, pool: Executor | None) -> tuple[Backtest, Spent]:
        source = JobSource(
            partial(load_spec, "toy", TOYS), settings.lake_uri, JobCache(tmp_path / place), "hash", version
        )
        bench = source.context()
        given = JobRunner(bench, source, pool)
        course = SimulationPlan(steps_of(bench.history), "hash", train_time=timedelta(hours=1))
        return run(given, course, Request(named(["every 14 days", "on drift"], spec))), given.spent

    alone, once = told("alone", None)
    with ExitStack() as open_until_the_end:
        others = open_until_the_end.enter_context(dask_processes(tmp_path / "dask")) if "others" in runner else ""
        asked = {"runner": runner.partition(" ")[0], "workers": 2, "dask": others}
        pool = open_until_the_end.enter_context(executor(settings.model_copy(update=asked)))
        assert pool is not None
        apart, spent = told("apart", pool)
    assert [(row.variant, row.error, row.retrains, row.rejected) for row in apart.rows] == [
        (row.variant, row.error, row.retrains, row.rejected) for row in alone.rows
    ]
    assert (apart.recommended, apart.reason) == (alone.recommended, alone.reason)
    assert once.fresh["fit"] == len(list((tmp_path / "alone" / "fit").iterdir())) > 2
    assert {kind: number for kind, number in spent.fresh.items() if kind != "fit"} == {
        kind: number for kind, number in once.fresh.items() if kind != "fit"
    }


@pytest.mark.slow
def test_a_cluster_that_fails_is_told_from_work_that_fails(settings: Settings) -> None:
    """The work's own error comes back as it is; one of a worker that dies again and again says so."""
    pytest.importorskip("distributed")
    with executor(settings.model_copy(update={"runner": "dask", "workers": 1})) as pool:
        assert pool is not None
        assert pool.submit(len, "abc").result() == 3
        with pytest.raises(ZeroDivisionError):
            pool.submit(divmod, 1, 0).result()
        with pytest.raises(EvergreenError, match="died at the same piece of work"):
            pool.submit(os._exit, 3).result()
        assert pool.submit(len, "ab").result() == 2
