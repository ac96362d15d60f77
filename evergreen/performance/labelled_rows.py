"""Which rows judge a champion: labelled ones of mature windows that came after what it learned from.

The same rows whatever order they and their labels came in: where there are too many, those are drawn whose identity has
the least hash, and they are put in order by time, or by the number of each row, and identity.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evergreen.data.observations import Observations
from evergreen.data.prediction_log import PredictionLog
from evergreen.data.predictions import Predictions
from evergreen.data.snapshot import Snapshot
from evergreen.data.windows import ROW, Window, judged_window, order_column
from evergreen.decision import decision_id
from evergreen.performance.label_coverage import LabelWindow, label_windows, window_numbers
from evergreen.registry.lineage import first_unlearned, learned_until
from evergreen.registry.model_registry import StoredVersions
from evergreen.registry.version import Version
from evergreen.spec.fields import Rows, distance
from evergreen.spec.model import ModelSpec
from evergreen.storage.row_digest import Digest, Hashes, row_hashes
from evergreen.training.predict import predict

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from sklearn.pipeline import Pipeline

ROWS = 20_000
"""Labelled rows that are measured, at most; more are sampled."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledRows:
    """The rows of one question.

    Attributes:
        frame: labelled rows of mature windows, by time, with `_row`, where each is in the lake.
        ids: the identity of each.
        numbers: in which window each lies.
        windows: every window since what the champion learned from, as far back as the policy looks, oldest first.
        decision: the decision id of what is asked of these rows.
        digest: of the rows.
    """

    frame: pd.DataFrame
    ids: Hashes
    numbers: npt.NDArray[np.int64]
    windows: tuple[LabelWindow, ...]
    decision: str
    digest: str

    @property
    def mature(self) -> tuple[LabelWindow, ...]:
        """The windows that have their labels."""
        return tuple(window for window in self.windows if window.mature)


def labelled_rows(observations: Observations, champion: Version, snapshot: Snapshot, now: datetime) -> LabelledRows:
    """The rows that judge a champion at `now` (aware); what was not known by then does not count."""
    spec = observations.spec
    unbounded = judged_window(spec, snapshot, learned_until(champion), first_unlearned(champion), now)
    windows, window = _looked_at(observations, replace(unbounded, start=None))
    rows = _drawn(observations, window, windows)
    digest = Digest(0, 0, 0).plus(row_hashes(rows, observations.content)).hex
    decision = performance_decision_id(spec, champion.number, digest)
    frame: pd.DataFrame = rows.to_pandas()
    numbers = window_numbers(observations, frame)
    return LabelledRows(frame, _ids(observations, rows), numbers, windows, decision, digest)


def performance_decision_id(spec: ModelSpec, champion: int, digest: str) -> str:
    """The decision id of the question how a champion does on rows of this digest."""
    policy = spec.performance.model_dump(exclude={"also"})
    # A function has no text that is the same in the next process; its name has to do.
    question = (spec.metric.name, policy, [(metric.name, metric.bound) for metric in spec.performance.also])
    return decision_id(spec.name, champion, "performance", digest, repr(question), *asked_of_blocks(spec))


def asked_of_blocks(spec: ModelSpec) -> tuple[str, ...]:
    """What `Gates(blocks=...)` adds to a question about labelled rows; nothing where it asks as ever."""
    return ("blocks measured",) if spec.gates.blocks == "measured" else ()


def champion_predictions(
    spec: ModelSpec, log: PredictionLog | None, versions: StoredVersions, champion: Version, rows: LabelledRows
) -> tuple[Predictions, int]:
    """What the champion says of each row, and of how many it had said so before.

    A prediction that was kept in the log is what was acted upon, so it counts before one that is made now.

    Raises:
        ArtifactError: the champion's stored files are not what was registered.
    """
    pipeline, frame = versions.load(champion, spec), rows.frame
    places, logged = _kept(spec, log, champion, pipeline, rows)
    rest = np.setdiff1d(np.arange(len(frame)), places)
    if not len(places):
        return predict(pipeline, spec, frame), 0
    if not len(rest):
        return logged, len(places)
    predicted = predict(pipeline, spec, frame.iloc[rest].reset_index(drop=True))
    order = np.argsort(np.concatenate([places, rest]))
    values = np.concatenate([logged.values, predicted.values])[order]
    both = (logged.probability, predicted.probability)
    probability = None if both[0] is None or both[1] is None else np.concatenate([both[0], both[1]])[order]
    return Predictions(values, probability, predicted.classes), len(places)


def _kept(
    spec: ModelSpec, log: PredictionLog | None, champion: Version, pipeline: Pipeline, rows: LabelledRows
) -> tuple[npt.NDArray[np.intp], Predictions]:
    """The predictions that were kept and their places; none where they lack the probabilities that there are."""
    nothing = np.empty(0, dtype=np.intp), Predictions(np.empty(0))
    if log is None or not log.table.exists():
        return nothing
    since = rows.frame[spec.time].min().to_pydatetime() if spec.time is not None else None
    classes = tuple(pipeline.classes_.tolist()) if spec.task == "classification" else None
    places, logged = log.find(champion.number, rows.ids, since, classes)
    needs_probability = classes is not None and hasattr(pipeline, "predict_proba")
    return (places, logged) if needs_probability == (logged.probability is not None) else nothing


