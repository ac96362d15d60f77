"""What is known of a challenger by now, from the rows that both versions predicted and the labels that came since.

It follows from the tables alone, so that no process has to remember anything: whoever asks finds the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from evergreen.canary.judge import Evidence, LossBlocks, Position, outcome_interval
from evergreen.canary.sequences import MIN_BLOCKS
from evergreen.data.comparison_log import ComparisonLog
from evergreen.data.label_rules import LABELLED_AT
from evergreen.data.observations import Observations
from evergreen.data.predictions import Predictions
from evergreen.details.canary import CanaryPoint
from evergreen.evaluation.measure import row_losses
from evergreen.registry.model_registry import ModelRegistry, StoredVersions
from evergreen.spec.canary import Canary
from evergreen.spec.metric import Metric
from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    import pandas as pd

POINTS = 60
"""Of the outcome over time, at most."""
SIDES = ("champion", "challenger")

Classes = Callable[[int], tuple[Any, ...] | None]
"""The classes of a version, whose order the probabilities have; None of a regression."""
Losses = Callable[["pd.DataFrame", npt.NDArray[Any]], tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]


class LoadedVersions(ModelRegistry, StoredVersions, Protocol):
    """Versions that can be looked up and loaded."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The two versions."""

    champion: int
    challenger: int


def read_evidence(
    observations: Observations,
    log: ComparisonLog,
    canary: Canary,
    pair: Pair,
    position: Position,
    now: datetime,
    classes: Classes,
) -> Evidence:
    """What is known at `now` (aware); labels that became known later do not count."""
    spec = observations.spec
    rows = _compared(log, pair, position.started, now)
    if rows.empty:
        return Evidence(0, 0, 0, 0, 0, LossBlocks.none())
    failed = rows["challenger_failed"].to_numpy(dtype=bool) & ~rows["champion_failed"].to_numpy(dtype=bool)
    champion, challenger = (rows[f"{side}_microseconds"].to_numpy(dtype="float64") for side in SIDES)
    timed = np.isfinite(champion) & np.isfinite(challenger)
    slower = timed & (challenger > (1 + canary.max_slowdown) * champion)
    in_step = rows["received_at"].to_numpy() >= np.datetime64(_naive(position.entered))
    metric = metric_of(spec, canary)
    answered = _first_of_each_key(rows)
    truth, is_known = _labels(observations, answered, now)
    blocks, mature = _loss_blocks(spec, canary, metric, pair, answered, truth, is_known, now, classes)
    differs = _disagreement(spec, answered)
    fresh = ~is_known & (answered["received_at"].to_numpy() >= np.datetime64(_naive(position.entered)))
    return Evidence(
        rows=len(rows),
        rows_in_step=int(in_step.sum()),
        failures=int(failed.sum()),
        timed=int(timed.sum()),
        slower=int(slower.sum()),
        blocks=blocks,
        metric=metric.name,
        unlabelled=int(fresh.sum()),
        disagreement=_times(differs[fresh], differs[mature]),
    )


def evidence_reader(
    observations: Observations, log: ComparisonLog, registry: LoadedVersions, now: datetime
) -> Callable[[Canary, Pair, Position], Evidence]:
    """`read_evidence` at `now` (aware) of whichever versions it is asked for."""
    spec = observations.spec

    def classes(number: int) -> tuple[Any, ...] | None:
        if spec.task != "classification":
            return None
        return tuple(registry.load(registry.get(spec.name, number), spec).classes_.tolist())

    def read(canary: Canary, pair: Pair, position: Position) -> Evidence:
        return read_evidence(observations, log, canary, pair, position, now, classes)

    return read


def metric_of(spec: ModelSpec, canary: Canary) -> Metric:
    """The metric whose losses are compared: the model file's, where it is a mean over rows."""
    if canary.metric is not None:
        return Metric(name=canary.metric)
    if spec.metric.kind.pointwise is not None:
        return spec.metric
    if spec.task == "regression":
        return Metric(name="mae")
    return Metric(name="log_loss" if spec.metric.kind.needs == "probability" else "accuracy")


def trace_outcome(canary: Canary, blocks: LossBlocks) -> tuple[CanaryPoint, ...]:
    """The outcome as it was known over time, from when there are enough blocks."""
    n, seconds = len(blocks.rows), canary.block.total_seconds()
    ends = np.unique(np.linspace(MIN_BLOCKS, n, POINTS).astype(int)) if n >= MIN_BLOCKS else ()
    points = []
    for end in map(int, ends):
        worse, lost = blocks.worse[:end], blocks.lost[:end]
        total = float(lost.sum())
        if total > 0:
            low, high = outcome_interval(canary, worse, lost)
            at = datetime.fromtimestamp(float(blocks.starts[end - 1]) + seconds, UTC).isoformat()
            points.append(CanaryPoint(at, int(blocks.rows[:end].sum()), float(worse.sum()) / total, (low, high)))
    return tuple(points)


def _compared(log: ComparisonLog, pair: Pair, since: datetime, now: datetime) -> pd.DataFrame:
    """The rows that both predicted, by time."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    names = ["received_at", "at", "key", "request", "row"]
    names += [f"{side}_{what}" for side in SIDES for what in ("prediction", "probability", "failed", "microseconds")]
    if not log.table.exists():
        nothing: pd.DataFrame = log.table.schema.empty_table().select(names).to_pandas()
        return nothing
    instant = log.table.schema.field("received_at").type
    where = (ds.field("challenger") == pair.challenger) & (ds.field("champion") == pair.champion)
    where &= (ds.field("received_at") >= pa.scalar(since, instant)) & (
        ds.field("received_at") <= pa.scalar(now, instant)
    )
    found = log.table.read(names, where).sort_values(["received_at", "request", "row"], ignore_index=True)
    found["received_at"] = found["received_at"].dt.tz_convert("UTC").dt.tz_localize(None)
    return found


def _first_of_each_key(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows that have a key and that both answered; of several with one key the first, which was acted upon."""
    answered = ~(rows["champion_failed"].astype(bool) | rows["challenger_failed"].astype(bool))
    return rows[answered & rows["key"].notna()].drop_duplicates("key", keep="first").reset_index(drop=True)


