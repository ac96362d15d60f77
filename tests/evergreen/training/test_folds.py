"""Folds of the search follow the rules of the split: by time, between times, equal rows together."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold, TimeSeriesSplit

from evergreen.spec.fields import Rows
from evergreen.spec.monitoring import PerformanceThresholds
from evergreen.spec.training import Holdout, Search
from evergreen.training.folds import split_into_folds
from tests.evergreen.data.test_split import spec_of

Make = Callable[..., Any]
GRID = Search(grid={"model__alpha": (1.0, 2.0)}, folds=3)
SPECS = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _rows(counts: list[int]) -> pd.DataFrame:
    """Rows of as many days, with so many rows each."""
    days = np.repeat(np.arange(len(counts)), counts)
    start = pd.Timestamp("2025-01-01", tz="UTC").as_unit("us")
    return pd.DataFrame({"at": start + pd.to_timedelta(days, unit="D"), "x": np.arange(len(days)), "_row": days})


def test_different_times_are_the_folds_that_everybody_knows(make_spec: Make) -> None:
    """Without ties they are scikit-learn's TimeSeriesSplit."""
    rows = _rows([1] * 50)
    folds = split_into_folds(make_spec(search=GRID), rows, np.arange(50.0))
    for fold, known in zip(folds, TimeSeriesSplit(3).split(rows), strict=True):
        assert [part.tolist() for part in fold] == [part.tolist() for part in known]


@SPECS
@given(counts=st.lists(st.integers(1, 20), min_size=5, max_size=30), gap=st.none() | st.integers(1, 3))
def test_no_time_is_on_both_sides(counts: list[int], gap: int | None, make_spec: Make) -> None:
    """Whatever the ties, what is learned is older than what is tested, by the gap where there is one."""
    rows = _rows(counts)
    spec = make_spec(search=GRID, holdout=Holdout(gap=timedelta(days=gap) if gap else None))
    for fit, test in split_into_folds(spec, rows, np.arange(float(len(rows)))):
        distance = rows["at"].iloc[test].min() - rows["at"].iloc[fit].max()
        assert distance >= timedelta(days=gap or 1)


def test_rows_of_one_time_are_divided_at_random(make_spec: Make) -> None:
    """One time has no order; every row is tested once."""
    folds = split_into_folds(make_spec(search=GRID), _rows([40]), np.arange(40.0))
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(40))


@SPECS
@given(values=st.lists(st.integers(0, 15), min_size=12, max_size=60), task=st.sampled_from(["regression", "classes"]))
def test_equal_rows_are_in_one_fold(values: list[int], task: str, make_spec: Make) -> None:
    """Without keys a row and its copies are learned or tested together, and every row is tested once."""
    spec = make_spec(search=GRID, time=None, keys=(), holdout=Holdout(strategy="random"))
    rows = pd.DataFrame({"x": values, "_row": np.arange(len(values))})
    y = np.array(values, dtype="float64" if task == "regression" else "int64") // 8
    if len(set(values)) < 2:
        return
    folds = split_into_folds(spec, rows, y)
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(values)))
    for fit, test in folds:
        assert not set(np.array(values)[fit]) & set(np.array(values)[test])


def test_different_rows_are_the_stratified_folds_that_everybody_knows(make_spec: Make) -> None:
    """Without copies they are scikit-learn's, with the model's seed."""
    spec = spec_of(Holdout(strategy="random"), time=None).model_copy(update={"task": "classification", "search": GRID})
    y = np.arange(60) % 3
    folds = split_into_folds(spec, pd.DataFrame({"x": np.arange(60)}), y)
    known = StratifiedKFold(3, shuffle=True, random_state=42).split(y, y)
    assert all((fold[1] == one[1]).all() for fold, one in zip(folds, known, strict=True))


def test_a_column_that_begins_late_is_learned_from_where_it_has_values(make_spec: Make) -> None:
    """Folds before it has any are passed over; a column without a value anywhere leaves the folds as they are."""
    rows = _rows([1] * 40).assign(x=np.where(np.arange(40) < 15, np.nan, 1.0))
    spec, y = make_spec(search=GRID), np.arange(40.0)
    assert [len(fit) for fit, _ in split_into_folds(spec, rows, y)] == [20, 30]
    assert len(split_into_folds(spec, rows.assign(x=np.nan), y)) == 3


def _fold_faults(folds: list[tuple[Any, Any]], values: list[int], gap: int) -> list[str]:
    """What is wrong with folds of rows in the order of landing, of which equal ones are where the first of them is."""
    first = {value: place for place, value in reversed(list(enumerate(values)))}
    faults = []
    for fit, test in folds:
        learned, tested = ([first[values[row]] for row in rows] for rows in (fit, test))
        if set(learned) & set(tested):
            faults.append("an equal row is learned and tested")
        elif min(tested) - max(learned) < gap:
            faults.append("a row is learned that came after a tested one, or within the gap before it")
    every = [int(row) for _, test in folds for row in test]
    return faults + ([] if len(every) == len(set(every)) else ["a row is tested twice"])


@SPECS
@given(values=st.lists(st.integers(0, 40), min_size=12, max_size=60), gap=st.none() | st.integers(1, 4))
def test_folds_of_rows_without_a_time_follow_their_order(values: list[int], gap: int | None, make_spec: Make) -> None:
    """Each is tested on rows that landed after those it learned, by the gap, and copies go with the first such row."""
    if len(set(values)) < 8:
        return
    rule = Holdout(gap=Rows(gap) if gap else None)
    watched = PerformanceThresholds(window=Rows(10))
    spec = make_spec(search=GRID, time=None, order="rows", keys=(), holdout=rule, performance=watched)
    rows = pd.DataFrame({"x": values, "_row": np.arange(len(values))})
    folds = split_into_folds(spec, rows, np.arange(float(len(values))))
    assert folds and _fold_faults(folds, values, gap or 1) == []


def test_planted_folds_are_refused(make_spec: Make) -> None:
    """Shuffled ones, a gap that is one too short, and copies that are told apart."""
    watched = PerformanceThresholds(window=Rows(10))
    values = [*range(30), 0, 1]
    rows, y = pd.DataFrame({"x": values, "_row": np.arange(32)}), np.arange(32.0)
    shuffled = make_spec(search=GRID, time=None, keys=(), holdout=Holdout(strategy="random"))
    assert _fold_faults(split_into_folds(shuffled, rows, y), values, 1)
    keyed = make_spec(search=GRID, time=None, order="rows", performance=watched)
    assert _fold_faults(split_into_folds(keyed, rows, y), values, 1)
    ordered = make_spec(
        search=GRID, time=None, order="rows", keys=(), holdout=Holdout(gap=Rows(3)), performance=watched
    )
    folds = split_into_folds(ordered, rows, y)
    assert _fold_faults(folds, values, 3) == [] != _fold_faults(folds, values, 4)
