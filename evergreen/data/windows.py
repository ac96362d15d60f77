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
from evergreen.spec.fields import Rows, distance
from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.dataset as ds

MIN_CLUSTERS = 20
"""An interval from fewer clusters than this is worth nothing."""
ROW, LANDED_AT = "_row", "_landed_at"
"""The columns with the number that a row got when it landed, and when that was."""

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


def order_column(spec: ModelSpec) -> str | None:
    """The column that has the place of each row in the order of the rows: a time, or its number; None without order."""
    return spec.time if spec.order is None else ROW


def training_window(spec: ModelSpec, snapshot: Snapshot, now: datetime | None = None) -> Window:
    """The rows that the model file lets a candidate see at `now` (aware): its training rows and its holdout."""
    as_of = now.isoformat() if now else None
    if spec.order == "rows":
        return Window(snapshot, from_row=_row_before(snapshot, spec.training.last), as_of=as_of)
    return Window(snapshot, start=_time_before(snapshot.end, spec.training.last), as_of=as_of)


def current_window(
    spec: ModelSpec, snapshot: Snapshot, champion_end: str | None, champion_rows: int, now: datetime | None = None
) -> Window:
    """The rows after the champion's window, as far back as the drift policy looks.

    `champion_end` is the latest time that the champion learned from, `champion_rows` the number of the first row that
    it did not.
    """
    as_of = now.isoformat() if now else None
    if spec.time is None:
        return Window(snapshot, from_row=max(champion_rows, _row_before(snapshot, spec.drift.last)), as_of=as_of)
    return Window(snapshot, start=_time_before(snapshot.end, spec.drift.last), after=champion_end, as_of=as_of)


def judged_window(
    spec: ModelSpec, snapshot: Snapshot, champion_end: str | None, champion_rows: int, now: datetime
) -> Window:
    """The rows after the champion's window up to `now` (aware), as far back as the performance policy looks.

    Rows of the future, from a forecast or a wrong clock, have not happened yet. Where rows have the order of landing,
    all of the champion's window is given: how far back the policy looks is counted from a mature window.
    """
    as_of = now.isoformat()
    if spec.time is None:
        return Window(snapshot, from_row=champion_rows, as_of=as_of)
    end = min(datetime.fromisoformat(snapshot.end), now).isoformat() if snapshot.end else None
    start = _time_before(end, spec.performance.last)
    return Window(snapshot, start=start, after=champion_end, until=end, as_of=as_of)


def block_numbers(places: pd.Series, length: timedelta | Rows) -> npt.NDArray[np.int64]:
    """The number of the block that each row lies in, shape (n,).

    Args:
        places: the time of each row, or the number that it got when it landed.
        length: of a block: a duration, counted from the epoch, or so many rows, counted from row 0.
    """
    import pandas as pd

    if isinstance(length, Rows):
        return np.asarray(places // length.count, dtype=np.int64)
    since_epoch = places - pd.Timestamp(0, tz="UTC")
    return np.asarray(since_epoch // pd.Timedelta(length), dtype=np.int64)


def time_clusters(spec: ModelSpec, frame: pd.DataFrame) -> Clusters | None:
    """The clusters of rows in a bootstrap, in order; None for rows without an order.

    The rows of one day are one cluster, and of fewer than `MIN_CLUSTERS` days they are cut finer. For rows in the order
    of landing see `row_clusters`.
    """
    if spec.order == "rows" and not frame.empty:
        return row_clusters(frame, MIN_CLUSTERS)
    if spec.time is None or frame.empty:
        return None
    time = frame[spec.time]
    length = min(timedelta(days=1), (time.max() - time.min()).to_pytimedelta() / MIN_CLUSTERS)
    length = max(length, timedelta(microseconds=1))
    return Clusters(block_numbers(time, length), length)


def row_clusters(frame: pd.DataFrame, least: int) -> Clusters:
    """Stretches of equally many rows in the order of landing: as many as each has rows, and at least `least`.

    Rows without a time have no day. With n ** 0.5 rows to a stretch both their length and their number grow with n, as
    what is drawn in blocks asks for (Künsch 1989, The Jackknife and the Bootstrap for General Stationary Observations).
    """
    count = max(1, int(len(frame) // max(least, len(frame) ** 0.5)))
    places = np.argsort(np.argsort(frame[ROW].to_numpy(), kind="stable"), kind="stable")
    return Clusters(np.asarray(places // count, dtype=np.int64), Rows(count))


def cluster_ids(spec: ModelSpec, frame: pd.DataFrame) -> npt.NDArray[np.int64] | None:
    """The numbers of `time_clusters` alone, shape (n,): clusters that are drawn one by one; None without an order.

    A champion is watched by these. A change in the middle of its rows makes the days before and after it alike, and
    blocks as long as that would hold the alarm back that it is to raise.
    """
    clusters = time_clusters(spec, frame)
    return clusters.numbers if clusters else None


def watched_groups(spec: ModelSpec, frame: pd.DataFrame) -> Clusters | npt.NDArray[np.int64] | None:
    """What is drawn as one where a verdict follows: `cluster_ids`; `time_clusters` with `Gates(blocks="measured")`."""
    return (time_clusters if spec.gates.blocks == "measured" else cluster_ids)(spec, frame)


def row_weights(spec: ModelSpec, frame: pd.DataFrame) -> npt.NDArray[np.float64] | None:
    """The weight of each row by its age, shape (n,): 1 for the newest, 0.5 after a half-life; None if all are equal."""
    column = order_column(spec)
    if spec.training.half_life is None or column is None:
        return None
    places = frame[column]
    age = (places.max() - places) / distance(spec.training.half_life)
    return np.asarray(0.5 ** age.to_numpy(dtype="float64"), dtype=np.float64)


def _time_before(end: str | None, length: timedelta | Rows | None) -> str | None:
    if end is None or length is None:
        return None
    return str((datetime.fromisoformat(end) - distance(length)).isoformat())


def _row_before(snapshot: Snapshot, length: timedelta | Rows | None) -> int:
    """The number of the first of so many rows at the end of a snapshot; 0 for all.

    A number whose row was replaced is counted: the row that replaced it has a later one.
    """
    return max(0, snapshot.next_row - length.count) if isinstance(length, Rows) else 0
