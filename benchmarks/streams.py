"""Streams to try decisions on: rows in time order and the model that learns them, real ones and seeded ones.

The UCI hourly file where it is (EVERGREEN_TEST_DATA names the folder that holds `bike_sharing/hour.csv`), classes whose
neighbours are alike, and demand with seasons that half a year does not show.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from benchmarks.measure import PROJECT, console
from evergreen.sources import Folder
from evergreen.spec import Features, Holdout, Metric, ModelSpec, Training

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

WEEK = timedelta(weeks=1)
HOLDOUT = Holdout(strategy="blocked", block=timedelta(days=1), every=5, recent=timedelta(weeks=8), min_rows=72)
NEWEST = Holdout(strategy="latest", share=0.2, min_rows=72)
LEARNED = timedelta(days=180)
TRAINING = Training(last=LEARNED, min_rows=336)
HOURS = 24 * 7 * (27 + 105)
"""Of a simulated stream: half a year to learn first, and two years of weeks."""


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """Rows in time order (`at`, UTC), and the model that learns them; steps are weekly from `first` on."""

    name: str
    spec: ModelSpec
    rows: pd.DataFrame
    first: pd.Timestamp
    params: Mapping[str, Any]

    def between(self, start: pd.Timestamp, end: pd.Timestamp) -> pd.DataFrame:
        """The rows from `start` on and before `end`."""
        at = self.rows["at"]
        first, last = (int(at.searchsorted(time)) for time in (start, end))
        return self.rows.iloc[first:last].reset_index(drop=True)

    def steps(self, most: int) -> list[pd.Timestamp]:
        """The weekly steps that have a week after them."""
        end = self.rows["at"].iloc[-1]
        steps = [self.first + number * WEEK for number in range(most + 1)]
        return [step for step in steps if step + WEEK <= end + timedelta(hours=1)]


def all_streams(seeds: int) -> Iterator[Sequence[Stream]]:
    """The UCI file where there is one, and so many draws of each simulated stream."""
    if (file := _uci()).exists():
        yield [bikes(file)]
    else:
        console.print(f"[dim]{file} is not there; it is left out.[/]")
    for build in (autocorrelated_classes, seasons):
        yield [build(seed) for seed in range(seeds)]


def judged_by_newest() -> Iterator[Sequence[Stream]]:
    """The UCI file where there is one, judged by the newest fifth of the window, days in a row, as new files are."""
    if (file := _uci()).exists():
        stream = bikes(file)
        spec = stream.spec.model_copy(update={"holdout": NEWEST})
        yield [replace(stream, name=f"{stream.name}, judged by the newest fifth", spec=spec)]


def _uci() -> Path:
    data = Path(os.environ.get("EVERGREEN_TEST_DATA", PROJECT.parent / "shared" / "data"))
    return data / "bike_sharing" / "hour.csv"


def bikes(file: Path) -> Stream:
    """The UCI hourly file; weekly candidates in its second year, by the model that ships at one point of its grid."""
    import pandas as pd

    import models

    spec = models.load("bike_demand", models.SHIPPED).spec.model_copy(
        update={"holdout": HOLDOUT, "training": TRAINING, "slices": ()}
    )
    assert spec.prepare is not None
    rows = spec.prepare(pd.read_csv(file))
    rows = rows.assign(at=rows["at"].dt.tz_localize("UTC")).sort_values("at", ignore_index=True)
    params = {"model__learning_rate": 0.2, "model__max_leaf_nodes": 15}
    return Stream("UCI bikes 2012", spec, rows, pd.Timestamp("2012-01-01", tz="UTC"), params)


def _clock(seed: int) -> tuple[np.random.Generator, pd.DataFrame]:
    """Hours of two and a half years, with what a calendar and a thermometer say of them."""
    import pandas as pd

    rng, hours = np.random.default_rng(seed), np.arange(HOURS)
    season = -np.cos(2 * np.pi * hours / (24 * 365.25))
    temp = 12 + 10 * season + 4 * np.sin(2 * np.pi * (hours % 24 - 9) / 24) + _autoregressive(rng, 0.98, 3.0)
    at = pd.Timestamp("2020-01-02", tz="UTC") + pd.to_timedelta(hours, unit="h")
    return rng, pd.DataFrame({"at": at, "hour": hours % 24, "weekday": hours // 24 % 7, "temp": temp})


def _autoregressive(rng: np.random.Generator, memory: float, spread: float) -> npt.NDArray[np.float64]:
    """A process of the first order with the stated standard deviation, one value for each hour."""
    from scipy.signal import lfilter

    shocks = spread * np.sqrt(1 - memory**2) * rng.normal(size=HOURS)
    return np.asarray(lfilter([1.0], [1.0, -memory], shocks), dtype=np.float64)


def _drifting(rng: np.random.Generator, start: float, weekly: float) -> npt.NDArray[np.float64]:
    """A coefficient that takes a random step each week, one value for each hour."""
    weeks = HOURS // (24 * 7)
    return np.repeat(start + np.cumsum(weekly * rng.normal(size=weeks)), 24 * 7)


def autocorrelated_classes(seed: int) -> Stream:
    """Up or down each hour: a state that no feature shows keeps neighbours alike; the law takes a step each week."""
    rng, rows = _clock(seed)
    signals = {name: _autoregressive(rng, memory, 1.0) for name, memory in (("fast", 0.5), ("slow", 0.95), ("flat", 0))}
    score = sum(
        _drifting(rng, start, 0.12) * signals[name] for name, start in (("fast", 1.0), ("slow", -0.7), ("flat", 0.5))
    )
    score = score + 0.6 * np.sin(2 * np.pi * rows["hour"].to_numpy() / 24) + _autoregressive(rng, 0.98, 0.8)
    up = (rng.random(HOURS) < 1 / (1 + np.exp(-score))).astype(int)
    spec = _spec("classes", "classification", "log_loss", ("hour", "weekday", "temp", *signals))
    return Stream("simulated, autocorrelated classes", spec, rows.assign(**signals, y=up), _first(rows), {})


def seasons(seed: int) -> Stream:
    """Demand by hour, weekday and weather, which grows, has seasons that half a year does not show, and weeks alike."""
    rng, rows = _clock(seed)
    hour, weekday, temp = (rows[name].to_numpy() for name in ("hour", "weekday", "temp"))
    year = np.sin(2 * np.pi * np.arange(HOURS) / (24 * 365.25))
    level = (
        100 * (1 + 0.3 * np.arange(HOURS) / (24 * 365)) * (1 + 0.35 * year) * np.exp(_autoregressive(rng, 0.995, 0.08))
    )
    shape = (
        1
        + 0.6 * np.sin(2 * np.pi * (hour - 7) / 24)
        + _drifting(rng, 0.2, 0.03) * (weekday >= 5) * np.cos(2 * np.pi * hour / 24)
    )
    warmth = 1 + 0.015 * (temp - 12) - 0.0008 * (temp - 12) ** 2
    demand = level * shape * np.clip(warmth, 0.2, None) * np.exp(0.15 * rng.normal(size=HOURS))
    spec = _spec("seasons", "regression", "mae", ("hour", "weekday", "temp"))
    return Stream("simulated, seasons", spec, rows.assign(y=demand), _first(rows), {})


def _first(rows: pd.DataFrame) -> pd.Timestamp:
    first: pd.Timestamp = rows["at"].iloc[0] + 27 * WEEK
    return first


def _spec(name: str, task: str, metric: str, numeric: tuple[str, ...]) -> ModelSpec:
    fields: dict[str, Any] = {
        "name": name,
        "task": task,
        "source": Folder(name),
        "contract": lambda: None,
        "time": "at",
        "target": "y",
        "features": Features(numeric=numeric),
        "pipeline": classifier if task == "classification" else regressor,
        "metric": Metric(name=metric),
        "holdout": HOLDOUT,
        "training": TRAINING,
    }
    return ModelSpec(**fields)


def classifier(seed: int) -> Pipeline:
    """Boosted trees of classes."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline

    return make_pipeline(HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=7, random_state=seed))


def regressor(seed: int) -> Pipeline:
    """Boosted trees of a number."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.pipeline import make_pipeline

    return make_pipeline(
        HistGradientBoostingRegressor(max_iter=60, learning_rate=0.2, max_leaf_nodes=15, random_state=seed)
    )
