"""kill -9 at every step of a retraining and of a rollback, then a rerun: the end is that of an uninterrupted run.

A backup at a step is put in the place of the home, and ends in the same way.

Every case starts from a copied state folder at one and the same path, because MLflow stores absolute paths.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pytest

import models
from evergreen.data.observations import Observations
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Promotions
from evergreen.maintenance.backup import back_up
from evergreen.maintenance.backup_manifest import read_manifest
from evergreen.maintenance.restore import restore
from evergreen.naming import BACKUP_DATABASE
from evergreen.registry.database_copy import read_registry
from evergreen.settings import Settings
from evergreen.storage.kept_files import KeptFiles, kept_name

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
MODELS = HERE / "models"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _points(both: tuple[str, ...], after: tuple[str, ...], quick: tuple[str, ...] = ()) -> list[Any]:
    """Both sides of some steps, and the moment after others: what is before a step is what is after the last write.

    All but the quick ones are slow.
    """
    points = [f"{step}:{side}" for step in both for side in ("before", "after")] + [f"{step}:after" for step in after]
    return [point if point in quick else pytest.param(point, marks=pytest.mark.slow) for point in points]


STORING = ("save-model", "log-model", "log-files", "log-dataset")
FIRST = _points(
    ("gate-status", "champion"), ("fit", "register-model", "intent", "record-retrain"), quick=("champion:before",)
)
NEXT = _points(
    ("gate-status", "champion", "announce"),
    (
        *("quarantine", "land", "plan", "detect", *STORING, "register", "gate-figures"),
        *("challenger", "intent", "previous", "drop-challenger", "done", "record-scores", "record-drift"),
        *("record-retrain", "report"),
    ),
    quick=("land:after", "log-model:after", "register:after", "champion:after", "record-drift:after"),
)
WORSE = _points(("gate-status", "record-retrain"), ("announce",), quick=("gate-status:after",))
ROLLBACK = _points(("champion",), ("intent", "done", "tag-rolled-back", "announce"), quick=("champion:after",))
FORCED = _points((), ("register", "gate-status", "champion"), quick=("gate-status:after",))


@dataclass(frozen=True)
class Killed:
    """The signal that ended or stopped a driver's child, 0 without one; `told` is None where there was one."""

    signal: int
    told: dict[str, Any] | None


