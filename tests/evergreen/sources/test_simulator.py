"""The simulator: reproducible day by day, of the published shape, and changing exactly where a scenario says so."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from evergreen.errors import ModelFileError
from evergreen.sources.base import Batch, Source
from evergreen.sources.bike_rentals import Scenario
from evergreen.sources.simulator import COLUMNS, SIMULATED, Simulator, simulate

NEW_YEAR = date(2011, 1, 1)
CHANGE = date(2011, 8, 1)
WEATHER = ["temp", "atemp", "hum", "windspeed"]
FEATURES = ["season", "mnth", "hr", "holiday", "weekday", "workingday", "weathersit", *WEATHER]
SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)


def summer(scenario: Scenario = "none", *, seed: int = 42, days: int = 86) -> pd.DataFrame:
    """56 days before `CHANGE` and the days after it."""
    return simulate(date(2011, 6, 6), days, seed=seed, scenario=scenario, change=CHANGE)


def batches(source: Source) -> list[Batch]:
    """Every batch of a source."""
    return [item for item in source.read(Path("unused"), lambda _batch: True) if isinstance(item, Batch)]


def rows(batch: Batch) -> pd.DataFrame:
    """The frame of a batch that has one."""
    assert batch.frame is not None
    return batch.frame


def psi(reference: pd.Series, current: pd.Series) -> float:
    """Population stability index over equal bins of both together, empty bins counted as 0.0001."""
    edges = np.histogram_bin_edges(np.concatenate([reference, current]), bins="sturges")
    shares = [np.maximum(np.histogram(part, edges)[0] / len(part), 1e-4) for part in (reference, current)]
    return float(((shares[0] - shares[1]) * np.log(shares[0] / shares[1])).sum())


@settings(max_examples=40)
@given(
    st.sampled_from(SCENARIOS),
    st.integers(0, 2**40),
    st.dates(NEW_YEAR, date(2030, 1, 1)),
    st.lists(st.integers(1, 20), min_size=1, max_size=4),
    st.integers(-5, 60),
)
def test_pieces_equal_one_long_call(
    scenario: Scenario, seed: int, start: date, pieces: list[int], change_after: int
) -> None:
    """However a stretch of days is cut, the pieces put together are the same to the last bit."""
    change = start + timedelta(days=change_after)
    ends = np.cumsum([0, *pieces])
    parts = [
        simulate(start + timedelta(days=int(end)), days, seed=seed, scenario=scenario, change=change)
        for end, days in zip(ends, pieces, strict=False)
    ]
    whole = simulate(start, sum(pieces), seed=seed, scenario=scenario, change=change)
    assert_frame_equal(pd.concat(parts, ignore_index=True), whole, check_exact=True)


@settings(max_examples=25)
@given(st.sampled_from(SCENARIOS), st.integers(0, 2**63), st.dates(NEW_YEAR, date(2040, 1, 1)), st.floats(0, 1))
def test_every_row_meets_the_published_schema(scenario: Scenario, seed: int, start: date, seasonal: float) -> None:
    """Columns, types and ranges are those of the UCI file, whatever the scenario."""
    frame = simulate(start, 15, seed=seed, scenario=scenario, change=start + timedelta(days=4), seasonal=seasonal)
    assert tuple(frame.columns) == COLUMNS
    assert (frame["cnt"] == frame["casual"] + frame["registered"]).all()
    bounds = {"season": (1, 4), "mnth": (1, 12), "hr": (0, 23), "holiday": (0, 1), "weekday": (0, 6)}
    bounds |= {"workingday": (0, 1), "weathersit": (1, 5), "yr": (0, 30), "casual": (0, 10**9)}
    for name, (low, high) in bounds.items():
        assert frame[name].dtype == "int64"
        assert frame[name].between(low, high).all(), name
    for name in WEATHER:
        assert frame[name].dtype == "float64"
        assert frame[name].between(0, 1).all(), name
    assert not frame.duplicated(["dteday", "hr"]).any()
    assert frame["instant"].is_monotonic_increasing


def test_dates_are_written_as_in_the_published_file() -> None:
    """`dteday` is month/day/year without leading zeros, and the calendar columns agree with it."""
    frame = simulate(NEW_YEAR, 365, seed=1)
    day = pd.to_datetime(frame["dteday"], format="%m/%d/%Y")
    assert frame["dteday"].iloc[0] == "1/1/2011"
    assert (day.dt.month == frame["mnth"]).all()
    assert ((day.dt.dayofweek + 1) % 7 == frame["weekday"]).all()
    assert (frame["workingday"] == (frame["weekday"].between(1, 5) & (frame["holiday"] == 0))).all()


def test_the_clock_of_washington_goes_forward_once() -> None:
    """The hour that does not exist in March is missing, as in the published file; every other day has 24."""
    hours = simulate(NEW_YEAR, 731, seed=1).groupby("dteday")["hr"].agg(["count", "sum"])
    short = hours[hours["count"] != 24]
    assert sorted(short.index) == ["3/11/2012", "3/13/2011"]
    assert (short["sum"] == 276 - 2).all()


def test_holidays_are_those_of_the_published_years() -> None:
    """Twenty-one days of 2011 and 2012 are holidays, moved to a weekday where they fall on a weekend."""
    frame = simulate(NEW_YEAR, 731, seed=1)
    found = set(frame.loc[frame["holiday"] == 1, "dteday"])
    assert found == {
        "1/17/2011",
        "2/21/2011",
        "4/15/2011",
        "5/30/2011",
        "7/4/2011",
        "9/5/2011",
        "10/10/2011",
        "11/11/2011",
        "11/24/2011",
        "12/26/2011",
        "1/2/2012",
        "1/16/2012",
        "2/20/2012",
        "4/16/2012",
        "5/28/2012",
        "7/4/2012",
        "9/3/2012",
        "10/8/2012",
        "11/12/2012",
        "11/22/2012",
        "12/25/2012",
    }


def test_it_looks_like_bike_rentals() -> None:
    """Summers are warm, working days have two peaks and free days one, bad weather keeps riders away, demand grows."""
    frame = simulate(NEW_YEAR, 731, seed=7)
    by_month = frame.groupby("mnth")["temp"].mean()
    assert by_month[7] > by_month[1] + 0.3
    profile = frame.groupby(["workingday", "hr"])["cnt"].mean()
    assert min(profile[1, 8], profile[1, 17]) > 1.5 * profile[1, 12]
    assert profile[0, 13] > 1.5 * profile[0, 8]
    skies = frame.groupby("weathersit")["cnt"].mean()
    assert skies[3] < 0.75 * skies[1]
    years = frame.groupby("yr")["cnt"].mean()
    assert 1.3 < years[1] / years[0] < 1.5
    assert simulate(NEW_YEAR, 365, seed=7, growth=0)["cnt"].sum() < 0.9 * frame.loc[frame["yr"] == 0, "cnt"].sum()


def test_seasonal_zero_has_no_summer() -> None:
    """`seasonal=0` takes the year's swing out of the weather."""
    by_month = simulate(NEW_YEAR, 365, seed=7, seasonal=0).groupby("mnth")["temp"].mean()
    assert by_month.max() - by_month.min() < 0.05


