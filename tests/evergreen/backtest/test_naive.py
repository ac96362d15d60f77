"""A rule of one line on the steps of a backtest, and what is said where no policy beats it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evergreen.backtest.history import History
from evergreen.backtest.job_cache import JobCache
from evergreen.backtest.job_runner import JobRunner
from evergreen.backtest.jobs import JobContext
from evergreen.backtest.naive import naive_series
from evergreen.backtest.report import Backtest
from evergreen.backtest.request import Request
from evergreen.backtest.run import run
from evergreen.backtest.simulation import SimulationPlan
from evergreen.data.observations import Observations
from evergreen.spec.policies import Every, Never

Make = Callable[..., Any]
WEEKS = [datetime(2025, 1, 15, tzinfo=UTC) + number * timedelta(days=7) for number in range(8)]


@pytest.fixture
def history(tmp_path: Path, make_spec: Make, make_rows: Make) -> Callable[..., History]:
    """Seventy days of hours; the target follows the features, or is a walk of which they say little."""

    def make(*, walk: bool, delay: timedelta | None = None) -> History:
        rows: pd.DataFrame = make_rows(70 * 24)
        rows["at"] = rows["at"].dt.tz_localize("UTC")
        if walk:
            rows["y"] = 0.3 * rows["x"] + np.random.default_rng(4).normal(scale=0.1, size=len(rows)).cumsum()
        observations = Observations(str(tmp_path / "lake"), make_spec())
        observations.land(rows[list(observations.content)], "b", "test", now=WEEKS[0])
        return History.of(observations, delay)

    return make


def _replayed(history: History, folder: Path) -> Backtest:
    runner = JobRunner(JobContext(history.spec, history, JobCache(folder / "backtest")))
    request = Request(policies={"never": Never(), "weekly": Every(days=7)})
    return run(runner, SimulationPlan(WEEKS, "hash"), request)


def test_a_policy_that_loses_to_one_line_is_told_first(history: Callable[..., History], tmp_path: Path) -> None:
    """On a walk the last label is nearer than any model of other columns, and the first sentence says so."""
    found = _replayed(history(walk=True), tmp_path)
    best = min(found.rows, key=lambda row: row.error)
    assert found.reason.startswith(
        "Every policy loses to a rule of one line: repeating the last known label comes to mae 0.3"
    )
    assert f"the best policy there, {best.variant.label}, to {best.error:.4g}" in found.reason
    assert "docs/model-files.md has an example" in found.reason
    assert not any("Without a model" in remark for remark in found.remarks)


def test_a_model_that_beats_it_is_told_with_the_rule_beside(history: Callable[..., History], tmp_path: Path) -> None:
    """Where the features say what the target is, the rule's figure is a remark."""
    found = _replayed(history(walk=False), tmp_path)
    assert "loses" not in found.reason
    assert found.remarks[0].startswith("Without a model, repeating the label a ")


def test_labels_that_come_late_are_repeated_late(history: Callable[..., History], make_spec: Make) -> None:
    """The error of a walk grows with the delay; what nobody can know yet is not used."""
    errors = []
    for delay in (timedelta(0), timedelta(days=1), timedelta(days=10)):
        walked = history(walk=True, delay=delay)
        errors.append(naive_series(make_spec(), walked, WEEKS)["the last known label"].value())
    assert errors == sorted(errors)
    y = walked.rows.column("y").to_numpy()
    ahead = int(timedelta(days=10) / timedelta(hours=1)) + 1
    first, last = walked.between(WEEKS[0], WEEKS[-1])
    assert errors[-1] == pytest.approx(np.abs(y[first:last] - y[first - ahead : last - ahead]).mean())