def _looked_at(observations: Observations, whole: Window) -> tuple[tuple[LabelWindow, ...], Window]:
    """The windows that the policy looks at, and the part of `whole` that counts.

    How far back that is, is counted from the newest mature window: where labels come late, the last week has none. It
    is looked for from the end, twice as far back each time, so that a long history is not read for a short stretch.
    """
    spec = observations.spec
    if isinstance(spec.performance.window, Rows):
        return _last_rows(observations, whole, spec.performance.window, spec.performance.last)
    last, first = spec.performance.last, whole.after or whole.snapshot.start
    if not isinstance(last, timedelta) or whole.until is None or first is None:
        return label_windows(observations, whole), whole
    end, reach = datetime.fromisoformat(whole.until), 2 * last
    while True:
        begin = _begin(spec, end - reach)
        windows = label_windows(observations, replace(whole, start=begin.isoformat()))
        newest = max((window.number for window in windows if window.mature), default=None)
        start = None if newest is None else min(end, _end(spec, newest)) - last
        if begin <= datetime.fromisoformat(first) or (start is not None and start >= begin):
            break
        reach *= 2
    if start is None:
        return windows, whole
    seen = tuple(window for window in windows if _end(spec, window.number) > start)
    return seen, replace(whole, start=start.isoformat())


def _last_rows(
    observations: Observations, whole: Window, length: Rows, last: timedelta | Rows | None
) -> tuple[tuple[LabelWindow, ...], Window]:
    """As `_looked_at`, for rows in the order of landing: so many numbers back from the end of a mature window."""
    windows = label_windows(observations, whole)
    newest = max((window.number for window in windows if window.mature), default=None)
    if newest is None or not isinstance(last, Rows):
        return windows, whole
    start = min(whole.snapshot.next_row, (newest + 1) * length.count) - last.count
    seen = tuple(window for window in windows if (window.number + 1) * length.count > start)
    return seen, replace(whole, from_row=max(whole.from_row, start))


def _begin(spec: ModelSpec, time: datetime) -> datetime:
    """The first instant of the window that a time lies in."""
    return _end(spec, (time - datetime.fromtimestamp(0, UTC)) // distance(spec.performance.window) - 1)


def _end(spec: ModelSpec, number: int) -> datetime:
    """The first instant behind a window."""
    end: datetime = datetime.fromtimestamp(0, UTC) + (number + 1) * distance(spec.performance.window)
    return end


def _drawn(observations: Observations, window: Window, windows: tuple[LabelWindow, ...]) -> pa.Table:
    """The labelled rows of mature windows by place and identity; the table streams past."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    spec, where = observations.spec, window.where(observations)
    has_target = ds.field(spec.target).is_valid()
    where = has_target if where is None else where & has_target
    column = order_column(spec)
    names = (*observations.content, ROW, "_labelled_at")
    rows = pa.schema([observations.table.schema.field(name) for name in names]).empty_table()
    numbers = [each.number for each in windows if each.mature]
    for batch in observations.table.scan(names, where, window.snapshot.version) if numbers else ():
        counts = np.isin(window_numbers(observations, _places(spec, batch)), numbers) & _known(batch, window.as_of)
        rows = pa.concat_tables([rows, pa.Table.from_batches([batch.filter(pa.array(counts))]).cast(rows.schema)])
        if rows.num_rows > 2 * ROWS:
            rows = _least(observations, rows)
    rows = _least(observations, rows).drop_columns(["_labelled_at"])
    ids = _ids(observations, rows)
    places = rows.column(column).cast(pa.int64()).to_numpy() if column is not None else np.zeros(len(ids))
    return rows.take(np.lexsort((ids, places)))


def _places(spec: ModelSpec, batch: pa.RecordBatch) -> pd.DataFrame:
    frame: pd.DataFrame = batch.select([order_column(spec) or spec.target]).to_pandas()
    return frame


def _known(batch: pa.RecordBatch, known: str | None) -> npt.NDArray[np.bool_]:
    later = batch.column("_labelled_at").to_pandas()
    if known is None:
        return np.ones(len(later), dtype=bool)
    return np.asarray(~(later > datetime.fromisoformat(known)), dtype=bool)


def _least(observations: Observations, rows: pa.Table) -> pa.Table:
    """At most `ROWS` rows, those whose identity has the least hash."""
    if rows.num_rows <= ROWS:
        return rows
    return rows.take(np.sort(np.argsort(_ids(observations, rows), kind="stable")[:ROWS]))


def _ids(observations: Observations, rows: pa.Table) -> Hashes:
    """As `Observations.ids` of the same rows as a frame."""
    return row_hashes(rows, observations.spec.keys or observations.content)
