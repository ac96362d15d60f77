"""Which stretches of time have their labels, as it was known at a time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from evergreen.data.observations import Observations
from evergreen.data.windows import Window, judged_window, training_window
from evergreen.performance.label_coverage import in_mature, label_windows, window_numbers
from evergreen.spec.model import ModelSpec
from evergreen.spec.monitoring import PerformanceThresholds

NOW = datetime(2026, 1, 1, tzinfo=UTC)
START = datetime(2025, 1, 1, tzinfo=UTC)
Make = Callable[..., ModelSpec]
Rows = Callable[..., pd.DataFrame]


@pytest.fixture
def labelled(tmp_path: Path, make_spec: Make, make_rows: Rows) -> Callable[..., tuple[Observations, Window]]:
    """Two days of hourly rows; those named have a label, known so many hours after their row."""

    def make(hours: Any, late: int = 0, now: datetime = NOW, **changes: Any) -> tuple[Observations, Window]:
        policy = PerformanceThresholds(window=timedelta(hours=12), coverage=0.75)
        spec = make_spec(**{"performance": policy} | changes)
        observations = Observations(str(tmp_path / "lake"), spec)
        rows = make_rows(48).assign(y=np.nan)
        rows["at"] = rows["at"].dt.tz_localize("UTC")
        observations.land(rows, "rows", "rows.csv", now=NOW)
        ids = sorted(hours)
        known = [START + timedelta(hours=number + late) for number in ids]
        types = {name: observations.table.schema.field(name).type for name in ("id", "y", "_labelled_at")}
        columns = {"id": ids, "y": [float(number) for number in ids], "_labelled_at": known}
        labels = pa.table({name: pa.array(values, types[name]) for name, values in columns.items()})
        held = observations.find(labels.select(["id"]))
        observations.set_labels(held, labels, np.ones(len(ids), dtype=bool), "labels")
        return observations, judged_window(spec, observations.snapshot(), None, 0, now)

    return make


def test_a_window_is_mature_from_its_coverage_on(labelled: Callable[..., Any]) -> None:
    """With exactly the share that is asked for it is mature, with one label less it is not."""
    observations, window = labelled([*range(12), *range(12, 21), *range(24, 32)])
    found = label_windows(observations, window)
    assert [(one.rows, one.labelled, one.mature) for one in found] == [
        (12, 12, True),
        (12, 9, True),
        (12, 8, False),
        (12, 0, False),
    ]
    assert [one.coverage for one in found] == [1.0, 0.75, 8 / 12, 0.0]
    assert found[1].start == "2025-01-01T12:00:00+00:00"
    assert [one.number for one in found] == list(range(found[0].number, found[0].number + 4))


def test_the_bound_is_the_model_files(labelled: Callable[..., Any]) -> None:
    """A coverage of one asks for every label."""
    policy = PerformanceThresholds(window=timedelta(days=1), coverage=1.0)
    observations, window = labelled([*range(24), *range(25, 48)], performance=policy)
    assert [one.mature for one in label_windows(observations, window)] == [True, False]


def test_a_label_counts_from_when_it_was_known(labelled: Callable[..., Any]) -> None:
    """At a time in the past the windows are as they were then: rows that had come, and labels that were known."""
    observations, _ = labelled(range(48), late=6)
    snapshot, spec = observations.snapshot(), observations.spec

    def seen(hour: float) -> list[tuple[int, int, bool]]:
        window = judged_window(spec, snapshot, None, 0, START + timedelta(hours=hour))
        return [(one.rows, one.labelled, one.mature) for one in label_windows(observations, window)]

    assert seen(5) == [(6, 0, False)]
    assert seen(14) == [(12, 9, True), (3, 0, False)]
    assert seen(17) == [(12, 12, True), (6, 0, False)]
    assert seen(60) == [(12, 12, True)] * 4


def test_without_a_time_there_is_one_window(labelled: Callable[..., Any]) -> None:
    """Rows whose only order is that of landing are one window, mature or not as a whole, also at a past time."""
    observations, window = labelled(range(36), time=None, keys=("id",))
    (found,) = label_windows(observations, window)
    assert (found.number, found.start, found.rows, found.labelled, found.mature) == (0, None, 48, 36, True)
    past = judged_window(observations.spec, observations.snapshot(), None, 0, START + timedelta(hours=2))
    (found,) = label_windows(observations, past)
    assert (found.rows, found.labelled, found.mature) == (48, 3, False)


def test_no_rows_are_no_windows(tmp_path: Path, make_spec: Make) -> None:
    """Before anything landed, and where a champion saw everything, there is nothing to be mature."""
    observations = Observations(str(tmp_path / "lake"), make_spec())
    assert label_windows(observations, training_window(observations.spec, observations.snapshot())) == ()


def test_only_rows_of_mature_windows_are_taken(labelled: Callable[..., Any]) -> None:
    """Labels that came early to a window that has not got its others are left out."""
    observations, window = labelled([*range(12), 13, 14, *range(36, 46)])
    windows = label_windows(observations, window)
    frame = window.read(observations)
    taken = in_mature(observations, frame, windows)
    assert taken["id"].tolist() == [*range(12), *range(36, 48)]
    assert set(window_numbers(observations, taken)) == {one.number for one in windows if one.mature}
    assert in_mature(observations, frame, ()).empty