class Driver:
    """Runs flows on one state folder, each in a process of its own."""

    def __init__(self, base: Path, server: str, models: Path = MODELS, **more: str) -> None:
        self.home = base / "home"
        self.out = base / "out.json"
        self.base, self.models = base, models
        (self.home / "prefect").mkdir(parents=True)
        self.environment = os.environ | {
            "EVERGREEN_HOME": str(self.home),
            "EVERGREEN_MODELS": str(models),
            "PREFECT_HOME": str(self.home / "prefect"),
            "PREFECT_API_URL": server,
            "PYTHONPATH": str(PROJECT),
            **more,
        }
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "driver.py")],
            env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT,
        )  # fmt: skip
        assert self._line() == "ready"

    def run(self, flow: str = "retrain", point: str | None = None, how: str = "SIGKILL", **arguments: Any) -> Killed:
        """Run a flow to its end, or to a signal at a point."""
        return self._answer(self._order(flow, arguments) | {"point": point, "signal": how})

    def kill(self, seconds: float) -> Killed:
        """Kill a retraining so many seconds after its start; it may have ended by then."""
        return self._answer(self._order("retrain", {}) | {"kill_after": seconds})

    def go_on(self) -> Killed:
        """Let a stopped flow run on to its end."""
        return self._answer({"flow": None})

    def finish(self, flow: str = "retrain", **arguments: Any) -> dict[str, Any]:
        """Run a flow that is not killed and has no error."""
        return _told(self.run(flow, **arguments))

    def again(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Run a retraining that is not killed and has no error; the state before and after it."""
        told = _told(self._answer(self._order("retrain", {}) | {"look": True}))
        return told["before"], told["after"]

    @property
    def state(self) -> dict[str, Any]:
        """What the state folder holds; the champion of which loads and has passed its gates."""
        return self.finish("state")

    def keep(self, name: str) -> None:
        """Put the state folder aside as a start for cases."""
        shutil.copytree(self.home, self.base / name)

    def start_from(self, name: str) -> None:
        """Take a start that was put aside."""
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.copytree(self.base / name, self.home)

    def land(self, name: str, rows: pd.DataFrame) -> None:
        """Put a complete file into the landing folder."""
        file = self.home / "landing" / "toy" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        rows.to_csv(file, index=False)
        os.utime(file, (1_700_000_000, 1_700_000_000))

    @property
    def settings(self) -> Settings:
        """Settings of the state folder."""
        return Settings(home=self.home, models=self.models)

    def close(self) -> None:
        """End the driver."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _order(self, flow: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self.out.unlink(missing_ok=True)
        return {"flow": flow, "arguments": {"model": "toy"} | arguments, "out": str(self.out), "point": None}

    def _answer(self, order: dict[str, Any]) -> Killed:
        assert self.process.stdin is not None
        print(json.dumps(order), file=self.process.stdin, flush=True)
        status = int(self._line())
        told = json.loads(self.out.read_text()) if self.out.exists() else None
        stopped = os.WSTOPSIG(status) if os.WIFSTOPPED(status) else 0
        return Killed(os.WTERMSIG(status) if os.WIFSIGNALED(status) else stopped, told)

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


def _told(done: Killed) -> dict[str, Any]:
    """What a flow told that ended well."""
    assert done.told is not None, done
    assert "error" not in done.told, done.told["trace"]
    return done.told


def rows(start: int, *, shift: float = 0.0, noise: float = 0.1) -> pd.DataFrame:
    """Three hundred hourly rows of which two break the contract."""
    random = np.random.default_rng(start)
    x = random.normal(size=300) + shift
    frame = pd.DataFrame(
        {
            "id": range(start, start + 300),
            "at": pd.date_range("2025-01-01", periods=300, freq="h", tz="UTC") + pd.Timedelta(hours=start),
            "x": x,
            "kind": random.choice(["a", "b"], 300),
            "y": 3 * x + 2 * shift + random.normal(scale=noise, size=300),
        }
    )
    frame.loc[[5, 6], "x"] = 1e6
    return frame


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory, prefect_server: str, empty_database: Path) -> Iterator[Driver]:
    """The driver with the starts of all scenarios, and the states that uninterrupted runs end in."""
    driver = Driver(tmp_path_factory.mktemp("crash"), prefect_server)
    try:
        shutil.copy(empty_database, driver.home)
        driver.land("a.csv", rows(0))
        driver.keep("first")
        assert driver.finish()["outcome"] == "promoted"
        driver.keep("first-end")
        driver.land("b.csv", rows(300, shift=4))
        driver.keep("next")
        told = driver.finish()
        assert (told["outcome"], told["drift"]["verdict"]) == ("promoted", "FAIL"), told
        driver.keep("next-end")
        assert driver.finish("rollback", reason="test")["champion"] == 1
        driver.keep("rollback-end")
        driver.start_from("first-end")
        driver.land("b.csv", rows(300, noise=3.0))
        driver.keep("worse")
        told = driver.finish()
        assert told["outcome"] in ("rejected", "inconclusive"), told
        driver.keep("worse-end")
        yield driver
    finally:
        driver.close()


@pytest.fixture(scope="module")
def ends(driver: Driver) -> Callable[[str], dict[str, Any]]:
    """The state that an uninterrupted run of a scenario ends in."""
    known: dict[str, dict[str, Any]] = {}

    def end(name: str) -> dict[str, Any]:
        if name not in known:
            driver.start_from(f"{name}-end")
            known[name] = driver.state
        return known[name]

    return end


Ends = Callable[[str], dict[str, Any]]


def _killed_then_run_again(driver: Driver, ends: Ends, scenario: str, point: str) -> None:
    expected = ends(scenario)
    driver.start_from(scenario)
    killed = driver.run(point=point)
    assert killed.signal == signal.SIGKILL, f"{point} was never reached: {killed.told}"
    found, ended = driver.again()
    assert scenario == "first" or found["aliases"]["champion"] is not None
    assert ended == expected
    assert all(status != "PENDING" for _, status, _, _ in expected["versions"])
    assert len({decision for _, _, decision, _ in expected["versions"]}) == len(expected["versions"])


