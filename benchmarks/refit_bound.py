"""How far a sound refit is from the judged fit, and how far a broken one: what the bound of the check `refit` rests on.

`python -m benchmarks.refit_bound FILE`, FILE being the UCI hourly file; two simulated streams are measured beside it.
Each trial fits a window of 180 days twice, without and with its holdout, and says which share of the judged fit's gain
over a constant the second fit loses on the rows that both learned, weighed as in training. Plain scikit-learn.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

from benchmarks.measure import console, table
from evergreen.evaluation.refit import MOST_LOST

Array = np.ndarray[Any, Any]
DAY = 24.0
WINDOW, STEP = 180 * DAY, 135 * DAY
"""Hours."""
HALF_LIVES = (90 * DAY, 30 * DAY, 10 * DAY)
CALENDAR = ("season", "mnth", "hr", "weekday", "holiday", "workingday")
WEATHER = ("weathersit", "temp", "atemp", "hum", "windspeed")


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows in time order; `hours` since the epoch. Targets of a classification are 0 and 1."""

    hours: Array
    x: Array
    y: Array
    classes: bool

    def picked(self, where: Array) -> Rows:
        """Some of the rows."""
        return Rows(self.hours[where], self.x[where], self.y[where], self.classes)

    def with_target(self, y: Array) -> Rows:
        """The same rows with other targets."""
        return Rows(self.hours, self.x, y, self.classes)

    def weights(self, half_life: float | None) -> Array | None:
        """As `evergreen.data.windows.row_weights`."""
        return None if half_life is None else np.asarray(0.5 ** ((self.hours.max() - self.hours) / half_life))


