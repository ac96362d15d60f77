"""Shared builders and surroundings. Every test has its own state folder; nothing outside of it is touched."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from hypothesis import settings as hypothesis
from xdist.scheduler import LoadFileScheduling

from evergreen.ledger.detail_json import detail_to_json

# Threads of OpenMP wait for each other by spinning: with two of them, a fit of two seconds takes minutes beside two
# other processes. The product limits its own; this is for what tests fit by themselves.
os.environ["OMP_NUM_THREADS"] = "1"
# Before Prefect or MLflow is imported by any test module: quiet, no telemetry, no state outside of the test's folder.
os.environ["DO_NOT_TRACK"] = "1"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
for name in ("PREFECT_API_URL", "EVERGREEN_HOME", "EVERGREEN_MODELS", "EVERGREEN_TRACKING_URI", "EVERGREEN_LAKE"):
    os.environ.pop(name, None)

import tests.unsynced  # noqa: F401 - SQLite does not wait for the disk
from evergreen.decision import Decision
from evergreen.ledger.promotions import Move
from evergreen.settings import Settings
from evergreen.sources.base import Batch, Waiting
from evergreen.spec.data import Features
from evergreen.spec.metric import Metric
from evergreen.spec.model import ModelSpec
from evergreen.spec.training import Holdout, Training

# How long an example takes says how busy the machine is.
hypothesis.register_profile("evergreen", deadline=None, derandomize=True)
hypothesis.register_profile("search", deadline=None)
hypothesis.load_profile("evergreen")

PROJECT = Path(__file__).resolve().parents[1]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class _Scheduling(LoadFileScheduling):
    """A file stays in one process; all of `tests/live/` does, which has one stack."""

    def _split_scope(self, nodeid: str) -> str:
        scope = super()._split_scope(nodeid)
        return "tests/live" if scope.startswith("tests/live/") else scope


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    return _Scheduling(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores, for many tests wait for servers; at most six, each with a server."""
    return min((os.cpu_count() or 1) + 1, 6)


LONGEST_FIRST = ("live", "faults", "proofs", "flows", "deployments", "benchmarks")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Folders whose tests start servers come first, so that no process is left alone with a long file at the end."""
    order = {PROJECT / "tests" / name: place for place, name in enumerate(LONGEST_FIRST)}

    def place(item: pytest.Item) -> int:
        return min((order[folder] for folder in item.path.parents if folder in order), default=len(order))

    items.sort(key=place)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes do not name a test: a packed file holds the time, and two processes have to name all alike."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(autouse=True)
def _events_are_sent() -> Iterator[None]:
    """Send what a test emitted before the next begins; Prefect would go on talking to the first server it met."""
    yield
    if "prefect.events.worker" in sys.modules:
        from prefect.events.worker import EventsWorker

        # In a thread of its own: beside the loop of a browser's driver Prefect would answer with a coroutine.
        drain = threading.Thread(target=EventsWorker.drain_all, kwargs={"timeout": 20, "at_exit": False})
        drain.start()
        drain.join()


class Given:
    """A source of batches that the test hands over, by id."""

    def __init__(self, **batches: pd.DataFrame) -> None:
        self.batches = batches

    def fingerprint(self, root: Path) -> str:
        return ",".join(self.batches)

    def read(self, root: Path, new: Callable[[str], bool]) -> Iterator[Batch | Waiting]:
        for name, frame in self.batches.items():
            if new(name):
                yield Batch(name, f"{name}.csv", frame)


def _contract() -> Any:
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            "id": pa.Column(int),
            "at": pa.Column("datetime64[us, UTC]"),
            "x": pa.Column(float, pa.Check.in_range(-100, 100), nullable=True),
            "kind": pa.Column(str, nullable=True),
            "y": pa.Column(float, nullable=True),
        }
    )


def _pipeline(seed: int) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    columns = ColumnTransformer([("kind", OneHotEncoder(handle_unknown="ignore"), ["kind"])], remainder="passthrough")
    return Pipeline([("columns", columns), ("model", Ridge())])


@pytest.fixture
def make_spec() -> Callable[..., ModelSpec]:
    """Build a small regression with a key, a time, one number and one category; any field can be changed."""

    def make(**changes: Any) -> ModelSpec:
        fields: dict[str, Any] = {
            "name": "toy",
            "task": "regression",
            "source": Given(),
            "contract": _contract,
            "keys": ("id",),
            "time": "at",
            "timezone": "UTC",
            "target": "y",
            "features": Features(numeric=("x",), categorical=("kind",)),
            "pipeline": _pipeline,
            "metric": Metric(name="mae"),
            "holdout": Holdout(strategy="latest", min_rows=10),
            "training": Training(min_rows=20),
        }
        return ModelSpec(**fields | changes)

    return make


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., pd.DataFrame]:
    """Build rows for `make_spec`: hourly from 2025-01-01, y = 3 x + noise; seeded."""

    def make(rows: int = 48, *, start: int = 0, seed: int = 0, slope: float = 3.0, shift: float = 0.0) -> pd.DataFrame:
        import numpy as np

        random = np.random.default_rng([seed, start])
        x = random.normal(size=rows) + shift
        return pd.DataFrame(
            {
                "id": range(start, start + rows),
                "at": pd.date_range("2025-01-01", periods=rows, freq="h") + pd.Timedelta(hours=start),
                "x": x,
                "kind": random.choice(["a", "b"], rows),
                "y": slope * x + random.normal(scale=0.1, size=rows),
            }
        )

    return make


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own, also for the code that reads the environment."""
    folder = tmp_path / "home"
    monkeypatch.setenv("EVERGREEN_HOME", str(folder))
    return folder