def test_two_weeks_of_summer_are_like_the_eight_before() -> None:
    """Without a scenario the summer's weather is quiet: in most windows no column drifts by the usual threshold."""
    scores = []
    for seed in range(12):
        frame = summer(seed=seed, days=87)
        for day in (56, 63, 70, 73):
            reference, current = frame.iloc[(day - 56) * 24 : day * 24], frame.iloc[day * 24 : (day + 14) * 24]
            scores.append(max(psi(reference[name], current[name]) for name in WEATHER))
    assert np.mean(np.array(scores) < 0.2) > 0.75


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nothing_changes_before_the_day_of_change(scenario: Scenario) -> None:
    """A scenario leaves every earlier row as it was, and `none` every later one too."""
    plain, changed = summer(), summer(scenario)
    assert_frame_equal(changed.iloc[: 56 * 24], plain.iloc[: 56 * 24], check_exact=True)
    assert changed.iloc[56 * 24 :].equals(plain.iloc[56 * 24 :]) == (scenario == "none")


def test_covariate_shifts_the_weather() -> None:
    """It is hotter, more humid and windier, far beyond a drift threshold."""
    before, after = summer("covariate").iloc[: 56 * 24], summer("covariate").iloc[56 * 24 :]
    assert all(psi(before[name], after[name]) > 1 for name in WEATHER)
    assert (after[WEATHER].mean() > before[WEATHER].mean() + 0.08).all()


def test_concept_leaves_the_weather_alone() -> None:
    """Features are those of no scenario; commuting has collapsed and leisure has doubled."""
    plain, changed = summer().iloc[56 * 24 :], summer("concept").iloc[56 * 24 :]
    assert_frame_equal(plain[FEATURES], changed[FEATURES])
    rush = (plain["workingday"] == 1) & plain["hr"].isin([8, 17])
    assert changed.loc[rush, "registered"].sum() < 0.3 * plain.loc[rush, "registered"].sum()
    assert changed["casual"].sum() > 2 * plain["casual"].sum()


def test_a_broken_sensor_does_not_reach_the_riders() -> None:
    """Humidity is stuck and temperature scaled wrongly, and not one ride is different."""
    plain, changed = summer().iloc[56 * 24 :], summer("sensor").iloc[56 * 24 :]
    assert changed["hum"].nunique() == 1
    assert np.allclose(changed["temp"], 0.6 * plain["temp"], atol=0.006)
    same = [name for name in COLUMNS if name not in ("hum", "temp")]
    assert_frame_equal(plain[same], changed[same])


