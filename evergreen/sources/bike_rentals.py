"""The rows of one day of hourly bike rentals: the model behind the simulator.

Every day is drawn on its own, seeded by `(seed, day)`. The weather of a day is a moving average of the shocks of the
days before it. Each shock can be drawn again at will, so the weather is correlated in time and needs no history.

Shapes and sizes (hour profiles, yearly means, correlation of daily weather, shares of bad weather) follow the published
data: Fanaee-T and Gama, "Event labeling combining ensemble detectors and background knowledge", 2013.
"""

from __future__ import annotations

import calendar
import math
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Scenario = Literal["none", "covariate", "concept", "sensor", "category", "gradual"]
Array = npt.NDArray[np.float64]

FIRST_DAY = date(2011, 1, 1)
BLEND_DAYS = 60
STUCK_HUMIDITY = 0.62

HOURS = np.arange(24, dtype=np.int64)
# Mean rentals by the hour in 2011-2012, on days off and on working days.
CASUAL_FREE = np.array(
    [17, 13, 10, 6, 2, 2, 4, 9, 20, 45, 79, 107, 126, 136, 140, 137, 129, 112, 84, 66, 47, 36, 28, 19], dtype=float
)
CASUAL_WORK = np.array(
    [7, 4, 3, 1, 1, 1, 4, 12, 22, 24, 31, 38, 41, 43, 46, 46, 48, 57, 50, 41, 31, 25, 20, 13], dtype=float
)
REGISTERED_FREE = np.array(
    [74, 57, 43, 19, 7, 7, 15, 35, 85, 127, 177, 209, 240, 236, 225, 222, 224, 212, 197, 166, 128, 106, 88, 67],
    dtype=float,
)
REGISTERED_WORK = np.array(
    [30, 13, 7, 4, 5, 24, 98, 278, 455, 217, 104, 121, 159, 156, 138, 155, 245, 468, 442, 307, 218, 162, 119, 75],
    dtype=float,
)
SHAPE = np.array([[12.0], [40.0]])
"""How steady casual and registered rentals are: the variance of a count is mean + mean² / shape."""

SKY = np.array([1.0, 0.93, 0.6, 0.35, 0.4])
"""Demand under `weathersit` 1 to 5, as a share of that under a clear sky."""

MEMORY = np.array([1.0, 0.5, 0.0, -0.3, -0.3]) / math.sqrt(1.43)
"""Weights of the shocks of today and the four days before. A spell of weather ends within the week: the next day is
correlated by 0.4, the third by -0.3, so that two weeks of one season are much like any other two."""


@dataclass(frozen=True, slots=True)
class Process:
    """The data-generating process: with the day, it determines the day's rows. The fields are those of `simulate`."""

    seed: int
    scenario: Scenario
    change: date | None
    growth: float
    seasonal: float


@dataclass(frozen=True, slots=True)
class _Weather:
    """24 hours of weather, shape (24,) each; every field but `sky`, a code, is scaled to 0..1."""

    temp: Array
    atemp: Array
    hum: Array
    windspeed: Array
    sky: npt.NDArray[np.int64]


def day_rows(day: date, process: Process) -> dict[str, npt.NDArray[Any]]:
    """The rows of one day, by column: arrays of 24, or of 23 on the day on which clocks go forward.

    Everything is computed on arrays of 24, never on a longer run of days: the last bit of `exp` may depend on the
    length of the array, and a Poisson draw on that last bit.
    """
    random = np.random.default_rng([process.seed, day.toordinal(), 1])
    onset = (day - process.change).days + 1 if process.change is not None else 0
    began = onset > 0
    weight = min(onset / BLEND_DAYS, 1.0) if process.scenario == "gradual" else 1.0
    shift = weight if began and process.scenario in ("covariate", "gradual") else 0.0
    turn = weight if began and process.scenario in ("concept", "gradual") else 0.0
    weather = _weather(day, process, random, shift, fifth=began and process.scenario == "category")
    casual, registered = _demand(weather, _is_working(day), turn)
    size = (1 + process.growth) ** ((day - FIRST_DAY).days / 365.25)
    # A Poisson count of a gamma-distributed rate is negative binomial: like real counts, it varies more than Poisson.
    rates = random.standard_gamma(SHAPE, (2, 24)) / SHAPE
    counts = random.poisson(rates * size * np.stack([casual, registered])).astype(np.int64)
    broken = began and process.scenario == "sensor"
    columns: dict[str, npt.NDArray[Any]] = {
        **{name: np.full(24, value, dtype=np.int64) for name, value in _calendar(day).items()},
        "instant": (day - FIRST_DAY).days * 24 + HOURS + 1,
        "hr": HOURS,
        "weathersit": weather.sky,
        "temp": np.round(weather.temp * 0.6, 2) if broken else weather.temp,
        "atemp": weather.atemp,
        "hum": np.full(24, STUCK_HUMIDITY) if broken else weather.hum,
        "windspeed": weather.windspeed,
        "casual": counts[0],
        "registered": counts[1],
        "cnt": counts[0] + counts[1],
    }
    clocks_go_forward = day.month == 3 and day.isoweekday() == 7 and 8 <= day.day <= 14
    return {name: np.delete(values, 2) for name, values in columns.items()} if clocks_go_forward else columns


