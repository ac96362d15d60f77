"""The champion beside the rules of one line, on the labelled rows that judge it: told, and nothing is decided by it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np

from evergreen.data.observations import Observations
from evergreen.data.predictions import Predictions
from evergreen.data.snapshot import Snapshot
from evergreen.data.windows import ROW, Window, order_column
from evergreen.details.watch import RuleFigure, WindowFigure
from evergreen.errors import EvergreenError
from evergreen.evaluation.bootstrap import Estimate, Groups, paired_bootstrap
from evergreen.evaluation.measure import measure
from evergreen.evaluation.one_line_rules import COVERED, NAIVE, judge_beside
from evergreen.evaluation.persistence import NaiveForecast
from evergreen.evaluation.slices import picked
from evergreen.markdown import number
from evergreen.performance.labelled_rows import LabelledRows
from evergreen.performance.report import figures, finite
from evergreen.registry.lineage import first_unlearned, learned_until
from evergreen.registry.version import Version
from evergreen.spec.fields import distance
from evergreen.spec.metric import Array
from evergreen.spec.model import ModelSpec
from evergreen.training.naive import naive_forecasts, read_known_times
from evergreen.training.predict import labelled


def forecast_rows(
    observations: Observations, champion: Version, snapshot: Snapshot, rows: LabelledRows, now: datetime
) -> tuple[NaiveForecast, ...]:
    """What repeating a label predicts for the rows that judge a champion; empty where the model file does not ask.

    Whatever label was known before a row's own time may be repeated, whether its row judges or was learned from. The
    season is that of the least error on the rows that the champion was given.
    """
    spec, column = observations.spec, order_column(observations.spec)
    few = len(rows.frame) < spec.performance.min_rows
    learned_end = _learned_end(spec, champion)
    if spec.gates.persistence == "off" or column is None or learned_end is None or few:
        return ()
    start = None if spec.training.last is None else learned_end - distance(spec.training.last)
    if column == ROW:
        window = Window(snapshot, from_row=max(start or 0, 0), as_of=now.isoformat())
    else:
        newest = rows.frame[column].max().isoformat()
        window = Window(snapshot, start=start and start.isoformat(), until=newest, as_of=now.isoformat())
    columns = dict.fromkeys([*([spec.time] if spec.time else []), spec.target, *spec.keys])
    frame = labelled(spec, window.read(observations, list(columns)))
    by_row = np.argsort(frame[ROW].to_numpy())
    judged = by_row[np.searchsorted(frame[ROW].to_numpy()[by_row], rows.frame[ROW].to_numpy())]
    learned = np.flatnonzero(frame[column] <= learned_end)
    return naive_forecasts(spec, frame, read_known_times(observations, window, frame), learned, judged)


def _learned_end(spec: ModelSpec, champion: Version) -> Any:
    """The time, or the number, of the last row that a champion was given; None where that is not known."""
    if spec.order == "rows":
        return first_unlearned(champion) - 1
    end = learned_until(champion)
    return None if end is None else datetime.fromisoformat(end)


def rule_figures(
    spec: ModelSpec,
    naive: Sequence[NaiveForecast],
    rows: LabelledRows,
    y: Array,
    predictions: Predictions,
    groups: Groups,
    windows: Sequence[WindowFigure],
) -> tuple[RuleFigure, ...]:
    """The champion beside each naive forecast, in the words of the gates; `windows` are those that are reported."""
    found = []
    for name, forecast in zip(NAIVE, naive, strict=False):
        about, level = (spec.metric, y, predictions, forecast.predictions), spec.gates.level
        comparison = paired_bootstrap(*about, groups=groups, level=level, seed=spec.seed, capped=True)
        value, interval = figures(Estimate(comparison.champion_value, comparison.low, comparison.high))
        told = judge_beside(name, forecast, comparison, spec, asked=False).reason
        gain, covered = finite(comparison.improvement), finite(forecast.covered) or 0.0
        worse_in = _worse_in(spec, forecast, rows, y, windows)
        found.append(RuleFigure(forecast.name, value, gain, interval, covered, told, worse_in))
    return tuple(found)


def _worse_in(
    spec: ModelSpec, forecast: NaiveForecast, rows: LabelledRows, y: Array, windows: Sequence[WindowFigure]
) -> tuple[int, int]:
    """In how many windows the champion does worse than a rule, and of how many that could be measured."""
    sign = 1.0 if spec.metric.kind.greater_is_better else -1.0
    numbers = {window.start: window.number for window in rows.mature}
    worse, of = 0, 0
    for window in windows:
        places = np.flatnonzero(rows.numbers == numbers[window.start])
        rule = _value(spec, y, forecast.predictions, places)
        if window.value is not None and rule is not None:
            worse, of = worse + (sign * (window.value - rule) < 0), of + 1
    return worse, of


def outdone(spec: ModelSpec, rules: Sequence[RuleFigure]) -> list[str]:
    """The rules that do better than the champion, as a part of the report's reason; empty where none does."""
    better = [rule for rule in rules if rule.covered >= COVERED and rule.gain is not None and rule.gain < 0]
    if not better:
        return []
    named = " and ".join(f"{rule.name} ({number(rule.value)})" for rule in better)
    return [f"it does worse than repeating {named}"]


def _value(spec: ModelSpec, y: Array, predictions: Predictions, places: Array) -> float | None:
    """The metric of a rule on some of the rows; None where it is undefined there."""
    try:
        return finite(measure(spec.metric, y[places], picked(predictions, places)))
    except EvergreenError:
        return None