def main() -> None:
    """Print a table of what sound and broken refits lose."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.refit_bound", description=__doc__)
    parser.add_argument("file", type=Path, help="an hourly file of the UCI schema")
    streams = {"bikes": _bikes(parser.parse_args().file), "numbers": _stream(False), "classes": _stream(True)}
    lost: dict[str, list[float]] = {}
    warnings.filterwarnings("ignore")
    for name, rows in streams.items():
        for window in _windows(rows):
            for holdout in _holdouts(window):
                for make in _models(rows.classes):
                    for what, share in _trial(make, window, holdout):
                        lost.setdefault(what, []).append(share)
        console.print(f"{name} done")
    lines = []
    for what, shares in lost.items():
        low, middle, high, most = np.quantile(shares, [0, 0.5, 0.99, 1])
        refused = np.mean(np.array(shares) > MOST_LOST)
        lines.append((what, len(shares), f"{low:.2f}", f"{middle:.2f}", f"{high:.2f}", f"{most:.2f}", f"{refused:.1%}"))
    table("Share of the gain that is lost", ("fit", "trials", "least", "median", "99 %", "most", "refused"), lines)


def _bikes(file: Path) -> Rows:
    frame = pd.read_csv(file)
    at = pd.to_datetime(frame["dteday"]) + pd.to_timedelta(frame["hr"], unit="h")
    hours = ((at - pd.Timestamp(0)) / pd.Timedelta(hours=1)).to_numpy()
    return Rows(hours, frame[[*CALENDAR, *WEATHER]].to_numpy(float), frame["cnt"].to_numpy(float), classes=False)


def _stream(classes: bool, rows: int = 12_000) -> Rows:
    """An hourly stream whose errors have an autocorrelation of 0.95."""
    random = np.random.default_rng(0)
    x, steps, error = random.normal(size=(rows, 6)), random.normal(size=rows), np.zeros(rows)
    for row in range(1, rows):
        error[row] = 0.95 * error[row - 1] + 0.3 * steps[row]
    y = 2 * x[:, 0] + x[:, 1] + 0.5 * x[:, 2] + np.sin(2 * x[:, 3]) + error + random.normal(size=rows)
    return Rows(438_288.0 + np.arange(rows), x, (y > 0).astype(int) if classes else y, classes)


def _windows(rows: Rows) -> Iterator[Rows]:
    for end in np.arange(rows.hours.min() + WINDOW, rows.hours.max(), STEP):
        yield rows.picked((rows.hours < end) & (rows.hours >= end - WINDOW))


def _holdouts(rows: Rows) -> Iterator[Array]:
    """`latest` with a fifth, and `blocked` with every fifth day of the last eight weeks."""
    count = len(rows.y)
    yield np.arange(count) >= round(0.8 * count)
    yield (rows.hours // DAY % 5 == 0) & (rows.hours > rows.hours.max() - 56 * DAY)


def _models(classes: bool) -> tuple[Callable[[], Any], ...]:
    """Boosted trees, a forest or a tree, a linear model, and nearest neighbours."""
    from sklearn import ensemble, linear_model, neighbors, tree
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if classes:
        return (
            lambda: ensemble.HistGradientBoostingClassifier(max_iter=60, random_state=0),
            lambda: ensemble.RandomForestClassifier(20, min_samples_leaf=3, random_state=0),
            lambda: linear_model.LogisticRegression(max_iter=500),
            lambda: make_pipeline(StandardScaler(), neighbors.KNeighborsClassifier(25)),
        )
    return (
        lambda: ensemble.HistGradientBoostingRegressor(max_iter=60, random_state=0),
        lambda: tree.DecisionTreeRegressor(min_samples_leaf=8, random_state=0),
        linear_model.Ridge,
        lambda: make_pipeline(StandardScaler(), neighbors.KNeighborsRegressor(1)),
        lambda: make_pipeline(StandardScaler(), neighbors.KNeighborsRegressor(10)),
    )


def _trial(make: Callable[[], Any], rows: Rows, holdout: Array) -> Iterator[tuple[str, float]]:
    """What each kind of second fit loses, by kind."""
    late = np.arange(len(rows.y)) > 0.85 * len(rows.y)
    judged = _fitted(make(), rows.picked(~holdout), None)
    yield "sound", _lost(make, rows, holdout, rows, judged=judged)
    if not hasattr(make(), "steps"):
        for half_life in HALF_LIVES:
            yield f"sound, half-life {half_life / DAY:g} days", _lost(make, rows, holdout, rows, half_life)
    if not rows.classes:
        for size in (1, 2):
            moved = rows.with_target(rows.y + size * late * rows.y.std())
            yield f"sound, target moved by {size} standard deviations", _lost(make, moved, holdout, moved)
    for what, planted in _broken(rows):
        yield what, _lost(make, rows, holdout, planted, judged=judged)


def _broken(rows: Rows) -> Iterator[tuple[str, Rows]]:
    """What a refit that learned something else was given."""
    random = np.random.default_rng(1)
    y, count = rows.y, len(rows.y)
    yield "targets shuffled", rows.with_target(random.permutation(y))
    half = random.random(count) < 0.5
    yield "half of the targets shuffled", rows.with_target(np.where(half, random.permutation(y), y))
    x = rows.x.copy()
    ties = np.array([0.0 if column.std() == 0 else abs(np.corrcoef(column, y)[0, 1]) for column in x.T])
    x[:, ties.argmax()] = random.permutation(x[:, ties.argmax()])
    yield "best feature shuffled", Rows(rows.hours, x, y, rows.classes)
    if rows.classes:
        yield "labels swapped", rows.with_target(1 - y)
        return
    yield "targets 10 % too high", rows.with_target(1.1 * y)
    yield "targets 25 % too high", rows.with_target(1.25 * y)


def _lost(
    make: Callable[[], Any],
    rows: Rows,
    holdout: Array,
    refitted: Rows,
    half_life: float | None = None,
    judged: Any = None,
) -> float:
    """The share that a fit of `refitted` loses; without a `judged` fit one of the training rows is made."""
    train = rows.picked(~holdout)
    weights = train.weights(half_life)
    before = _error(_fitted(make(), train, weights) if judged is None else judged, train, weights)
    after = _error(_fitted(make(), refitted, refitted.weights(half_life)), train, weights)
    constant = np.full(len(train.y), train.y.mean() if rows.classes else np.median(train.y))
    return float((after - before) / (_error_of(constant, train, weights) - before))


def _fitted(model: Any, rows: Rows, weights: Array | None) -> Any:
    return model.fit(rows.x, rows.y) if weights is None else model.fit(rows.x, rows.y, sample_weight=weights)


def _error(model: Any, rows: Rows, weights: Array | None) -> float:
    predicted = model.predict_proba(rows.x)[:, 1] if rows.classes else model.predict(rows.x)
    return _error_of(predicted, rows, weights)


def _error_of(predicted: Array, rows: Rows, weights: Array | None) -> float:
    from sklearn.metrics import log_loss, mean_absolute_error

    metric = log_loss if rows.classes else mean_absolute_error
    return float(metric(rows.y, predicted, sample_weight=weights))


if __name__ == "__main__":
    main()
