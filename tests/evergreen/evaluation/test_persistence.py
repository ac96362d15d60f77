from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.data.predictions import Predictions
from evergreen.evaluation.persistence import (
    LabelledHistory,
    Places,
    forecast_last,
    forecast_season,
    number_series,
)
from evergreen.spec.metric import Metric

HOUR = 3_600_000_000
MAE = Metric(name="mae")


def history(
    y: list[float], *, delay: int = 0, hours: list[int] | None = None, series: list[int] | None = None
) -> LabelledHistory:
    times = np.array(hours if hours is not None else range(len(y)), dtype=np.int64) * HOUR
    return LabelledHistory(times, times + delay * HOUR, np.array(y), np.array(series or [0] * len(y), dtype=np.intp))


def split(rows: int, judged: int) -> tuple[Places, Places, Predictions]:
    """The last rows are judged; where no label is known -1 is predicted."""
    return np.arange(rows - judged), np.arange(rows - judged, rows), Predictions(np.full(judged, -1.0))


def test_a_label_is_repeated_when_it_is_known() -> None:
    """The label of the row before; with labels that come two hours late, of three hours before; never its own."""
    y = [float(number) for number in range(10)]
    assert forecast_last(history(y), *split(10, 3), MAE).predictions.values.tolist() == [6, 7, 8]
    late = forecast_last(history(y, delay=2), *split(10, 3), MAE)
    assert late.predictions.values.tolist() == [4, 5, 6]
    assert late.covered == 1


def test_nothing_is_known_yet() -> None:
    """The fallback is predicted, and the share of rows for which a label was known is told."""
    never = forecast_last(history([1.0, 2.0, 3.0, 4.0], delay=99), *split(4, 2), MAE)
    assert never.predictions.values.tolist() == [-1, -1]
    assert never.covered == 0


def test_each_series_repeats_its_own() -> None:
    """Two sites in turn; a site's label follows its own."""
    y = [1.0, 100.0] * 10
    told = history(y, hours=[number // 2 for number in range(20)], series=[0, 1] * 10)
    assert forecast_last(told, *split(20, 4), MAE).predictions.values.tolist() == [1, 100, 1, 100]


def test_series_are_what_comes_often() -> None:
    """Keys of things that come once number no series; two keys together name one."""
    assert set(number_series([np.arange(50)], 50)) == {0}
    assert set(number_series([], 5)) == {0}
    both = number_series([np.array(["a", "b"] * 40), np.array([1, 1, 2, 2] * 20)], 80)
    assert len(set(both)) == 4
    assert both[0] == both[4]


def test_the_season_that_fits_is_taken() -> None:
    """Hours that repeat each day, days that repeat each week; where labels are late, an earlier season's."""
    days = [float(hour % 24) for hour in range(24 * 12)]
    daily = forecast_season(history(days), *split(len(days), 24), MAE)
    assert daily is not None and daily.name == "the label a day before"
    assert daily.predictions.values.tolist() == days[:24]
    late = forecast_season(history(days, delay=30), *split(len(days), 24), MAE)
    assert late is not None
    assert late.predictions.values.tolist() == days[:24]
    weeks = [float((hour // 24) % 7) for hour in range(24 * 70)]
    weekly = forecast_season(history(weeks), *split(len(weeks), 24 * 7), MAE)
    assert weekly is not None and weekly.name == "the label a week before"
    assert weekly.predictions.values.tolist() == weeks[-24 * 7 :]


def test_no_season_fits() -> None:
    """Rows a month apart have neither days nor weeks, and two years of them no year to compare."""
    assert (
        forecast_season(history([1.0] * 12, hours=[number * 730 for number in range(12)]), *split(12, 3), MAE) is None
    )
    assert forecast_season(history([1.0, 2.0]), *split(2, 1), MAE) is None


@pytest.mark.parametrize("name", ["log_loss", "roc_auc", "accuracy"])
def test_classes_get_the_share_with_which_they_followed(name: str) -> None:
    """A class that stays gets a high probability, none gets zero, and the rows' probabilities add up to one."""
    y = np.array((["up"] * 10 + ["down"] * 10) * 6, dtype=object)
    times = np.arange(120) * HOUR
    told = LabelledHistory(times, times, y, np.zeros(120, dtype=np.intp))
    learned, judged = np.arange(100), np.arange(100, 120)
    dummy = Predictions(np.array(["up"] * 20, dtype=object), np.full((20, 2), 0.5), ("down", "up"))
    forecast = forecast_last(told, learned, judged, dummy, Metric(name=name))
    assert forecast.predictions.values.tolist() == y[99:119].tolist()
    probability = forecast.predictions.probability
    assert probability is not None
    assert np.allclose(probability.sum(axis=1), 1)
    assert probability.min() > 0
    assert probability[5, 1] > 0.8
    assert probability[15, 1] < 0.2


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9), st.integers(0, 2)), min_size=2, max_size=40),
)
def test_no_label_of_the_future(rows: list[tuple[int, int, int]]) -> None:
    """Whatever the times, delays and series: the repeated label is the latest known one, found by looking at all."""
    rows = sorted(rows)
    times = np.array([row[0] for row in rows], dtype=np.int64) * HOUR
    known = times + np.array([row[1] for row in rows], dtype=np.int64) * HOUR
    series = np.array([row[2] for row in rows], dtype=np.intp)
    y = np.arange(len(rows), dtype=float)
    everything = np.arange(len(rows))
    fallback = Predictions(np.full(len(rows), -1.0))
    found = forecast_last(LabelledHistory(times, known, y, series), everything[:0], everything, fallback, MAE)
    for row in everything:
        before = [each for each in everything if series[each] == series[row] and known[each] < times[row]]
        assert found.predictions.values[row] == (max(before) if before else -1)
