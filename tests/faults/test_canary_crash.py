"""kill -9 while a canary is looked at, in each of its states: the next look ends where an unbroken one does."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import models
from evergreen.canary.canary_ledger import read_canaries
from evergreen.ledger.decisions import Decisions
from evergreen.registry.client import Registry
from tests.faults.test_crash import MODELS, Driver
from tests.live_traffic import answer_by_both

CANARY = """
    drift=DriftThresholds(min_rows=50),
    training=Training(last=timedelta(hours=199)),
    approval=Approval(mode="canary"),
    serve=Serve(
        canary=Canary(
            steps=(5, 100),
            hold=timedelta(milliseconds=1),
            block=timedelta(milliseconds=20),
            max_failures=0.05,
            min_rows=1,
        )
    ),
"""
POINTS = {
    "begin": ("canary-entry:after", "canary-share:after"),
    "step": ("canary-entry:after", "canary-share:before"),
    "promote": (
        "canary-entry:after",
        "intent:after",
        "champion:after",
        "done:after",
        "approval:after",
        "announce:after",
    ),
    "refuse": ("canary-entry:after", "gate-status:after", "drop-challenger:after", "approval:after"),
}
"""By what the look comes to: where its process is killed."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy's model file with a canary."""
    folder = tmp_path_factory.mktemp("models")
    text = (MODELS / "toy.py").read_text()
    text = text.replace("import DriftThresholds,", "import Approval, Canary, DriftThresholds, Serve, Training,")
    text = text.replace("from typing", "from datetime import timedelta\nfrom typing", 1)
    (folder / "toy.py").write_text(text.replace("    drift=DriftThresholds(min_rows=50),\n", CANARY))
    return folder


def rows(count: int, start: int, slope: float) -> pd.DataFrame:
    """Hourly rows of one law."""
    random = np.random.default_rng(start)
    x = random.normal(size=count)
    at = pd.date_range("2025-01-01", periods=count, freq="h") + pd.Timedelta(hours=start)
    y = slope * x + random.normal(scale=0.1, size=count)
    kind = random.choice(["a", "b"], count)
    return pd.DataFrame({"id": range(start, start + count), "at": at, "x": x, "kind": kind, "y": y})


@pytest.fixture(scope="module")
def driver(
    tmp_path_factory: pytest.TempPathFactory, prefect_server: str, empty_database: Path, folder: Path
) -> Iterator[Driver]:
    """State folders just before the look that begins a canary, that takes a step, that promotes, and that refuses."""
    driver = Driver(tmp_path_factory.mktemp("crash"), prefect_server, folder)
    try:
        shutil.copy(empty_database, driver.home)
        driver.land("a.csv", rows(200, 0, 3.0))
        assert driver.finish()["outcome"] == "promoted"
        driver.land("b.csv", rows(200, 200, 4.0))
        assert driver.finish(reason="schedule")["outcome"] == "in-canary"
        spec, registry = models.load("toy", folder).spec, Registry(driver.settings)
        pipelines = {number: registry.load(registry.get("toy", number), spec) for number in (1, 2)}
        driver.keep("begin")
        driver.finish("canary", model="toy")
        driver.keep("begun")
        for name, slope in (("refuse", 3.0), ("step", 4.0)):
            driver.start_from("begun")
            answered = rows(300, 400, slope)
            answer_by_both(driver.settings.lake_uri, spec, answered, pipelines)
            driver.land("c.csv", answered)
            driver.finish("monitor", model="toy")
            driver.keep(name)
        driver.finish("canary", model="toy")
        answer_by_both(driver.settings.lake_uri, spec, rows(40, 9_000, 4.0), pipelines, blocks=2)
        driver.keep("promote")
        yield driver
    finally:
        driver.close()


def told(driver: Driver) -> dict[str, Any]:
    """The state, and what the canary left in the ledger."""
    (canary,) = read_canaries(Decisions(driver.settings.lake_uri, "toy"))
    return driver.state | {"canary": [entry.outcome for entry in canary.entries], "is over": canary.is_over}


@pytest.mark.parametrize(
    ("look", "point"),
    [
        pytest.param(look, point, marks=() if point == "champion:after" else pytest.mark.slow)
        for look, points in POINTS.items()
        for point in points
    ],
)
def test_the_next_look_ends_where_an_unbroken_one_does(driver: Driver, look: str, point: str) -> None:
    """No step is taken twice, there is one champion, and what was decided before the kill stays decided."""
    driver.start_from(look)
    driver.finish("canary", model="toy")
    expected = told(driver)
    driver.start_from(look)
    assert driver.run("canary", point, model="toy").signal == signal.SIGKILL
    driver.finish("canary", model="toy")
    assert told(driver) == expected