@pytest.fixture
def settings(home: Path) -> Settings:
    """Settings that point into the test's own folder."""
    return Settings(home=home)


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Make a folder that all processes of the session share: once(name, make) -> what `make(folder)` made."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def get(name: str, make: Callable[[Path], None]) -> Path:
        folder, half = shared / name, shared / f"{name}.half"
        with FileLock(shared / f"{name}.lock"):
            if not folder.exists():
                half.mkdir()
                make(half)
                half.rename(folder)
        return folder

    return get


@pytest.fixture(scope="session")
def empty_database(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """MLflow's database as it is after its first opening, which takes two seconds; a test works on a copy."""

    def make(folder: Path) -> None:
        from evergreen.registry.client import Registry

        Registry(Settings(home=folder)).client  # noqa: B018 - opening it makes it

    return once("mlflow", make) / "mlflow.db"


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API's URL of a real Prefect server on a free port, with a home of its own; ended by its process id."""
    folder = tmp_path_factory.mktemp("prefect-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"PREFECT_HOME": str(folder), "PREFECT_SERVER_LOGGING_LEVEL": "ERROR"}
    # The server of `evergreen up`: Prefect's own on SQLite stands still for a minute now and then.
    words = [sys.executable, "-m", "deployments.stack.prefect_server", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(words, env=environment, stdout=log, stderr=log, cwd=PROJECT)
        url = f"http://127.0.0.1:{port}/api"
        try:
            _until_healthy(url, server)
            yield url
        finally:
            server.kill()
            server.wait()


def _until_healthy(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if server.poll() is not None:
            pytest.fail(f"the Prefect server ended with status {server.returncode}")
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:  # noqa: S310
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    pytest.fail("the Prefect server was not healthy within two minutes")


@pytest.fixture
def evergreen(home: Path, prefect_server: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in a process of its own against the session's server."""

    def run(*words: str, timeout: float = 180, **environment: str) -> subprocess.CompletedProcess[str]:
        surroundings = os.environ | {
            "EVERGREEN_HOME": str(home),
            "PREFECT_HOME": str(home / "prefect"),
            "PREFECT_API_URL": prefect_server,
        }
        return subprocess.run(
            [sys.executable, "-m", "deployments.cli", *words],
            env=surroundings | environment,
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@contextmanager
def _flows_here(home: Path, server: str) -> Iterator[None]:
    """Run flows in this process against a server, results kept in a state folder."""
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_HOME,
        PREFECT_LOCAL_STORAGE_PATH,
        PREFECT_LOGGING_TO_API_ENABLED,
        temporary_settings,
    )

    (home / "prefect").mkdir(parents=True, exist_ok=True)
    changed = {
        PREFECT_API_URL: server,
        PREFECT_HOME: home / "prefect",
        PREFECT_LOCAL_STORAGE_PATH: home / "prefect" / "storage",
        # Log lines are sent on a thread that outlives the server.
        PREFECT_LOGGING_TO_API_ENABLED: False,
    }
    with pytest.MonkeyPatch.context() as patch, temporary_settings(changed):
        # The thread that sends a run's heartbeats sleeps for whole seconds, and a run waits for it at its end.
        patch.setattr("prefect.flow_engine._send_heartbeats", lambda *_, **__: nullcontext())
        patch.setenv("EVERGREEN_HOME", str(home))
        patch.setenv("PREFECT_HOME", str(home / "prefect"))
        patch.setenv("PREFECT_API_URL", server)
        yield


@pytest.fixture(scope="session")
def flows_here() -> Callable[[Path, str], AbstractContextManager[None]]:
    """Run flows in the test's own process for a while: `with flows_here(home, server):`."""
    return _flows_here


@pytest.fixture
def in_process(home: Path, prefect_server: str, empty_database: Path) -> Iterator[None]:
    """Run flows in the test's own process against the session's server, results kept in the test's folder."""
    home.mkdir(exist_ok=True)
    shutil.copy(empty_database, home / "mlflow.db")
    with _flows_here(home, prefect_server):
        yield


@pytest.fixture
def postgres_schema() -> Iterator[str]:
    """A schema of the test's own in the real PostgreSQL."""
    psycopg = pytest.importorskip("psycopg")
    schema = f"test_{uuid4().hex[:12]}"
    try:
        connection = psycopg.connect("host=127.0.0.1 user=postgres dbname=postgres connect_timeout=3", autocommit=True)
    except psycopg.OperationalError:
        pytest.skip("no PostgreSQL answers at 127.0.0.1:5432 to the user postgres")
    with closing(connection):
        connection.execute(f"CREATE SCHEMA {schema}")
        try:
            yield schema
        finally:
            connection.execute(f"DROP SCHEMA {schema} CASCADE")


@pytest.fixture(scope="session")
def uci() -> Path:
    """The real UCI hourly file; tests that need it are skipped where it is not."""
    folder = Path(os.environ.get("EVERGREEN_TEST_DATA", PROJECT.parent / "shared" / "data"))
    place = folder / "bike_sharing" / "hour.csv"
    if not place.exists():
        pytest.skip("the UCI Bike Sharing hourly file is not here; set EVERGREEN_TEST_DATA to the folder that holds it")
    return place


@pytest.fixture
def make_version(settings: Settings) -> Callable[..., Any]:
    """Land rows of a spec, fit on them and register: make_version(spec, rows) -> a PENDING version.

    `home` is another state folder than the test's own.
    """
    from evergreen.data.observations import Observations
    from evergreen.data.windows import training_window
    from evergreen.registry.client import Registry
    from evergreen.registry.lineage import lineage
    from evergreen.training.candidate import build_candidate

    def make(
        spec: ModelSpec, rows: pd.DataFrame, batch: str = "first", champion: Any = None, home: Settings = settings
    ) -> Any:
        from evergreen.data.checked_batch import check_batch
        from evergreen.data.contract import schema_of

        registry, observations = Registry(home), Observations(home.lake_uri, spec)
        checked = check_batch(rows, spec, schema_of(spec), now=NOW)
        assert not checked.problem
        observations.land(checked.rows, batch, batch, now=NOW)
        snapshot = observations.snapshot()
        tags = lineage(
            snapshot,
            decision=batch,
            reason="test",
            spec_hash="spec",
            compared_with=champion.number if champion else None,
            params=None,
            seed=spec.seed,
            flow_run="",
        )
        window = training_window(spec, snapshot)
        candidate = build_candidate(
            Observations(home.lake_uri, spec), registry, window, decision=batch, params=None, tags=tags
        )
        return registry.register(spec.name, candidate)

    return make


@pytest.fixture
def canonical() -> Callable[[Sequence[Decision], Sequence[Move]], str]:
    """What was decided, as text that is the same live and simulated."""
    return _canonical


def _canonical(decisions: Sequence[Decision], moves: Sequence[Move]) -> str:
    """What was decided, as text that is the same live and in a replay; one line for each decision and move.

    Left out is what follows from storage, clocks and machines: table versions, run ids, paths, the latency and the size
    of a model, how many predictions had been kept.
    """
    lines = [[one.at, one.kind, one.outcome, one.champion, one.digest, one.id, one.reason, _figures(one)]
             for one in decisions]  # fmt: skip
    lines += [[one.at, one.action, one.phase, one.before, f"version {one.after}", one.id, one.reason, one.by]
              for one in moves]  # fmt: skip
    told = [json.dumps([f"{line[0]:%Y-%m-%dT%H:%M:%S.%f}", *line[1:]], sort_keys=True) for line in lines]
    return "\n".join(sorted(told)) + "\n"


_MACHINE = ("latency", "size")
_KEPT = ("share", "columns", "confirmed", "failed", "needed", "answered_by", "called", "because", "metric", "value",
         "interval", "at_promotion", "bound", "own", "rows", "immature", "former_value", "gain", "windows", "final",
         "version", "outcome", "reason", "explanation", "former", "promotion")  # fmt: skip


def _figures(decision: Decision) -> dict[str, Any]:
    detail = detail_to_json(decision.detail)
    kept = {name: _rounded(value) for name, value in detail.items() if name in _KEPT}
    checks = [one for one in detail.get("checks", ()) if one["name"] not in _MACHINE]
    if checks:
        kept["checks"] = _rounded(checks)
    return kept


def _rounded(value: Any) -> Any:
    """Numbers to nine figures: the last ones depend on how many rows went through a matrix product together."""
    if isinstance(value, float):
        return float(f"{value:.9g}") if np.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _rounded(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return value
