"""A replay of rows without a time: what was there, which labels were known, and what is asked and told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from evergreen.backtest.clock import DAY, Clock
from evergreen.backtest.history import History
from evergreen.backtest.job_cache import JobCache, fit_fingerprint
from evergreen.backtest.job_runner import JobRunner
from evergreen.backtest.jobs import JobContext
from evergreen.backtest.request import (
    Request,
    named,
    place_of,
    require_no_times,
    steps_of,
    usual,
    window_name,
    window_of,
)
from evergreen.backtest.run import run
from evergreen.backtest.simulation import SimulationPlan
from evergreen.data.observations import Observations
from evergreen.data.windows import training_window
from evergreen.errors import DataError, EvergreenError
from evergreen.pages.backtest_page import page
from evergreen.spec.fields import Rows
from evergreen.spec.gates import Gates
from evergreen.spec.model import ModelSpec
from evergreen.spec.monitoring import DriftThresholds, PerformanceThresholds, Shadow
from evergreen.spec.policies import Every, Never
from evergreen.spec.training import Holdout, Training
from evergreen.training.naive import read_known_times

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
Make = Callable[..., Any]


@pytest.fixture
def spec(make_spec: Make) -> ModelSpec:
    """The toy without its time: windows of twenty rows, a quarter of each judges."""
    found: ModelSpec = make_spec(
        time=None,
        order="rows",
        performance=PerformanceThresholds(window=Rows(20), min_rows=20, tolerance=0.3, last=Rows(40)),
        drift=DriftThresholds(min_rows=20, last=Rows(60)),
        training=Training(min_rows=40, last=Rows(120)),
        holdout=Holdout(strategy="blocked", block=Rows(5), every=4, min_rows=10),
        gates=Gates(persistence="tell"),
        shadow=Shadow(windows=2, min_rows=20),
    )
    return found


@pytest.fixture
def rows(make_rows: Make) -> pd.DataFrame:
    """Three hundred rows; from row 160 on another law."""
    frame: pd.DataFrame = pd.concat([make_rows(160), make_rows(140, start=160, slope=-2.0)], ignore_index=True)
    return frame.assign(at=frame["at"].dt.tz_localize("UTC"))


def label(observations: Observations, ids: list[int], at: datetime) -> None:
    """Labels of some rows, which come at a time."""
    types = {name: observations.table.schema.field(name).type for name in ("id", "y", "_labelled_at")}
    columns = {"id": ids, "y": [2.0] * len(ids), "_labelled_at": [at] * len(ids)}
    labels = pa.table({name: pa.array(values, types[name]) for name, values in columns.items()})
    matched = observations.find(labels.select(["id"]))
    observations.set_labels(matched, labels, np.ones(len(ids), dtype=bool), f"labels at {at}")


def test_a_label_is_known_since_the_last_row_that_had_landed(
    tmp_path: Path, spec: ModelSpec, rows: pd.DataFrame
) -> None:
    """Of a lake in which labels came between batches, live and replayed; nothing of a later row is to be seen."""
    observations = Observations(str(tmp_path), spec)
    bare = rows.assign(y=np.nan)
    observations.land(bare.head(30), "1", "a", now=NOW)
    label(observations, [0, 1], NOW + HOUR)
    observations.land(bare.iloc[30:50], "2", "b", now=NOW + 2 * HOUR)
    label(observations, [2, 40], NOW + 3 * HOUR)
    observations.land(rows.iloc[50:60], "3", "c", now=NOW + 4 * HOUR)
    expected = {0: 29, 1: 29, 2: 49, 40: 49} | {row: row for row in range(50, 60)}

    history = History.of(observations)
    known = np.searchsorted(history.times, history.known)
    assert {row: int(known[row]) for row in expected} == expected
    assert (np.delete(history.known, list(expected)) == np.iinfo(np.int64).max).all()
    clock = history.clock
    for past, labels in ((30, {0, 1}), (49, {0, 1}), (50, {0, 1, 2, 40}), (52, {0, 1, 2, 40, 50, 51})):
        then = history.at(clock.instant(past))
        frame = then.frame(0)
        assert (then.snapshot().next_row, frame["_row"].max()) == (past, past - 1)
        assert set(frame["id"][frame["y"].notna()]) == labels
        assert (then.snapshot().start, then.snapshot().end) == (None, None)

    for place in (observations, history.at(clock.instant(60))):
        window = training_window(spec, place.snapshot())
        frame = window.read(place)
        labelled = frame[frame["y"].notna()].reset_index(drop=True)
        found = read_known_times(place, window, labelled)
        assert dict(zip(labelled["_row"], found.tolist(), strict=True)) == expected


def test_a_replay_numbers_rows_anew(tmp_path: Path, spec: ModelSpec, rows: pd.DataFrame) -> None:
    """A number whose row is gone leaves no hole: a step has as many rows as a window."""
    own = spec.model_copy(update={"keys": ()})
    observations = Observations(str(tmp_path), own)
    observations.land(rows.head(40), "1", "a", now=NOW)
    observations.land(rows.iloc[10:60], "2", "a", now=NOW + HOUR)
    assert observations.snapshot().next_row == 60
    history = History.of(observations)
    assert history.rows.column("_row").to_pylist() == list(range(50))
    assert history.rows.column("id").to_pylist() == list(range(10, 60))
    assert (history.span, history.between(history.clock.instant(20), history.clock.instant(40))) == (Rows(50), (20, 40))


@pytest.fixture
def context(tmp_path: Path, spec: ModelSpec, rows: pd.DataFrame) -> JobContext:
    observations = Observations(str(tmp_path / "lake"), spec)
    observations.land(rows, "b", "test", now=NOW)
    return JobContext(spec, History.of(observations), JobCache(tmp_path / "backtest"))


def test_policies_are_compared_by_windows_of_rows(context: JobContext) -> None:
    """A step is a window; staying is worse than retraining after the change, and everything is told in rows."""
    steps = steps_of(context.history)
    assert [context.history.clock.row(step) for step in steps] == list(range(60, 301, 20))
    some = {"never": Never(), "always": Every(rows=20), "every 80 rows": Every(rows=80)}
    change = place_of(160, context.spec, "change")
    asked = Request(some, windows=("60 rows", "9000 rows"), change=change, report_from=place_of(200, context.spec, ""))
    found = run(JobRunner(context), SimulationPlan(steps, "hash"), asked)
    assert found.row("never").error > found.row("always").error
    assert found.row("always").retrains == len(found.steps) - found.chosen
    told = found.to_json()
    assert (told["reported_from"], found.clock, found.regular) == (200, Clock(Rows(20)), "every 80 rows")
    assert {one["window"] for one in told["policies"]} >= {"120 rows", "9000 rows"}
    assert all("late_rows" in one and "late_days" not in one for one in told["policies"])
    assert "row 200" not in found.reason and "6 steps to choose by are too few" in found.reason
    assert any("9000 rows is longer than the history of 300 rows" in remark for remark in found.remarks)
    assert any("repeating the last known label" in remark for remark in (*found.remarks, found.reason))
    html = page(found, NOW)
    assert "chosen by those before row 200" in html and "1970" not in html
    assert '"field":"at","type":"quantitative"' in html.replace(" ", "").replace("&#34;", '"')


def test_what_is_asked_of_rows_is_asked_in_rows(spec: ModelSpec, make_spec: Make, context: JobContext) -> None:
    """Places and windows are numbers of rows, and times are refused with what to write; of a time, the other way."""
    training = Training(min_rows=9)
    for text in ("all", "500 rows", "half-life 90 rows"):
        assert window_name(window_of(text, training, rows=True)) == text
    assert list(usual(spec))[1:3] == ["always", "every 80 rows"]
    assert named(["every 80 rows", "Every(rows=7)"], spec) == {
        "every 80 rows": Every(rows=80),
        "every 7 rows": Every(rows=7),
    }
    assert place_of(40, spec, "since") == datetime(1970, 1, 3, tzinfo=UTC)
    assert place_of(NOW, make_spec(), "since") == NOW
    cases: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("'90d' is not a training window", lambda: window_of("90d", training, rows=True)),
        ("'0 rows' is not a training window", lambda: window_of("0 rows", training, rows=True)),
        ("'500 rows' is not a training window", lambda: window_of("500 rows", training)),
        ("since: rows of toy have the order of landing", lambda: place_of(NOW, spec, "since")),
        ("since: row 99,999,999,999 lies behind any history", lambda: place_of(99_999_999_999, spec, "since")),
        ("since: 40 is the number of a row", lambda: place_of(40, make_spec(), "since")),
        ("label_delay: rows of toy have the order", lambda: require_no_times(spec, label_delay=DAY, train_time=None)),
        (
            "between row 260 and the end of the history, row 299",
            lambda: steps_of(context.history, place_of(260, spec, "since")),
        ),
    )
    for words, work in cases:
        with pytest.raises(EvergreenError, match=words):
            work()
    require_no_times(make_spec(), label_delay=DAY)
    require_no_times(spec, label_delay=None)


def test_rows_without_an_order_are_not_replayed(tmp_path: Path, make_spec: Make, rows: pd.DataFrame) -> None:
    """The message says both ways out; the order is part of what a fit follows from."""
    spec = make_spec(time=None, holdout=Holdout(strategy="random"))
    observations = Observations(str(tmp_path), spec)
    observations.land(rows, "b", "test", now=NOW)
    with pytest.raises(DataError, match="no time column") as caught:
        History.of(observations)
    assert "order='rows'" in caught.value.fix
    ordered = make_spec(time=None, order="rows", performance=PerformanceThresholds(window=Rows(20)))
    assert fit_fingerprint(ordered) != fit_fingerprint(ordered.model_copy(update={"order": None}))