@lru_cache(maxsize=4096)
def _shocks(seed: int, ordinal: int) -> tuple[float, float, float, float]:
    """A day's shocks to warmth, wetness, wind and the fifth kind of sky, each with mean 0 and variance 1."""
    warm, wet, wind, fifth = np.random.default_rng([seed, ordinal, 0]).uniform(-math.sqrt(3), math.sqrt(3), 4)
    return float(warm), float(wet), float(wind), float(fifth)


def _levels(day: date, seed: int) -> npt.NDArray[np.float64]:
    """Levels of mean 0 and variance 1 for each hour, shape (4, 24), interpolated linearly from noon to noon."""
    today = day.toordinal()
    shocks = np.array([_shocks(seed, today + offset) for offset in (1, 0, -1, -2, -3, -4, -5)])
    noons = np.array([MEMORY @ shocks[at : at + len(MEMORY)] for at in (2, 1, 0)])
    return np.array([np.interp(HOURS, [-12, 12, 36], noons[:, kind]) for kind in range(4)])


def _weather(day: date, process: Process, random: np.random.Generator, shift: float, *, fifth: bool) -> _Weather:
    """The true weather. `shift` from 0 to 1 makes it hotter, more humid and windier."""
    warm, wet, wind, odd = _levels(day, process.seed)
    noise = random.standard_normal((4, 24))
    year = math.cos(2 * math.pi * (day.timetuple().tm_yday - 202) / 365.25)
    # The hyperbolic tangent flattens summer and winter, so that the weather changes in spring and autumn.
    warmth = process.seasonal * math.tanh(2 * year) / math.tanh(2)
    sun = np.cos(2 * np.pi * (HOURS - 15) / 24)
    temp = 0.5 + 0.22 * warmth + 0.07 * sun + 0.045 * warm + 0.03 * noise[0] + 0.15 * shift
    hum = 0.63 - 0.1 * sun + 0.08 * wet + 0.08 * noise[1] + 0.15 * shift
    speed = 0.19 - 0.02 * warmth + 0.04 * sun + 0.045 * wind + 0.07 * noise[2] + 0.15 * shift
    wetness = wet + 0.4 * noise[3]
    sky = 1 + (wetness > 0.4).astype(np.int64) + (wetness > 1.4) + (wetness > 3.0)
    if fifth:
        sky = np.where(odd > 0.8, 5, sky)
    temp, hum, speed = np.clip(temp, 0.02, 1), np.clip(hum, 0.08, 1), np.clip(speed, 0, 0.85)
    feels = np.clip(0.04 + 0.9 * temp - 0.06 * (speed - 0.19) - 0.05 * (hum - 0.63) * temp, 0, 1)
    # The steps of the published file: whole degrees of 41, whole per cent, whole knots of 67.
    return _Weather(
        temp=np.round(np.round(temp * 50) / 50, 2),
        atemp=np.round(np.round(feels * 66) / 66, 4),
        hum=np.round(hum, 2),
        windspeed=np.round(np.round(speed * 67) / 67, 4),
        sky=sky,
    )


def _demand(weather: _Weather, working: bool, turn: float) -> tuple[Array, Array]:
    """Expected casual and registered rentals of each hour in early 2011, shape (24,) each.

    `turn` from 0 to 1 moves demand from the process before a change of concept to the one after it.
    """
    cold = np.maximum(0.68 - weather.atemp, 0) / 0.36
    heat = np.maximum(weather.atemp - 0.76, 0) / 0.1
    comfort = -(cold**2) - heat**2 - 0.5 * (weather.hum - 0.6) - 0.6 * (weather.windspeed - 0.19)
    pull = np.exp(comfort) * SKY[weather.sky - 1]
    casual = (CASUAL_WORK if working else CASUAL_FREE) * np.exp(0.5 * comfort) * pull
    registered = (REGISTERED_WORK if working else REGISTERED_FREE) * pull
    return casual * (1 + 1.5 * turn), (1 - turn) * registered + turn * 0.3 * REGISTERED_FREE * pull


def _calendar(day: date) -> dict[str, int]:
    """The columns that are the same in all hours of a day."""
    return {
        "season": _season(day),
        "yr": day.year - FIRST_DAY.year,
        "mnth": day.month,
        "holiday": int(_is_holiday(day)),
        "weekday": day.isoweekday() % 7,
        "workingday": int(_is_working(day)),
    }


def _is_working(day: date) -> bool:
    return day.isoweekday() <= 5 and not _is_holiday(day)


def _season(day: date) -> int:
    """1 from 21 December, 2 from 21 March, 3 from 21 June, 4 from 23 September."""
    turns = ((3, 21), (6, 21), (9, 23), (12, 21))
    return sum((day.month, day.day) >= turn for turn in turns) % 4 + 1


def _is_holiday(day: date) -> bool:
    """Whether it is a public holiday of Washington, D.C.; one on a Saturday or Sunday moves to the nearest weekday."""
    fixed = {(1, 1), (4, 16), (7, 4), (11, 11), (12, 25)}
    weekday = day.isoweekday()
    observed = (
        [day] * (weekday <= 5) + [day + timedelta(days=1)] * (weekday == 5) + [day - timedelta(days=1)] * (weekday == 1)
    )
    if any((near.month, near.day) in fixed for near in observed):
        return True
    nth = (day.day - 1) // 7 + 1
    last = day.day + 7 > calendar.monthrange(day.year, day.month)[1]
    if weekday == 1:
        return (day.month, nth) in {(1, 3), (2, 3), (9, 1), (10, 2)} or (day.month == 5 and last)
    return weekday == 4 and (day.month, nth) == (11, 4)