def _labels(
    observations: Observations, rows: pd.DataFrame, now: datetime
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """The label of each row (n) and whether it is known by `now`."""
    import pyarrow.dataset as ds

    spec, is_known = observations.spec, np.zeros(len(rows), dtype=bool)
    truth: npt.NDArray[Any] = np.empty(len(rows), dtype=object)
    if rows.empty or not observations.table.exists():
        return truth, is_known
    keys = rows["key"].to_numpy(dtype=np.int64)
    order = np.argsort(keys)
    names = list(dict.fromkeys((*spec.keys, spec.target, LABELLED_AT)))
    for batch in observations.table.scan(names, ds.field(spec.target).is_valid() & _at_their_time(spec, rows)):
        frame = observations.table.to_frame([batch], names)
        frame = frame[~(frame[LABELLED_AT] > now)]
        ids = observations.ids(frame).view(np.int64)
        places = np.searchsorted(keys[order], ids)
        hits = np.flatnonzero(keys[order][np.minimum(places, len(keys) - 1)] == ids)
        found = order[np.minimum(places[hits], len(keys) - 1)]
        truth[found], is_known[found] = frame[spec.target].to_numpy()[hits], True
    return truth, is_known


def _at_their_time(spec: ModelSpec, rows: pd.DataFrame) -> Any:
    """Where the rows' own times are known, only observations between them are looked at."""
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    if spec.time is None or rows["at"].isna().any():
        return pc.scalar(True)
    first, last = rows["at"].min().to_pydatetime(), rows["at"].max().to_pydatetime()
    return (ds.field(spec.time) >= first) & (ds.field(spec.time) <= last)


def _loss_blocks(
    spec: ModelSpec,
    canary: Canary,
    metric: Metric,
    pair: Pair,
    rows: pd.DataFrame,
    truth: npt.NDArray[Any],
    is_known: npt.NDArray[np.bool_],
    now: datetime,
    classes: Classes,
) -> tuple[LossBlocks, npt.NDArray[np.bool_]]:
    """The blocks that are over and have their labels, and which rows they hold (labelled ones)."""
    if not is_known.any():
        return LossBlocks.none(), np.zeros(len(rows), dtype=bool)
    seconds = canary.block.total_seconds()
    numbers = (rows["received_at"].to_numpy().astype("datetime64[us]").astype(np.int64) / 1e6 // seconds).astype(
        np.int64
    )
    present, place = np.unique(numbers, return_inverse=True)
    labelled = np.bincount(place, is_known, len(present))
    covered = labelled >= spec.performance.coverage * np.bincount(place, minlength=len(present))
    is_over = (present + 1) * seconds <= now.timestamp()
    mature = is_known & (covered & is_over)[place]
    if not mature.any():
        return LossBlocks.none(), mature
    known, values = rows[mature], truth[mature]
    champion, challenger = (
        _losses(spec, metric, _predictions(spec, known, side, number, classes), values)
        for side, number in (("champion", pair.champion), ("challenger", pair.challenger))
    )
    kept, where = np.unique(place[mature], return_inverse=True)
    blocks = LossBlocks(
        (present[kept] * seconds).astype(np.float64),
        np.bincount(where).astype(np.int64),
        np.bincount(where, champion).astype(np.float64),
        np.bincount(where, challenger - champion).astype(np.float64),
    )
    return blocks, mature


def _losses(
    spec: ModelSpec, metric: Metric, predictions: Predictions, truth: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """What each answer costs: nothing where it is right."""
    y = truth.astype(np.float64) if spec.task == "regression" else truth
    losses = row_losses(metric, y, predictions)
    if losses is None:
        raise ValueError(f"{metric.name} is no mean over rows.")
    return 1.0 - losses if metric.kind.greater_is_better else losses


def _predictions(spec: ModelSpec, rows: pd.DataFrame, side: str, number: int, classes: Classes) -> Predictions:
    values = rows[f"{side}_prediction"]
    if spec.task == "regression":
        return Predictions(values.to_numpy(dtype="float64"))
    known = classes(number) or ()
    by_text = {str(label): label for label in known}
    labels = np.empty(len(rows), dtype=object)
    labels[:] = [by_text.get(label, label) for label in values]
    lists = rows[f"{side}_probability"].tolist()
    probability = np.array(lists, dtype="float64") if lists and lists[0] is not None else None
    return Predictions(labels, probability, known)


def _disagreement(spec: ModelSpec, rows: pd.DataFrame) -> npt.NDArray[np.float64]:
    """How much the two versions differ on each row: by how much, or whether at all."""
    one, other = (rows[f"{side}_prediction"] for side in SIDES)
    if spec.task == "regression":
        return np.asarray(np.abs(one.to_numpy(dtype="float64") - other.to_numpy(dtype="float64")))
    return np.asarray(one.to_numpy() != other.to_numpy(), dtype=np.float64)


def _times(fresh: npt.NDArray[np.float64], known: npt.NDArray[np.float64]) -> float | None:
    if not len(fresh) or not len(known):
        return None
    usual, now = float(known.mean()), float(fresh.mean())
    if usual == 0:
        return None if now == 0 else float("inf")
    return now / usual


def _naive(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(tzinfo=None)
