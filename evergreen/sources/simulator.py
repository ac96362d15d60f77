"""Hourly bike rentals that look like the UCI Bike Sharing data, so that everything runs offline.

Every day is drawn on its own, seeded by `(seed, day)`: the weather of a day is a moving average of the shocks of the
days before it, each of which can be drawn again at will, so it is correlated in time and still needs no history.
Batches made piece by piece therefore equal one long call, and a scenario changes nothing before its day of change.

Shapes and sizes (hour profiles, yearly means, correlation of daily weather, shares of bad weather) follow the published
data: Fanaee-T and Gama, "Event labeling combining ensemble detectors and background knowledge", 2013.
"""

from __future__ import annotations

import calendar
import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from evergreen.errors import ModelFileError
from evergreen.sources.base import Batch, Waiting

if TYPE_CHECKING:
    import pandas as pd

Scenario = Literal["none", "covariate", "concept", "sensor", "category", "gradual"]
Array = npt.NDArray[np.float64]

SIMULATED = "simulated "
"""What the origin of every batch begins with: how simulated rows are told from real ones."""

VERSION = 1
"""Raised whenever the same parameters give other rows; it is part of every batch's id."""

FIRST = date(2011, 1, 1)
COLUMNS = (
    "instant", "dteday", "season", "yr", "mnth", "hr", "holiday", "weekday", "workingday", "weathersit",
    "temp", "atemp", "hum", "windspeed", "casual", "registered", "cnt",
)  # fmt: skip
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
"""Weights of the shocks of today and the four days before. What comes goes again within the week: the next day is
correlated by 0.4, the third by -0.3, so that two weeks of one season are much like any other two."""


@dataclass(frozen=True, slots=True)
class _Law:
    """What the rows of a day follow from, beside the day; the arguments of `simulate`."""

    seed: int
    scenario: Scenario
    change: date | None
    growth: float
    seasonal: float


@dataclass(frozen=True, slots=True)
class _Weather:
    """24 hours of weather, everything scaled to 0..1 but the code of the sky."""

    temp: Array
    atemp: Array
    hum: Array
    windspeed: Array
    sky: npt.NDArray[np.int64]


def simulate(
    start: date,
    days: int,
    *,
    seed: int,
    scenario: Scenario = "none",
    change: date | None = None,
    growth: float = 0.4,
    seasonal: float = 1.0,
) -> pd.DataFrame:
    """Make the hours of `days` days from `start` on, with the columns of the UCI hourly file (`COLUMNS`).

    A day has 24 rows of Washington's clock; 2 o'clock is missing on the Sunday in March on which clocks go forward, and
    the hour that comes twice in November is there once, both as in the published file. A day's rows depend on `seed`,
    the day and the scenario, and on neither `start` nor `days`.

    Args:
        start: first day; not before 2011-01-01, from which `instant`, `yr` and growth count.
        days: how many.
        seed: 0 or larger.
        scenario: what happens from `change` on. `covariate`: hotter, more humid, windier, the same law of demand.
            `concept`: the same weather, but commuting collapses and leisure doubles. `sensor`: humidity is stuck and
            temperature is scaled wrongly, while people feel the true weather. `category`: a fifth kind of sky, under
            which few ride. `gradual`: covariate and concept, blending in over 60 days. `none`: nothing.
        change: the scenario's first day; needed by every scenario but `none`.
        growth: of demand, as a share per year.
        seasonal: how large the year's swing of the weather is; 0 for none.

    Raises:
        ModelFileError: an argument is out of its range.
    """
    import pandas as pd

    law = _Law(seed, scenario, change, growth, seasonal)
    _check(start, days, law)
    dates = [start + timedelta(days=number) for number in range(days)]
    parts = [_day(day, law) for day in dates]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS if name != "dteday"}
    written = np.repeat([f"{day.month}/{day.day}/{day.year}" for day in dates], [len(part["hr"]) for part in parts])
    return pd.DataFrame(columns | {"dteday": pd.Series(written, dtype="str")})[list(COLUMNS)]


