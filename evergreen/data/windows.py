"""Windows: which rows a candidate learns from, and which rows judge it.

Everything is counted from the newest row of a snapshot, never from the clock, so that the same snapshot always gives
the same split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evergreen.data.clusters import Clusters
from evergreen.data.observations import Observations
from evergreen.data.snapshot import Snapshot
from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.dataset as ds

MIN_CLUSTERS = 20
"""An interval from fewer clusters than this is worth nothing."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a snapshot.

    Attributes:
        snapshot: where its rows are.
        start: rows from this time on (ISO 8601, UTC); None for all, or for a model without time.
        after: rows later than this time; None for no bound.
        from_row: rows that landed with this number or a greater one; 0 for all.
        until: rows up to this time; None for no bound.
        as_of: the logical time: a target that became known later counts as missing; None takes every target.
    """

    snapshot: Snapshot
    start: str | None = None
    after: str | None = None
    from_row: int = 0
    until: str | None = None
    as_of: str | None = None

    def read(self, observations: Observations, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read its rows in time order, by default with every column of the contract."""
        return observations.frame(self.snapshot.version, self.where(observations), columns, self._as_of())

    def sample(
        self, observations: Observations, rows: int, *, seed: int, also: ds.Expression | None = None
    ) -> tuple[pd.DataFrame, int]:
        """Draw at most `rows` of its rows that meet `also`, evenly over the window; returns also the total."""
        where = self.where(observations)
        if also is not None:
            where = also if where is None else where & also
        return observations.sample(self.snapshot.version, where, rows, seed=seed, as_of=self._as_of())

    def _as_of(self) -> datetime | None:
        return None if self.as_of is None else datetime.fromisoformat(self.as_of)

    def where(self, observations: Observations) -> ds.Expression | None:
        """The filter for its rows; None for all."""
        import pyarrow as pa
        import pyarrow.dataset as ds

        terms = []
        time = observations.spec.time
        if time is not None:
            instant = observations.table.schema.field(time).type
            if self.start is not None:
                terms.append(ds.field(time) >= pa.scalar(datetime.fromisoformat(self.start), instant))
            if self.after is not None:
                terms.append(ds.field(time) > pa.scalar(datetime.fromisoformat(self.after), instant))
            if self.until is not None:
                terms.append(ds.field(time) <= pa.scalar(datetime.fromisoformat(self.until), instant))
        if self.from_row:
            terms.append(ds.field("_row") >= self.from_row)
        condition = None
        for term in terms:
            condition = term if condition is None else condition & term
        return condition


def training_window(spec: ModelSpec, snapshot: Snapshot, now: datetime | None = None) -> Window:
    """The rows that the model file lets a candidate see at `now` (aware): its training rows and its holdout."""
    start = _time_before(snapshot.end, spec.training.last)
    return Window(snapshot, start=start, as_of=now.isoformat() if now else None)


def current_window(
    spec: ModelSpec, snapshot: Snapshot, champion_end: str | None, champion_rows: int, now: datetime | None = None
) -> Window:
    """The rows after the champion's window, as far back as the drift policy looks.

    `champion_end` is the latest time that the champion learned from, `champion_rows` the `next_row` of its snapshot.
    """
    as_of = now.isoformat() if now else None
    if spec.time is None:
        return Window(snapshot, from_row=champion_rows, as_of=as_of)
    return Window(snapshot, start=_time_before(snapshot.end, spec.drift.last), after=champion_end, as_of=as_of)


def judged_window(
    spec: ModelSpec, snapshot: Snapshot, champion_end: str | None, champion_rows: int, now: datetime
) -> Window:
    """The rows after the champion's window up to `now` (aware), as far back as the performance policy looks.

    Rows of the future, from a forecast or a wrong clock, have not happened yet.
    """
    as_of = now.isoformat()
    if spec.time is None:
        return Window(snapshot, from_row=champion_rows, as_of=as_of)
    end = min(datetime.fromisoformat(snapshot.end), now).isoformat() if snapshot.end else None
    start = _time_before(end, spec.performance.last)
    return Window(snapshot, start=start, after=champion_end, until=end, as_of=as_of)


def block_numbers(time: pd.Series, length: timedelta) -> npt.NDArray[np.int64]:
    """The number of the block of time that each row lies in, counted from the epoch, shape (n,)."""
    import pandas as pd

    since_epoch = time - pd.Timestamp(0, tz="UTC")
    return np.asarray(since_epoch // pd.Timedelta(length), dtype=np.int64)


def time_clusters(spec: ModelSpec, frame: pd.DataFrame) -> Clusters | None:
    """The clusters of rows in a bootstrap, in order: the rows of one day are one cluster; None without time.

    Rows of fewer than `MIN_CLUSTERS` days are cut finer.
    """
    if spec.time is None or frame.empty:
        return None
    time = frame[spec.time]
    length = min(timedelta(days=1), (time.max() - time.min()).to_pytimedelta() / MIN_CLUSTERS)
    length = max(length, timedelta(microseconds=1))
    return Clusters(block_numbers(time, length), length)


def cluster_ids(spec: ModelSpec, frame: pd.DataFrame) -> npt.NDArray[np.int64] | None:
    """The numbers of `time_clusters` alone, shape (n,): clusters that are drawn one by one; None without time."""
    clusters = time_clusters(spec, frame)
    return clusters.numbers if clusters else None


def watched_groups(spec: ModelSpec, frame: pd.DataFrame) -> Clusters | npt.NDArray[np.int64] | None:
    """What is drawn as one where a verdict follows: `cluster_ids`; `time_clusters` with `Gates(blocks="measured")`."""
    return (time_clusters if spec.gates.blocks == "measured" else cluster_ids)(spec, frame)


def row_weights(spec: ModelSpec, frame: pd.DataFrame) -> npt.NDArray[np.float64] | None:
    """The weight of each row by its age, shape (n,): 1 for the newest, 0.5 after a half-life; None if all are equal."""
    if spec.training.half_life is None or spec.time is None:
        return None
    time = frame[spec.time]
    age = (time.max() - time) / spec.training.half_life
    return np.asarray(0.5 ** age.to_numpy(dtype="float64"), dtype=np.float64)


def _time_before(end: str | None, length: timedelta | None) -> str | None:
    if end is None or length is None:
        return None
    return (datetime.fromisoformat(end) - length).isoformat()