@pytest.mark.parametrize("point", FIRST)
def test_first_champion(driver: Driver, ends: Ends, point: str) -> None:
    """Killed on the way to the first champion, the rerun ends where an uninterrupted run does."""
    _killed_then_run_again(driver, ends, "first", point)


@pytest.mark.parametrize("point", NEXT)
def test_next_champion(driver: Driver, ends: Ends, point: str) -> None:
    """Killed while replacing a champion, there is one at every moment, and the rerun ends as an uninterrupted run."""
    _killed_then_run_again(driver, ends, "next", point)


@pytest.mark.parametrize("point", WORSE)
def test_worse_candidate(driver: Driver, ends: Ends, point: str) -> None:
    """Killed around the judgement of a candidate that fails, the champion stays and the judgement is the same."""
    _killed_then_run_again(driver, ends, "worse", point)


@pytest.mark.parametrize("point", ROLLBACK)
def test_rollback(driver: Driver, ends: Ends, point: str) -> None:
    """Killed during a rollback, a champion is there at once, and whoever comes next finishes what was begun."""
    expected = ends("rollback")
    driver.start_from("next-end")
    killed = driver.run("rollback", point, reason="test")
    assert killed.signal == signal.SIGKILL, killed
    found, ended = driver.again()
    assert found["aliases"]["champion"] is not None
    # The retraining that finished it also recorded that the same data is not promoted again.
    assert ended == expected | {"retrain": ended["retrain"]}


def test_new_data_after_a_kill(driver: Driver) -> None:
    """A version that a killed run left unjudged does not stay PENDING when the next run answers another question."""
    driver.start_from("next")
    assert driver.run(point="register:after").signal == signal.SIGKILL
    driver.land("c.csv", rows(600, shift=4))
    assert driver.finish()["outcome"] == "promoted"
    statuses = [status for _, status, *_ in driver.state["versions"]]
    assert statuses == ["PASSED", "INCONCLUSIVE", "PASSED"]


@pytest.mark.parametrize("point", FORCED)
def test_a_forced_retraining_is_taken_on(driver: Driver, point: str) -> None:
    """A forced run that was killed is finished by the next forced one, not made again; the one after makes another."""
    driver.start_from("next")
    assert driver.run(point=point, force=True).signal == signal.SIGKILL
    driver.finish(force=True)
    ended = driver.state
    assert (len(ended["versions"]), len(ended["retrain"])) == (2, 2)
    driver.finish(force=True)
    assert len(driver.state["versions"]) == 3


