"""What one would predict without a model where rows have an order: the last known label, or that of a season ago.

A forecast that repeats the last value is hard to beat on autocorrelated rows (Hyndman and Athanasopoulos 2021,
Forecasting: Principles and Practice, section 5.2: the naive and the seasonal naive method). It uses only labels that
were known before the row's time, so that a label that comes a week late is repeated a week late.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evergreen.data.predictions import Predictions
from evergreen.errors import EvergreenError
from evergreen.evaluation.measure import measure
from evergreen.spec.metric import Array, Metric

Times = npt.NDArray[np.int64]
Places = npt.NDArray[np.intp]

NONE = -1
"""The place of a label where there is none."""

_HOUR = 3_600_000_000
LAST_LABEL = "the last known label"
SEASONS = {
    "the label a day before": 24 * _HOUR,
    "the label a week before": 7 * 24 * _HOUR,
    "the label a year before": 365 * 24 * _HOUR,
}
"""Rules by their names, with the lengths of their seasons in microseconds."""

_LEAST_SHARE = 0.5
"""Of the rows that have a label of a season; with fewer its error says little."""

_REACH = 8
"""How many seasons back a label is looked for: one that comes late may be known only for an earlier season."""

_ROWS_OF_A_SERIES = 10
"""Groups of fewer rows on average are no series: their keys number things that come once or twice."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledHistory:
    """Labelled rows in time order, shape (n,) each.

    Attributes:
        times: of each row, microseconds since 1970.
        known: when its label became known; never before its time.
        y: the labels.
        series: the number of the series that each row belongs to.
    """

    times: Times
    known: Times
    y: Array
    series: Places


@dataclass(frozen=True, slots=True, eq=False)
class NaiveForecast:
    """What a rule without a model predicts for the judged rows.

    Attributes:
        name: the rule in words, such as `the label a week before`.
        predictions: for each judged row; where no label was known, the fallback's.
        covered: share of the judged rows for which a label was known.
    """

    name: str
    predictions: Predictions
    covered: float


def number_series(keys: Sequence[Array], rows: int) -> Places:
    """The number of each row's series, from its keys beside the time; one series for all where they name none."""
    numbers: Places = np.zeros(rows, dtype=np.intp)
    for values in keys:
        codes = np.unique(values.astype(str), return_inverse=True)[1]
        numbers = np.unique(numbers * (codes.max(initial=0) + 1) + codes, return_inverse=True)[1]
    series = int(numbers.max(initial=0)) + 1
    return numbers if rows >= _ROWS_OF_A_SERIES * series else np.zeros(rows, dtype=np.intp)


def forecast_last(
    history: LabelledHistory, learned: Places, judged: Places, fallback: Predictions, metric: Metric
) -> NaiveForecast:
    """The last label of the same series that was known before each judged row.

    Args:
        history: every labelled row, n of them.
        learned: places of the training rows, from which the probabilities of classes are counted.
        judged: places of the m rows that are predicted.
        fallback: what is predicted where nothing is known, m rows of it.
        metric: says whether probabilities are needed.
    """
    return _forecast(LAST_LABEL, _last(history), history, learned, judged, fallback, metric)


def forecast_seasons(
    history: LabelledHistory, learned: Places, judged: Places, fallback: Predictions, metric: Metric
) -> tuple[NaiveForecast, ...]:
    """The label of a day, a week and a year before; the arguments are those of `forecast_last`.

    A season is left out where fewer than half of the judged rows have a label of it.
    """
    return tuple(
        _forecast(name, places, history, learned, judged, fallback, metric)
        for name, places in _seasons(history, judged).items()
    )


def forecast_season(
    history: LabelledHistory, learned: Places, judged: Places, fallback: Predictions, metric: Metric
) -> NaiveForecast | None:
    """That of `forecast_seasons` which has the least error on the training rows; None where there is none."""
    found: list[tuple[float, str, Places]] = []
    sign = -1.0 if metric.kind.greater_is_better else 1.0
    for name, places in _seasons(history, learned).items():
        within = learned[places[learned] != NONE]
        made = _spread_over_classes(history, places, within, within, fallback) if _needs_classes(fallback) else None
        predictions = made or Predictions(history.y[places[within]], None, fallback.classes)
        # A function of the user's own may not do with these rows.
        with suppress(EvergreenError):
            error = sign * measure(metric, history.y[within], predictions)
            if np.isfinite(error):
                found.append((error, name, places))
    if not found:
        return None
    _, name, places = min(found, key=lambda one: one[0])
    return _forecast(name, places, history, learned, judged, fallback, metric)


