"""The naive forecasts on a backtest's steps: what no policy should lose to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise

import numpy as np

from evergreen.backtest.history import History, micros
from evergreen.backtest.scores import Difference, Series, series
from evergreen.backtest.simulation import StepPredictions
from evergreen.data.windows import order_column
from evergreen.evaluation.slices import picked
from evergreen.spec.model import ModelSpec
from evergreen.training.naive import naive_forecasts


def naive_series(spec: ModelSpec, history: History, steps: Sequence[datetime]) -> dict[str, Series]:
    """The figures of each naive forecast by its name, one entry for each step.

    Args:
        spec: the model.
        history: everything that is known by now.
        steps: the first instant (aware) of each step that is judged, and the end of the last one. What was known before
            the first of them takes the place of training rows.
    """
    there = np.flatnonzero(history.rows.column(spec.target).is_valid().to_numpy())
    columns = dict.fromkeys([str(order_column(spec)), spec.target, *spec.keys])
    frame = history.rows.select(list(columns)).take(there).to_pandas()
    known, times = history.known[there], history.times[there]
    begin, end = micros(steps[0]), micros(steps[-1])
    learned, judged = np.flatnonzero(known < begin), np.flatnonzero((times >= begin) & (times < end))
    # Where rows have no time, a label is known from a row on.
    known_from = np.searchsorted(history.times, known) if history.clock.by_rows else known
    found = {}
    for forecast in naive_forecasts(spec, frame, known_from, learned, judged):
        served = []
        for start, stop in pairwise(steps):
            first, last = history.between(start, stop)
            # A row without a label is given what a neighbour is given: only rows with one are looked at.
            nearest = np.searchsorted(there[judged], np.arange(first, last)).clip(max=len(judged) - 1)
            served.append(StepPredictions(start, ((first, last, picked(forecast.predictions, nearest)),)))
        found[forecast.name] = series(spec, history, served)
    return found


def describe_best(naive: Mapping[str, Series], metric: str) -> str:
    """What the best naive forecast came to, as a sentence; empty where none has a figure."""
    best = best_of(naive)
    if best is None:
        return ""
    return f"Without a model, repeating {best} comes to {metric} {naive[best].value():.4g} on the reported steps."


def describe_defeat(name: str, value: float, label: str, error: float, gap: Difference, metric: str) -> str:
    """That every policy loses to a naive forecast, as the first thing that is said of a backtest.

    Args:
        name: of the naive forecast.
        value: its figure on the reported steps.
        label: of the best policy there.
        error: its figure.
        gap: how much worse the policy is.
        metric: name of the metric.
    """
    proven = "which is proven" if gap.proven else "which may be chance"
    return (
        f"Every policy loses to a rule of one line: repeating {name} comes to {metric} {value:.4g} on the reported "
        f"steps, and the best policy there, {label}, to {error:.4g}, {proven}. Give the model lagged labels; "
        "docs/model-files.md has an example."
    )


def best_of(naive: Mapping[str, Series]) -> str | None:
    """The forecast with the least error."""
    errors = {name: one.worse * one.value() for name, one in naive.items()}
    sound = {name: error for name, error in errors.items() if np.isfinite(error)}
    return min(sound, key=sound.__getitem__) if sound else None