def test_a_new_category_is_felt() -> None:
    """A fifth `weathersit` appears on a part of the hours, and few ride under it."""
    plain, changed = summer().iloc[56 * 24 :], summer("category").iloc[56 * 24 :]
    new = changed["weathersit"] == 5
    assert 0.05 < new.mean() < 0.5
    assert changed.loc[new, "cnt"].sum() < 0.6 * plain.loc[new, "cnt"].sum()
    assert (changed.loc[~new, "weathersit"] == plain.loc[~new, "weathersit"]).all()


def test_gradual_takes_sixty_days() -> None:
    """The shift grows day by day and stays once the sixty days are over."""
    plain = simulate(CHANGE, 90, seed=3)
    shift = simulate(CHANGE, 90, seed=3, scenario="gradual", change=CHANGE)["hum"] - plain["hum"]
    by_day = shift.groupby(np.repeat(np.arange(90), 24)).mean()
    assert by_day[0] < 0.01 < by_day[25:35].mean() < by_day[60:].mean() - 0.04
    assert abs(by_day[60:75].mean() - by_day[75:].mean()) < 0.01


def test_a_model_learns_it_and_a_change_of_law_breaks_the_model() -> None:
    """Sixty days teach a boosted model to a third of a dummy's error; under `concept` the error more than doubles."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    def error(frame: pd.DataFrame) -> float:
        return float((model.predict(frame[FEATURES]) - frame["cnt"]).abs().mean())

    train, test = summer(days=60 + 14).iloc[: 60 * 24], summer(days=60 + 14).iloc[60 * 24 :]
    model = HistGradientBoostingRegressor(random_state=0).fit(train[FEATURES], train["cnt"])
    assert error(test) < (test["cnt"] - train["cnt"].mean()).abs().mean() / 3
    assert error(summer("concept", days=60 + 14).iloc[60 * 24 :]) > 2 * error(test)
    assert error(summer("covariate", days=60 + 14).iloc[60 * 24 :]) > 1.3 * error(test)


@pytest.mark.parametrize(
    ("batch", "names"),
    [
        ("month", ["2011-01", "2011-02"]),
        ("week", ["2010-W52", "2011-W01", "2011-W02", "2011-W03", "2011-W04", "2011-W05"]),
    ],
)
def test_batches_follow_the_calendar(batch: Any, names: list[str]) -> None:
    """Months and ISO weeks are named, the first and the last cut short, and together they are the one long call."""
    found = batches(Simulator(NEW_YEAR, 33, batch=batch))
    assert [item.origin for item in found] == [SIMULATED + name for name in names]
    assert_frame_equal(pd.concat(map(rows, found), ignore_index=True), simulate(NEW_YEAR, 33, seed=42))


def test_a_day_is_a_batch() -> None:
    """`batch="day"` yields one batch a day, each with an id of its own."""
    found = batches(Simulator(NEW_YEAR, 3, batch="day"))
    assert [item.origin for item in found] == ["simulated 2011-01-01", "simulated 2011-01-02", "simulated 2011-01-03"]
    assert len({item.id for item in found}) == 3


def test_ids_follow_the_rows() -> None:
    """The same rows have the same id, whatever else the parameters say; other rows have another."""
    short = Simulator(NEW_YEAR, 59)
    longer = replace(short, days=120, scenario="concept", change=date(2011, 3, 15))
    ids = {item.id: rows(item) for item in batches(short)}
    later = {item.id: rows(item) for item in batches(longer)}
    assert list(later)[:2] == list(ids)
    assert set(later).isdisjoint(item.id for item in batches(replace(longer, scenario="sensor"))[2:])
    assert set(ids).isdisjoint(item.id for item in batches(replace(short, seed=1)))
    assert set(ids).isdisjoint(item.id for item in batches(replace(short, growth=0.1)))
    assert short.fingerprint(Path()) == Simulator(NEW_YEAR, 59).fingerprint(Path()) != longer.fingerprint(Path())


def test_known_periods_are_not_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is simulated for a batch that is not new."""
    source = Simulator(NEW_YEAR, 90)
    monkeypatch.setattr("evergreen.sources.simulator.simulate", lambda *_args, **_kwargs: pytest.fail("generated"))
    assert not list(source.read(Path(), lambda _batch: False))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("start", date(2010, 12, 31)),
        ("days", 0),
        ("seed", -1),
        ("scenario", "sudden"),
        ("scenario", "sensor"),
        ("growth", -1.0),
        ("growth", float("nan")),
        ("seasonal", 1.5),
        ("batch", "year"),
    ],
)
def test_a_wrong_argument_is_named(field: str, value: Any) -> None:
    """A mistake is one clear message that names the argument; a scenario without its day is one."""
    with pytest.raises(ModelFileError, match="change" if value == "sensor" else field):
        replace(Simulator(NEW_YEAR, 10), **{field: value})