def _seasons(history: LabelledHistory, rows: Places) -> dict[str, Places]:
    """Where the label of each season is, for those of which enough of the rows have one."""
    found = {name: _season_ago(history, season) for name, season in SEASONS.items()}
    return {name: places for name, places in found.items() if np.mean(places[rows] != NONE) >= _LEAST_SHARE}


def _forecast(
    name: str,
    places: Places,
    history: LabelledHistory,
    learned: Places,
    judged: Places,
    fallback: Predictions,
    metric: Metric,
) -> NaiveForecast:
    there = places[judged] != NONE
    values = np.array(fallback.values, dtype=history.y.dtype)
    values[there] = history.y[places[judged][there]]
    probability = None
    if _needs_classes(fallback):
        known = learned[places[learned] != NONE]
        made = _spread_over_classes(history, places, known, judged[there], fallback)
        probability = np.array(fallback.probability, copy=True)
        probability[there] = made.probability
    return NaiveForecast(name, Predictions(values, probability, fallback.classes), float(np.mean(there)))


def _needs_classes(fallback: Predictions) -> bool:
    return fallback.probability is not None


def _spread_over_classes(
    history: LabelledHistory, places: Places, learned: Places, judged: Places, fallback: Predictions
) -> Predictions:
    """How often each class followed the repeated one among the training rows, one added to each count.

    The rule of succession (Laplace 1814) keeps a class that never followed from having no probability at all.
    """
    classes = np.asarray(fallback.classes)
    order = np.argsort(classes)
    counts = np.ones((len(classes), len(classes)))

    def code(rows: Places) -> Places:
        return np.asarray(order[np.searchsorted(classes, history.y[rows], sorter=order)])

    known = np.isin(history.y, classes)
    learned = learned[known[learned] & known[places[learned]]]
    np.add.at(counts, (code(places[learned]), code(learned)), 1.0)
    shares = counts / counts.sum(axis=1, keepdims=True)
    probability = np.full((len(judged), len(classes)), 1.0 / len(classes))
    usable = known[places[judged]]
    probability[usable] = shares[code(places[judged[usable]])]
    return Predictions(history.y[places[judged]], probability, fallback.classes)


def _last(history: LabelledHistory) -> Places:
    """The place of the latest row of the same series whose label was known before each row, shape (n,)."""
    found = np.full(len(history.times), NONE, dtype=np.intp)
    for rows in _rows_by_series(history.series):
        order = np.argsort(history.known[rows], kind="stable")
        # Labels become known in another order than their rows came: the latest row of those known so far.
        latest = np.maximum.accumulate(order) if len(order) else order
        count = np.searchsorted(history.known[rows][order], history.times[rows], side="left")
        found[rows[count > 0]] = rows[latest[count[count > 0] - 1]]
    return found


def _season_ago(history: LabelledHistory, season: int) -> Places:
    """The place of the row a whole number of seasons before each row whose label was known, the nearest such one."""
    found = np.full(len(history.times), NONE, dtype=np.intp)
    for rows in _rows_by_series(history.series):
        times, known = history.times[rows], history.known[rows]
        steps = np.diff(np.unique(times))
        if not len(steps) or (spacing := int(np.median(steps))) > season // 2:
            continue
        place = np.full(len(rows), NONE, dtype=np.intp)
        for count in range(1, _REACH + 1):
            wanted = times - count * season
            at = np.searchsorted(times, wanted, side="right") - 1
            close = (at >= 0) & (times[at] > wanted - spacing) & (known[at] < times) & (place == NONE)
            place[close] = at[close]
        found[rows[place != NONE]] = rows[place[place != NONE]]
    return found


def _rows_by_series(series: Places) -> list[Places]:
    order = np.argsort(series, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(series[order])) + 1)