@dataclass(frozen=True, slots=True)
class Simulator:
    """The simulator as a source: one batch for each calendar month, ISO week or day.

    The fields are the arguments of `simulate`. A batch is generated when it is read, and only if it is new; more `days`
    or a scenario that begins later leave the ids of earlier batches as they are.
    """

    start: date
    days: int
    seed: int = 42
    scenario: Scenario = "none"
    change: date | None = None
    growth: float = 0.4
    seasonal: float = 1.0
    batch: Literal["day", "week", "month"] = "month"

    def __post_init__(self) -> None:
        """Refuse at once what `simulate` would refuse later."""
        _check(self.start, self.days, _Law(self.seed, self.scenario, self.change, self.growth, self.seasonal))
        if self.batch not in ("day", "week", "month"):
            raise _mistake("batch", "'day', 'week' or 'month'", self.batch)

    def fingerprint(self, root: Path) -> str:
        """A hash of the parameters: the rows follow from them."""
        return hashlib.sha256(f"{VERSION} {self!r}".encode()).hexdigest()[:32]

    def read(self, root: Path, new: Callable[[str], bool]) -> Iterator[Batch | Waiting]:
        """Generate every period that `new` does not know, oldest first."""
        for name, first, days in self._periods():
            identity = self._identity(first, days)
            if new(identity):
                frame = simulate(
                    first, days, seed=self.seed, scenario=self.scenario, change=self.change, growth=self.growth,
                    seasonal=self.seasonal,
                )  # fmt: skip
                yield Batch(identity, f"{SIMULATED}{name}", frame)

    def _periods(self) -> Iterator[tuple[str, date, int]]:
        """Name, first day and number of days of each batch; the first and the last may be cut short."""
        names: dict[str, list[date]] = {}
        for number in range(self.days):
            day = self.start + timedelta(days=number)
            year, week, _ = day.isocalendar()
            name = {"day": f"{day}", "week": f"{year}-W{week:02}", "month": f"{day:%Y-%m}"}[self.batch]
            names.setdefault(name, []).append(day)
        for name, held in names.items():
            yield name, held[0], len(held)

    def _identity(self, first: date, days: int) -> str:
        """Hash of all that the rows of a period follow from."""
        changed = self.change is not None and first + timedelta(days=days) > self.change
        law = (self.scenario, self.change) if changed and self.scenario != "none" else ("none", None)
        text = repr((VERSION, self.seed, *map(str, law), float(self.growth), float(self.seasonal), str(first), days))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def _mistake(name: str, wanted: str, got: object) -> ModelFileError:
    return ModelFileError(f"simulator: {name} has to be {wanted}, and is {got!r}.", "Mend it in the model file.")


def _check(start: date, days: int, law: _Law) -> None:
    if start < FIRST:
        raise _mistake("start", f"{FIRST} or later", str(start))
    if days < 1:
        raise _mistake("days", "at least 1", days)
    if law.seed < 0:
        raise _mistake("seed", "0 or larger", law.seed)
    if law.scenario not in get_args(Scenario):
        raise _mistake("scenario", "one of " + ", ".join(get_args(Scenario)), law.scenario)
    if law.scenario != "none" and law.change is None:
        raise _mistake("change", f"the day on which {law.scenario!r} begins", law.change)
    if not (math.isfinite(law.growth) and law.growth > -1):
        raise _mistake("growth", "larger than -1", law.growth)
    if not 0 <= law.seasonal <= 1:
        raise _mistake("seasonal", "between 0 and 1", law.seasonal)


