from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from evergreen.data.observations import Observations
from evergreen.data.snapshot import Snapshot
from evergreen.data.windows import (
    Window,
    block_numbers,
    cluster_ids,
    current_window,
    judged_window,
    row_weights,
    training_window,
)
from evergreen.spec.model import ModelSpec
from evergreen.spec.monitoring import DriftThresholds, PerformanceThresholds
from evergreen.spec.training import Holdout, Training
from tests.evergreen.data.test_split import frame_of, spec_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Make = Callable[..., ModelSpec]
Rows = Callable[..., pd.DataFrame]


def landed(tmp_path: Path, spec: ModelSpec, *frames: pd.DataFrame) -> tuple[Observations, list[Snapshot]]:
    observations = Observations(str(tmp_path / "lake"), spec)
    snapshots = []
    for number, frame in enumerate(frames):
        rows = frame.assign(at=frame["at"].dt.tz_localize("UTC")) if frame["at"].dt.tz is None else frame
        observations.land(rows, f"b{number}", f"{number}.csv", now=NOW)
        snapshots.append(observations.snapshot())
    return observations, snapshots


def test_the_training_window_counts_from_the_newest_row(tmp_path: Path, make_spec: Make, make_rows: Rows) -> None:
    """The last day is the day before the newest row, both ends included, in time order; without a bound it is all."""
    spec = make_spec(training=Training(last=timedelta(days=1)))
    observations, (_, snapshot) = landed(tmp_path, spec, make_rows(30, start=20), make_rows(20))
    found = training_window(spec, snapshot).read(observations)
    assert found["id"].tolist() == list(range(25, 50))
    everything = training_window(make_spec(), snapshot)
    assert everything.where(observations) is None
    assert everything.read(observations)["id"].tolist() == list(range(50))


def test_the_current_window_is_what_came_after(tmp_path: Path, make_spec: Make, make_rows: Rows) -> None:
    """Current rows are later than the champion's newest, and no older than the drift policy looks back."""
    spec = make_spec()
    observations, (first, second) = landed(tmp_path, spec, make_rows(30), make_rows(30, start=30))
    window = current_window(spec, second, first.end, first.next_row)
    assert window.read(observations)["id"].tolist() == list(range(30, 60))
    short = make_spec(drift=DriftThresholds(last=timedelta(hours=5)))
    assert current_window(short, second, first.end, 0).read(observations)["id"].tolist() == list(range(54, 60))


def test_the_current_window_without_time(tmp_path: Path, make_spec: Make, make_rows: Rows) -> None:
    """Without time, current is what landed later, an earlier row with a new content among it."""
    spec = make_spec(time=None)
    corrected = pd.concat([make_rows(5, start=30), make_rows(1).assign(y=9.0)])
    observations, (first, second) = landed(tmp_path, spec, make_rows(30), corrected)
    window = current_window(spec, second, first.end, first.next_row)
    assert sorted(window.read(observations)["id"]) == [0, 30, 31, 32, 33, 34]


def test_the_judged_window_ends_now(tmp_path: Path, make_spec: Make, make_rows: Rows) -> None:
    """Judged rows are later than the champion's newest and not of the future; `last` counts from what has happened."""
    short = make_spec(performance=PerformanceThresholds(last=timedelta(hours=5)))
    observations, (first, second) = landed(tmp_path, make_spec(), make_rows(30), make_rows(30, start=30))
    now = datetime(2025, 1, 3, 2, tzinfo=UTC)
    for spec, at, ids in (
        (make_spec(), NOW, range(30, 60)),
        (make_spec(), now, range(30, 51)),
        (short, NOW, range(54, 60)),
        (short, now, range(45, 51)),
        (make_spec(), datetime(2025, 1, 1, tzinfo=UTC), range(0)),
    ):
        window = judged_window(spec, second, first.end, first.next_row, at)
        assert window.read(observations)["id"].tolist() == list(ids)
    timeless = judged_window(make_spec(time=None), second, first.end, first.next_row, now)
    assert timeless == Window(second, from_row=30, as_of=now.isoformat())


def test_a_window_reads_its_own_version(tmp_path: Path, make_spec: Make, make_rows: Rows) -> None:
    """Rows that landed later are not in the window of an earlier snapshot."""
    observations, (first, _) = landed(tmp_path, make_spec(), make_rows(10), make_rows(10, start=10))
    assert len(Window(first).read(observations)) == 10


def test_blocks_count_from_the_epoch() -> None:
    """Block numbers are those of 1970, also before it."""
    times = pd.Series(pd.to_datetime(["1970-01-01T00:00Z", "1970-01-02T00:00Z", "1969-12-31T23:59Z"]))
    assert block_numbers(times, timedelta(days=1)).tolist() == [0, 1, -1]


def test_rows_of_a_day_stand_together() -> None:
    """Clusters are days; where there are only a few, time is cut finer; one instant is one cluster; no time, none."""
    spec = spec_of(Holdout())
    month, day = cluster_ids(spec, frame_of(range(24 * 30))), cluster_ids(spec, frame_of(range(24)))
    assert month is not None and len(np.unique(month)) == 30
    assert day is not None and len(np.unique(day)) >= 20
    same = cluster_ids(spec, pd.concat([frame_of([5])] * 3))
    assert same is not None and len(np.unique(same)) == 1
    assert cluster_ids(spec_of(Holdout(strategy="random"), time=None), frame_of(range(3))) is None
    assert cluster_ids(spec, frame_of([])) is None


def test_weights_halve_with_age(make_spec: Make) -> None:
    """The newest row weighs 1, one a half-life older a half; without a half-life all weigh alike."""
    frame = frame_of([0, 24, 48])
    found = row_weights(make_spec(training=Training(half_life=timedelta(days=1))), frame)
    assert found is not None
    assert found.tolist() == pytest.approx([0.25, 0.5, 1.0])
    assert row_weights(make_spec(), frame) is None


def test_a_window_knows_what_was_known_then(tmp_path: Path, make_spec: Make, make_rows: Rows) -> None:
    """A target that became known after the logical time is missing, in frames and in samples; the row is there."""
    spec = make_spec()
    observations, _ = landed(tmp_path, spec, make_rows(30).assign(y=[1.0] * 10 + [np.nan] * 20))
    at = NOW + timedelta(hours=1)
    types = {name: observations.table.schema.field(name).type for name in ("id", "y", "_labelled_at")}
    columns = {"id": range(10, 30), "y": [2.0] * 20, "_labelled_at": [at] * 10 + [at + timedelta(hours=1)] * 10}
    labels = pa.table({name: pa.array(list(values), types[name]) for name, values in columns.items()})
    observations.set_labels(observations.find(labels.select(["id"])), labels, np.ones(20, dtype=bool), "labels")
    snapshot = observations.snapshot()
    for now, known in ((NOW, 10), (at, 20), (at + timedelta(hours=2), 30), (None, 30)):
        windows = [training_window(spec, snapshot, now), current_window(spec, snapshot, None, 0, now)]
        windows += [judged_window(spec, snapshot, None, 0, now)] if now else []
        for window in windows:
            frame = window.read(observations)
            assert (len(frame), int(frame["y"].notna().sum())) == (30, known)
            assert "_labelled_at" not in frame
            sampled, total = window.sample(observations, 15, seed=1)
            assert (len(sampled), total, list(sampled.columns)) == (15, 30, list(frame.columns))
            drawn = frame.set_index("id").loc[sampled["id"], "y"].reset_index(drop=True)
            pd.testing.assert_series_equal(sampled["y"], drawn)
    assert len(training_window(spec, snapshot, NOW).read(observations, ["x"]).columns) == 3