def test_a_second_retraining_says_who_is_at_it(driver: Driver, ends: Ends) -> None:
    """While one retraining runs (or is stopped), another ends with status 2 and one line; the first ends as ever."""
    expected = ends("next")
    driver.start_from("next")
    assert driver.run(point="fit:before", how="SIGSTOP").signal == signal.SIGSTOP
    second = subprocess.run(
        [sys.executable, "-m", "deployments.cli", "retrain", "toy", "--json"],
        env=driver.environment, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    first = driver.go_on()
    assert second.returncode == 2, second.stderr
    assert "Another retrain of toy is running (process " in json.loads(second.stdout)["error"]
    assert first.told is not None
    assert first.told["outcome"] == "promoted"
    assert driver.state == expected


COPIED = _points((), ("register", "champion"), quick=("champion:after",))


@pytest.mark.parametrize("point", COPIED)
def test_a_backup_in_the_middle_of_a_retraining(driver: Driver, ends: Ends, point: str, tmp_path: Path) -> None:
    """It is of that moment: what it names is in it, and a restored home ends as one whose run was killed there."""
    expected = ends("next")
    driver.start_from("next")
    assert driver.run(point=point, how="SIGSTOP").signal == signal.SIGSTOP
    manifest = back_up(driver.settings, tmp_path / "backup", landing=True, now=NOW)
    first = driver.go_on()
    assert first.told is not None
    assert first.told["outcome"] == "promoted"
    assert driver.state == expected, "the run that was copied ends as ever"
    assert manifest.damaged == ()
    shutil.rmtree(driver.home)
    restore(driver.settings, tmp_path / "backup", replace=False, now=NOW)
    _require_references(driver.settings)
    found, ended = driver.again()
    assert found["aliases"]["champion"] is not None
    assert ended == expected


@pytest.mark.parametrize("rounds", [pytest.param(5, marks=pytest.mark.proof(name="backups"))])
def test_backups_without_a_pause(driver: Driver, rounds: int, tmp_path: Path) -> None:
    """Retrainings, promotions and rollbacks run, and backups are taken one after the other: each is of one moment."""
    taken, times = list[Path](), list[float]()
    for round_ in range(rounds):
        driver.start_from("next")
        over = threading.Event()
        writer = threading.Thread(target=_run_on, args=(driver, over))
        writer.start()
        while not over.is_set():
            began, folder = time.monotonic(), tmp_path / f"{round_}-{len(taken)}"
            back_up(driver.settings, folder, landing=True, now=NOW)
            times.append(time.monotonic() - began)
            taken.append(folder)
        writer.join()
    states = dict[tuple[str, ...], Path]()
    for folder in taken:
        manifest = read_manifest(folder)
        states[(manifest.files[BACKUP_DATABASE].sha256, *map(str, manifest.tables.items()))] = folder
    assert len(states) > 3 * rounds, "they saw the runs at work"
    for folder in states.values():
        there = Settings(home=tmp_path / "there", models=driver.models)
        restore(there, folder, replace=False, now=NOW)
        _require_references(there)
        shutil.rmtree(there.root)
    median = sorted(times)[len(times) // 2]
    print(f"{len(taken)} backups of {len(states)} states, each whole; the median took {median:.2f} s.")


def _run_on(driver: Driver, over: threading.Event) -> None:
    try:
        driver.finish()
        driver.land("c.csv", rows(600, shift=-4))
        driver.finish()
        driver.finish("rollback", reason="test")
    finally:
        over.set()


def _require_references(settings: Settings) -> None:
    """Each version has its rows and each decision its version and report; the log and the alias agree."""
    contents, decisions = read_registry(settings), Decisions(settings.lake_uri, "toy")
    observations = Observations(settings.lake_uri, models.load("toy", settings.models).spec)
    with closing(sqlite3.connect(settings.root / "mlflow.db")) as database:
        tags = database.execute("SELECT value FROM model_version_tags WHERE key = 'evergreen.data_version'").fetchall()
        alias = database.execute("SELECT version FROM registered_model_aliases WHERE alias = 'champion'").fetchall()
    assert len(tags) == len(contents.versions) >= 1
    assert max(int(version) for (version,) in tags) <= observations.version()
    numbers = {version.number for version in contents.versions}
    promotions = Promotions(settings.lake_uri, "toy")
    named = {move.after for move in promotions.all()} | {one.detail.version for one in decisions.all("retrain")}
    assert {number for number in named if number} <= numbers
    begun = promotions.open()
    assert alias[0][0] in ({begun.before, begun.after} if begun else {promotions.champion()})
    files = KeptFiles(settings.report_place)
    for decision in decisions.all("drift"):
        name = kept_name(decision.detail.report)
        assert name is not None
        assert files.read(name) is not None
        assert len(decisions.scores.read(where=ds.field("decision_id") == decision.id)) > 0


@pytest.mark.parametrize(
    "kills", [pytest.param(4, marks=pytest.mark.slow), pytest.param(200, marks=pytest.mark.proof(name="kills"))]
)
def test_killed_at_any_moment(driver: Driver, ends: Ends, kills: int) -> None:
    """Killed after a random time rather than at a named step: a champion is always there, and the end is the same."""
    expected = ends("next")
    driver.start_from("next")
    began = time.monotonic()
    driver.finish()
    length = time.monotonic() - began
    moments, hit = np.random.default_rng(0).uniform(0, length, kills), 0
    for moment in moments:
        driver.start_from("next")
        hit += driver.kill(moment).signal == signal.SIGKILL
        found, ended = driver.again()
        assert found["aliases"]["champion"] is not None, f"killed after {moment:.3f} s"
        assert ended == expected, f"killed after {moment:.3f} s"
    print(
        f"{kills} retrainings killed, {kills - hit} of them after their end; each rerun ended as an uninterrupted run."
    )
    assert hit > kills / 2