def _day(day: date, law: _Law) -> dict[str, npt.NDArray[Any]]:
    """The rows of one day, by column.

    Everything is computed on arrays of 24, never on a longer run of days: the last bit of `exp` may depend on the
    length of the array, and a Poisson draw on that last bit.
    """
    random = np.random.default_rng([law.seed, day.toordinal(), 1])
    onset = (day - law.change).days + 1 if law.change is not None else 0
    began = onset > 0
    weight = min(onset / BLEND_DAYS, 1.0) if law.scenario == "gradual" else 1.0
    shift = weight if began and law.scenario in ("covariate", "gradual") else 0.0
    turn = weight if began and law.scenario in ("concept", "gradual") else 0.0
    true = _weather(day, law, random, shift, fifth=began and law.scenario == "category")
    casual, registered = _demand(true, _is_working(day), turn)
    size = (1 + law.growth) ** ((day - FIRST).days / 365.25)
    # A Poisson count of a gamma-distributed rate is a negative binomial: counts vary more than Poisson's, as they do.
    rates = random.standard_gamma(SHAPE, (2, 24)) / SHAPE
    counts = random.poisson(rates * size * np.stack([casual, registered])).astype(np.int64)
    broken = began and law.scenario == "sensor"
    columns: dict[str, npt.NDArray[Any]] = {
        **{name: np.full(24, value, dtype=np.int64) for name, value in _calendar(day).items()},
        "instant": (day - FIRST).days * 24 + HOURS + 1,
        "hr": HOURS,
        "weathersit": true.sky,
        "temp": np.round(true.temp * 0.6, 2) if broken else true.temp,
        "atemp": true.atemp,
        "hum": np.full(24, STUCK_HUMIDITY) if broken else true.hum,
        "windspeed": true.windspeed,
        "casual": counts[0],
        "registered": counts[1],
        "cnt": counts[0] + counts[1],
    }
    clocks_go_forward = day.month == 3 and day.isoweekday() == 7 and 8 <= day.day <= 14
    return {name: np.delete(values, 2) for name, values in columns.items()} if clocks_go_forward else columns


@lru_cache(maxsize=4096)
def _shocks(seed: int, ordinal: int) -> tuple[float, float, float, float]:
    """What a day adds to the weather, of mean 0 and variance 1: warmth, wetness, wind, and the fifth kind of sky."""
    warm, wet, wind, fifth = np.random.default_rng([seed, ordinal, 0]).uniform(-math.sqrt(3), math.sqrt(3), 4)
    return float(warm), float(wet), float(wind), float(fifth)


def _levels(day: date, seed: int) -> npt.NDArray[np.float64]:
    """Levels of mean 0 and variance 1 for each hour, shape (4, 24): joined in straight lines from noon to noon."""
    today = day.toordinal()
    shocks = np.array([_shocks(seed, today + offset) for offset in (1, 0, -1, -2, -3, -4, -5)])
    noons = np.array([MEMORY @ shocks[at : at + len(MEMORY)] for at in (2, 1, 0)])
    return np.array([np.interp(HOURS, [-12, 12, 36], noons[:, kind]) for kind in range(4)])


def _weather(day: date, law: _Law, random: np.random.Generator, shift: float, *, fifth: bool) -> _Weather:
    """The true weather. `shift` from 0 to 1 makes it hotter, more humid and windier."""
    warm, wet, wind, odd = _levels(day, law.seed)
    noise = random.standard_normal((4, 24))
    year = math.cos(2 * math.pi * (day.timetuple().tm_yday - 202) / 365.25)
    # The hyperbolic tangent flattens summer and winter: the year's turn lies in spring and autumn.
    warmth = law.seasonal * math.tanh(2 * year) / math.tanh(2)
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
    """Expected casual and registered rentals of each hour in early 2011; `turn` from 0 to 1 is the change of law."""
    cold = np.maximum(0.68 - weather.atemp, 0) / 0.36
    heat = np.maximum(weather.atemp - 0.76, 0) / 0.1
    comfort = -(cold**2) - heat**2 - 0.5 * (weather.hum - 0.6) - 0.6 * (weather.windspeed - 0.19)
    pull = np.exp(comfort) * SKY[weather.sky - 1]
    casual = (CASUAL_WORK if working else CASUAL_FREE) * np.exp(0.5 * comfort) * pull
    registered = (REGISTERED_WORK if working else REGISTERED_FREE) * pull
    return casual * (1 + 1.5 * turn), (1 - turn) * registered + turn * 0.3 * REGISTERED_FREE * pull


def _calendar(day: date) -> dict[str, int]:
    """The columns that all hours of a day share."""
    return {
        "season": _season(day),
        "yr": day.year - FIRST.year,
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
    near = (
        [day] * (weekday <= 5) + [day + timedelta(days=1)] * (weekday == 5) + [day - timedelta(days=1)] * (weekday == 1)
    )
    if any((one.month, one.day) in fixed for one in near):
        return True
    nth = (day.day - 1) // 7 + 1
    last = day.day + 7 > calendar.monthrange(day.year, day.month)[1]
    if weekday == 1:
        return (day.month, nth) in {(1, 3), (2, 3), (9, 1), (10, 2)} or (day.month == 5 and last)
    return weekday == 4 and (day.month, nth) == (11, 4)
