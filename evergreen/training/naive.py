"""The naive forecasts of a model's rows: what a candidate is told beside, and what a replayed policy should beat."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from evergreen.data.label_rules import LABELLED_AT
from evergreen.data.observations import Observations
from evergreen.data.predictions import Predictions
from evergreen.data.windows import LANDED_AT, ROW, Window, order_column
from evergreen.errors import ModelFileError
from evergreen.evaluation.persistence import (
    LabelledHistory,
    NaiveForecast,
    Places,
    Times,
    forecast_last,
    forecast_season,
    forecast_seasons,
    number_series,
)
from evergreen.spec.model import ModelSpec
from evergreen.spec.place import failed_in
from evergreen.training.predict import baseline, target_of

if TYPE_CHECKING:
    import pandas as pd


def naive_forecasts(
    spec: ModelSpec, frame: pd.DataFrame, known: Times, learned: Places, judged: Places
) -> tuple[NaiveForecast, ...]:
    """What repeating a label predicts for the judged rows, by the last label and the best season.

    Empty for rows without an order. Rows in the order of landing have no season.

    Args:
        spec: the model.
        frame: labelled rows in their order, n of them.
        known: when each label became known, microseconds since 1970, or the number of the last row that had landed by
            then; shape (n,).
        learned: places of the training rows.
        judged: places of the m rows that are predicted.
    """
    if order_column(spec) is None or not len(learned) or not len(judged):
        return ()
    history = _history(spec, frame, known)
    asked = (history, learned, judged, baseline(spec, history.y[learned], len(judged)), spec.metric)
    season = forecast_season(*asked) if spec.time is not None else None
    return (forecast_last(*asked), *([season] if season is not None else []))


def every_forecast(spec: ModelSpec, frame: pd.DataFrame, learned: Places, judged: Places) -> tuple[NaiveForecast, ...]:
    """As `naive_forecasts`, by each season, where a label is known with its row; rows without a time have their order.

    Rows of one time know nothing of each other.
    """
    history = _history(spec, frame, None)
    asked = (history, learned, judged, baseline(spec, history.y[learned], len(judged)), spec.metric)
    return (forecast_last(*asked), *(forecast_seasons(*asked) if spec.time is not None else ()))


def _history(spec: ModelSpec, frame: pd.DataFrame, known: Times | None) -> LabelledHistory:
    times = np.arange(len(frame)) if order_column(spec) is None else _places(spec, frame)
    keys = [frame[name].to_numpy() for name in spec.keys if name != spec.time]
    series = number_series(keys, len(frame))
    return LabelledHistory(times, times if known is None else known, target_of(spec, frame), series)


def read_known_times(observations: Observations, window: Window, frame: pd.DataFrame) -> Times:
    """When the label of each row of a window's frame became known, shape (n,), as `naive_forecasts` takes it.

    A label that came with its row is taken to be known from the row's own time on, or from the row itself on.
    """
    spec, version = observations.spec, window.snapshot.version
    own = _places(spec, frame)
    late = observations.frame(version, window.where(observations), [LABELLED_AT, LANDED_AT]).set_index(ROW)
    came = late[LABELLED_AT].reindex(frame[ROW])
    there = came.notna().to_numpy()
    known = _micros(came[there])
    if spec.order == "rows":
        # The last row that had landed when the label came.
        landed = np.maximum.accumulate(_micros(late[LANDED_AT]))
        place = np.searchsorted(landed, known, side="right") - 1
        known = np.where(place >= 0, late.index.to_numpy()[np.maximum(place, 0)], own[there])
    found = own.copy()
    found[there] = np.maximum(own[there], known)
    return found


def apply_rule(
    spec: ModelSpec, rule: Callable[[Any], Any], frame: pd.DataFrame, classes: tuple[Any, ...] | None
) -> Predictions:
    """What a person's own rule predicts for the rows of a frame, which it sees without the target.

    A rule gives a value or a class for each row; where the metric needs probabilities, that of the last class of two.

    Raises:
        ModelFileError: it fails, or does not give for each row what the metric needs.
    """
    place = f"{spec.place('gates')}: baseline"
    try:
        values = np.asarray(rule(frame.drop(columns=[spec.target, "_row"], errors="ignore")))
    except Exception as error:
        # The message of the error may show values of the rows.
        raise ModelFileError(f"{failed_in(rule, error, told=False)}.", "Correct the rule in the model file.") from error
    if values.shape != (len(frame),):
        raise ModelFileError(
            f"{place}: it gave values of the shape {values.shape} for {len(frame)} rows.",
            "Return one value for each row.",
        )
    if spec.task == "regression":
        return Predictions(values.astype("float64"))
    if spec.metric.kind.needs != "probability":
        return Predictions(values, None, classes)
    if (
        classes is None
        or len(classes) != 2
        or values.dtype.kind not in "fiu"
        or not ((values >= 0) & (values <= 1)).all()
    ):
        raise ModelFileError(
            f"{place}: {spec.metric.name} needs probabilities, and it gave something else.",
            "Return the probability of the last class, from 0 to 1, of a target with two classes.",
        )
    probability = values.astype("float64")
    labels = np.asarray(classes)[(probability >= 0.5).astype(np.intp)]
    return Predictions(labels, np.column_stack([1 - probability, probability]), classes)


def _places(spec: ModelSpec, frame: pd.DataFrame) -> Times:
    """The place of each row: its time, in microseconds since 1970, or its number."""
    places = frame[str(order_column(spec))]
    return np.asarray(places, dtype=np.int64) if spec.order == "rows" else _micros(places)


def _micros(times: pd.Series) -> Times:
    return np.asarray(times.dt.as_unit("us").astype("int64"), dtype=np.int64)
