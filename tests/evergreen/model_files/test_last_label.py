"""Rules of one line: the last known label of each series, that of a day or a week ago, and the chances they give."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from evergreen.data.predictions import Predictions
from evergreen.model_files.last_label import LAST_LABEL, earlier_labels, repeat_labels

DAY, WEEK = "the label a day before", "the label a week before"


def test_the_last_label_is_that_of_the_series_and_of_an_earlier_time() -> None:
    """Rows of the same time do not know each other; the first of a series knows nothing."""
    time = pd.Series(pd.to_datetime(["2026-01-01", "2026-01-01", "2026-01-02", "2026-01-02", "2026-01-03"], utc=True))
    site = pd.Series(["north", "south", "north", "south", "north"])
    labels = np.array([1.0, 10.0, 2.0, 20.0, 3.0])
    assert earlier_labels(labels, time, [site])[LAST_LABEL].tolist()[2:] == [1.0, 10.0, 2.0]
    assert np.isnan(earlier_labels(labels, time, [site])[LAST_LABEL][:2]).all()
    assert earlier_labels(labels, time, [])[LAST_LABEL].tolist()[2:] == [10.0, 10.0, 20.0]


def test_without_a_time_it_is_the_row_before() -> None:
    """Texts as well as numbers."""
    assert earlier_labels(np.array(["a", "b", "b"], dtype=object), None, [])[LAST_LABEL].tolist()[1:] == ["a", "b"]


def test_seasons_are_there_where_the_times_allow() -> None:
    """Hours have a day and a week before, days a week, and rows at no fixed times neither."""
    hours = pd.Series(pd.date_range("2026-01-01", periods=24 * 21, freq="h", tz="UTC"))
    labels = np.arange(len(hours), dtype=float)
    found = earlier_labels(labels, hours, [])
    assert set(found) == {LAST_LABEL, DAY, WEEK}
    assert found[DAY][200] == labels[200 - 24]
    assert found[WEEK][200] == labels[200 - 168]
    assert found[WEEK][50] == labels[49]
    days = pd.Series(pd.date_range("2026-01-01", periods=90, freq="D", tz="UTC"))
    assert set(earlier_labels(np.arange(90.0), days, [])) == {LAST_LABEL, WEEK}
    odd = hours + pd.to_timedelta(np.random.default_rng(1).integers(0, 1800, len(hours)), unit="s")
    assert set(earlier_labels(labels, odd, [])) == {LAST_LABEL}
    once = pd.Series(pd.to_datetime(["2026-01-01"] * 3, utc=True))
    assert np.isnan(earlier_labels(np.arange(3.0), once, [])[LAST_LABEL]).all()


def test_a_row_without_a_label_before_gets_the_constant() -> None:
    """Of a regression."""
    otherwise = Predictions(np.array([7.0, 7.0]))
    said = repeat_labels(np.array([np.nan, 2.0]), np.array([1.0, 2.0]), np.array([0]), np.array([0, 1]), otherwise)
    assert said.values.tolist() == [7.0, 2.0]


def test_the_chance_of_a_class_is_how_often_it_followed() -> None:
    """Of "a" comes "b" twice and "a" once, beside one row that counts as the shares of all."""
    y = np.array(["a", "b", "a", "b", "a", "a", "a"], dtype=object)
    earlier = earlier_labels(y, None, [])[LAST_LABEL]
    shares = np.array([[4 / 6, 2 / 6]])
    said = repeat_labels(earlier, y, np.arange(6), np.array([6]), Predictions(np.array(["a"]), shares, ("a", "b")))
    assert said.values.tolist() == ["a"]
    assert said.probability is not None
    assert said.probability[0].tolist() == pytest.approx([(1 + 4 / 6) / 4, (2 + 2 / 6) / 4])
