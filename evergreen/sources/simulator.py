"""Hourly bike rentals that look like the UCI Bike Sharing data, so that everything runs offline.

Each day is drawn on its own (`sources/bike_rentals.py`). Batches made piece by piece therefore equal one long call, and
a scenario changes nothing before its day of change.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from evergreen.errors import ModelFileError
from evergreen.sources.base import Batch, Waiting
from evergreen.sources.bike_rentals import FIRST_DAY, Process, Scenario, day_rows

if TYPE_CHECKING:
    import pandas as pd

SIMULATED = "simulated "
"""The origin of every batch begins with this; it distinguishes simulated rows from real ones."""

VERSION = 1
"""Raised whenever the same parameters give other rows. It is part of every batch's id."""

COLUMNS = (
    "instant", "dteday", "season", "yr", "mnth", "hr", "holiday", "weekday", "workingday", "weathersit",
    "temp", "atemp", "hum", "windspeed", "casual", "registered", "cnt",
)  # fmt: skip


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
    """Simulate the hours of `days` days from `start` on, with the columns of the UCI hourly file (`COLUMNS`).

    A day has 24 rows by Washington's clock. As in the published file, 2 o'clock is missing on the Sunday in March on
    which clocks go forward, and the hour that occurs twice in November is there once. A day's rows depend on `seed`,
    the day and the scenario, and on neither `start` nor `days`.

    Args:
        start: first day; not before 2011-01-01, from which `instant`, `yr` and growth count.
        days: how many days, at least 1.
        seed: 0 or larger.
        scenario: what happens from `change` on. `covariate`: hotter, more humid, windier; demand depends on the weather
            as before. `concept`: the same weather, but commuting collapses and leisure doubles. `sensor`: humidity is
            stuck and temperature is scaled wrongly, while people feel the true weather. `category`: a fifth kind of
            sky, under which few people ride. `gradual`: covariate and concept, blended in over 60 days. `none`:
            nothing.
        change: the scenario's first day; required by every scenario but `none`.
        growth: growth of demand per year, as a share.
        seasonal: size of the weather's yearly swing, from 0 for none to 1.

    Raises:
        ModelFileError: an argument is out of its range.
    """
    import pandas as pd

    process = Process(seed, scenario, change, growth, seasonal)
    _check(start, days, process)
    dates = [start + timedelta(days=number) for number in range(days)]
    parts = [day_rows(day, process) for day in dates]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS if name != "dteday"}
    dteday = np.repeat([f"{day.month}/{day.day}/{day.year}" for day in dates], [len(part["hr"]) for part in parts])
    return pd.DataFrame(columns | {"dteday": pd.Series(dteday, dtype="str")})[list(COLUMNS)]


@dataclass(frozen=True, slots=True)
class Simulator:
    """The simulator as a source: one batch for each calendar month, ISO week or day.

    The fields are the arguments of `simulate`. A batch is generated when it is read, and only if it is new. More
    `days`, or a scenario that begins later, do not change the ids of earlier batches.
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
        _check(self.start, self.days, Process(self.seed, self.scenario, self.change, self.growth, self.seasonal))
        if self.batch not in ("day", "week", "month"):
            raise _argument_error("batch", "'day', 'week' or 'month'", self.batch)

    def fingerprint(self, root: Path) -> str:
        """Hash of the parameters, which determine the rows."""
        return hashlib.sha256(f"{VERSION} {self!r}".encode()).hexdigest()[:32]

    def read(self, root: Path, new: Callable[[str], bool]) -> Iterator[Batch | Waiting]:
        """Generate every period that `new` does not know, oldest first."""
        for name, first, days in self._periods():
            batch = self._batch_id(first, days)
            if new(batch):
                frame = simulate(
                    first, days, seed=self.seed, scenario=self.scenario, change=self.change, growth=self.growth,
                    seasonal=self.seasonal,
                )  # fmt: skip
                yield Batch(batch, f"{SIMULATED}{name}", frame)

    def _periods(self) -> Iterator[tuple[str, date, int]]:
        """Name, first day and number of days of each batch; the first and the last may be cut short."""
        periods: dict[str, list[date]] = {}
        for number in range(self.days):
            day = self.start + timedelta(days=number)
            year, week, _ = day.isocalendar()
            name = {"day": f"{day}", "week": f"{year}-W{week:02}", "month": f"{day:%Y-%m}"}[self.batch]
            periods.setdefault(name, []).append(day)
        for name, days in periods.items():
            yield name, days[0], len(days)

    def _batch_id(self, first: date, days: int) -> str:
        """Hash of everything that determines the rows of a period."""
        changed = self.change is not None and first + timedelta(days=days) > self.change
        scenario = (self.scenario, self.change) if changed and self.scenario != "none" else ("none", None)
        sizes = (float(self.growth), float(self.seasonal))
        text = repr((VERSION, self.seed, *map(str, scenario), *sizes, str(first), days))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def _argument_error(name: str, expected: str, value: object) -> ModelFileError:
    return ModelFileError(f"simulator: {name} has to be {expected}, and is {value!r}.", "Fix it in the model file.")


def _check(start: date, days: int, process: Process) -> None:
    if start < FIRST_DAY:
        raise _argument_error("start", f"{FIRST_DAY} or later", str(start))
    if days < 1:
        raise _argument_error("days", "at least 1", days)
    if process.seed < 0:
        raise _argument_error("seed", "0 or larger", process.seed)
    if process.scenario not in get_args(Scenario):
        raise _argument_error("scenario", "one of " + ", ".join(get_args(Scenario)), process.scenario)
    if process.scenario != "none" and process.change is None:
        raise _argument_error("change", f"the day on which {process.scenario!r} begins", process.change)
    if not (math.isfinite(process.growth) and process.growth > -1):
        raise _argument_error("growth", "larger than -1", process.growth)
    if not 0 <= process.seasonal <= 1:
        raise _argument_error("seasonal", "between 0 and 1", process.seasonal)
