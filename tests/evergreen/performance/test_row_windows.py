"""Rows in the order of landing are judged by windows of so many rows, from the first that a champion did not know."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evergreen.data.observations import Observations
from evergreen.data.windows import Window
from evergreen.performance.check import _awaited
from evergreen.performance.label_coverage import LabelWindow, label_windows
from evergreen.performance.labelled_rows import labelled_rows
from evergreen.performance.shadow import _before, grouped, looks, matured
from evergreen.registry.lineage import first_unlearned
from evergreen.registry.version import Version, VersionTags
from evergreen.spec.fields import Rows
from evergreen.spec.model import ModelSpec
from evergreen.spec.monitoring import PerformanceThresholds, Shadow
from evergreen.training.plan import count_rows

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Make = Callable[..., Any]


def champion(**tags: str) -> Version:
    return Version("toy", 1, "run", "model", VersionTags.read(tags), "")


@pytest.fixture
def spec(make_spec: Make) -> ModelSpec:
    """The toy without its time, judged by windows of ten rows."""
    watched = PerformanceThresholds(window=Rows(10), last=Rows(15), min_rows=5, coverage=0.5)
    found: ModelSpec = make_spec(time=None, order="rows", performance=watched, shadow=Shadow(windows=2))
    return found


@pytest.fixture
def observations(tmp_path: Path, spec: ModelSpec, make_rows: Make) -> Observations:
    """Forty-five rows; those from 32 on have no label yet."""
    rows: pd.DataFrame = make_rows(45).assign(at=lambda frame: frame["at"].dt.tz_localize("UTC"))
    held = Observations(str(tmp_path), spec)
    held.land(rows.assign(y=rows["y"].where(rows["id"] < 32)), "1", "a", now=NOW)
    return held


def test_windows_are_counted_from_the_first_row(observations: Observations) -> None:
    """The last is not full, and two have no labels yet: they are not judged."""
    found = label_windows(observations, Window(observations.snapshot(), from_row=5))
    assert [(one.number, one.first_row, one.start, one.rows, one.labelled, one.mature) for one in found] == [
        (0, 0, None, 5, 5, True),
        (1, 10, None, 10, 10, True),
        (2, 20, None, 10, 10, True),
        (3, 30, None, 10, 2, False),
        (4, 40, None, 5, 0, False),
    ]


@pytest.mark.parametrize(
    ("tags", "last", "ids"),
    [
        ({"next_row": "20"}, None, range(20, 30)),
        # What had landed, but had no label yet when it was trained, judges it once it has one.
        ({"next_row": "28", "learned_row": "11"}, None, range(12, 30)),
        ({"next_row": "28", "learned_row": "11"}, Rows(15), range(15, 30)),
        ({"next_row": "28", "learned_row": "24"}, Rows(15), range(25, 30)),
    ],
)
def test_rows_judge_that_the_champion_did_not_know(
    observations: Observations, tags: dict[str, str], last: Rows | None, ids: range
) -> None:
    """Of mature windows, so many numbers back from the end of the newest one, in the order of landing."""
    watched = observations.spec.performance.model_copy(update={"last": last})
    observations.spec = observations.spec.model_copy(update={"performance": watched})
    found = labelled_rows(observations, champion(**tags), observations.snapshot(), NOW)
    assert found.frame["id"].tolist() == list(ids)
    assert found.frame["_row"].tolist() == list(ids)
    assert found.numbers.tolist() == [number // 10 for number in ids]
    assert _awaited(observations.spec, found)[0].endswith("the newest mature one ends before row 30")


def test_a_version_says_which_rows_it_knew(observations: Observations) -> None:
    """The number of the newest labelled row; a version without it had seen what had landed."""
    spec = observations.spec
    assert count_rows(spec, observations, Window(observations.snapshot()))[2] == 31
    assert first_unlearned(champion(next_row="45", learned_row="31")) == 32
    assert first_unlearned(champion(next_row="45")) == 45


def test_the_shadow_looks_window_by_window(observations: Observations) -> None:
    """A window is over when a row of the next one has landed; rows are drawn in stretches, six or more."""
    spec = observations.spec
    windows = [LabelWindow(number, None, 10, 10, True, 10 * number) for number in range(4)]
    assert looks(spec) == 2
    assert [[one.number for one in matured(spec, windows, NOW, landed)] for landed in (9, 10, 19, 45)] == [
        [],
        [0],
        [0],
        [0, 1],
    ]
    frame = observations.frame(observations.snapshot().version, _before(observations, windows[1]))
    assert frame["_row"].tolist() == list(range(20))
    groups = grouped(spec, frame)
    assert groups is not None and np.bincount(groups).tolist() == [3, 3, 3, 3, 3, 3, 2]
    assert grouped(spec, frame.head(0)) is None
