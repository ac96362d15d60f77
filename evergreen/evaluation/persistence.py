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
SEASONS = {"a day": 24 * _HOUR, "a week": 7 * 24 * _HOUR, "a year": 365 * 24 * _HOUR}
"""Lengths of the seasons that are tried, in microseconds."""

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
        name: the rule in words, such as `the label of a week ago`.
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
    return _forecast("the last known label", _last(history), history, learned, judged, fallback, metric)


def forecast_season(
    history: LabelledHistory, learned: Places, judged: Places, fallback: Predictions, metric: Metric
) -> NaiveForecast | None:
    """The label of a day, a week or a year ago, whichever has the least error on the training rows.

    The arguments are those of `forecast_last`. None where the rows are too far apart or too few for any season.
    """
    found: list[tuple[float, str, Places]] = []
    sign = -1.0 if metric.kind.greater_is_better else 1.0
    for name, season in SEASONS.items():
        places = _season_ago(history, season)
        within = learned[places[learned] != NONE]
        if len(within) < max(2, len(learned) // 2):
            continue
        values = history.y[places[within]]
        made = _spread_over_classes(history, places, within, within, fallback) if _needs_classes(fallback) else None
        # A function of the user's own may not do with these rows.
        with suppress(EvergreenError):
            error = sign * measure(metric, history.y[within], made or Predictions(values, None, fallback.classes))
            if np.isfinite(error):
                found.append((error, name, places))
    if not found:
        return None
    _, name, places = min(found, key=lambda one: one[0])
    return _forecast(f"the label of {name} ago", places, history, learned, judged, fallback, metric)


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
