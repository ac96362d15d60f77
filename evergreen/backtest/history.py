"""The observations as they were known at a time: nothing of what came later can be read, whoever asks.

A row is there from its own time on, its label from when it became known. Both are cut away before anything else sees
them, so that a replay cannot look ahead; what the live code asks of the lake it asks of this, by the same names.

Rows in the order of landing come one after the other (`clock.py`), numbered anew, as if each had landed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evergreen.backtest.clock import Clock
from evergreen.data.label_rules import LABELLED_AT
from evergreen.data.observations import Observations
from evergreen.data.snapshot import Snapshot
from evergreen.data.windows import LANDED_AT, ROW, order_column
from evergreen.errors import DataError
from evergreen.spec.fields import Rows
from evergreen.spec.model import ModelSpec
from evergreen.storage.delta_table import Table
from evergreen.storage.row_digest import Digest, Hashes, row_hashes

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds

Times = npt.NDArray[np.int64]
_US = timedelta(microseconds=1)
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Everything that is known of a model's rows by now, in their order.

    Attributes:
        like: the observations that it is of, whose names and types everything that is cut from it has.
        rows: every column of the observations.
        times: of each row, microseconds since 1970 (UTC), by the clock of the replay.
        known: when its label became known, likewise; the largest number for a row without one.
        hashes: of each row's content, with its label.
        unlabelled: likewise, without it.
    """

    spec: ModelSpec
    like: Observations
    rows: pa.Table
    times: Times
    known: Times
    hashes: Hashes
    unlabelled: Hashes

    @classmethod
    def of(cls, observations: Observations, delay: timedelta | None = None, version: int | None = None) -> History:
        """The history in a lake, at the newest or at a given version of the table.

        With a `delay` labels are taken to be known so long after their row.

        Without one, a label is known from `_labelled_at` on, and with its row where it has none. Where rows have the
        order of landing that is when the last row came that had landed by then.

        Raises:
            DataError: there are no rows, no order or no label.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        spec, table = observations.spec, observations.table
        column = order_column(spec)
        if column is None:
            raise DataError(
                f"{spec.name}: it has no time column: its history cannot be replayed.",
                "Name one: time=...; or set order='rows' where what landed first is older.",
            )
        names = [field.name for field in table.schema]
        batches = list(table.scan(names, version=version))
        if not any(batch.num_rows for batch in batches):
            raise DataError(
                f"{spec.name}: there are no rows to replay.", "Put data where the model file's source looks."
            )
        unsorted = pa.Table.from_batches(batches)
        order = pc.sort_indices(unsorted, [(column, "ascending"), *([] if column == ROW else [(ROW, "ascending")])])
        rows = unsorted.take(order).cast(table.schema).combine_chunks()
        if column == ROW:
            rows = _one_by_one(rows, Clock(spec.performance.window))
        times = rows.column(LANDED_AT if column == ROW else column).cast(pa.int64()).to_numpy()
        came = rows.column(LABELLED_AT).cast(pa.int64())
        late = np.where(came.is_null().to_numpy(), times, came.fill_null(0).to_numpy())
        known = np.maximum(late, times) if delay is None else times + delay // _US
        has = rows.column(spec.target).is_valid().to_numpy()
        if not has.any():
            raise DataError(
                f"{spec.name}: no row has a known {spec.target!r}: there is nothing to learn from.", "Land labels."
            )
        bare = _without(rows, spec.target, np.zeros(len(times), dtype=bool))
        content = observations.content
        hashes = (row_hashes(rows, content), row_hashes(bare, content))
        return cls(spec, observations, rows, times, np.where(has, known, _NEVER), *hashes)

    @property
    def clock(self) -> Clock:
        """What its instants are."""
        return Clock(self.spec.performance.window)

    @property
    def span(self) -> timedelta | Rows:
        """How long it is."""
        return Rows(len(self.times)) if self.clock.by_rows else self.end - self.start

    @property
    def start(self) -> datetime:
        """The time of the first row."""
        return instant(self.times[0])

    @property
    def end(self) -> datetime:
        """The time of the last row."""
        return instant(self.times[-1])

    def at(self, now: datetime, spec: ModelSpec | None = None) -> PointInTimeRows:
        """What was known before `now` (aware)."""
        count, moment = int(np.searchsorted(self.times, micros(now))), micros(now)
        known = self.known[:count] < moment
        rows = _without(self.rows.slice(0, count), self.spec.target, known)
        digest = Digest(0, 0, 0).plus(np.where(known, self.hashes[:count], self.unlabelled[:count]))
        return PointInTimeRows(
            self.like, spec or self.spec, self._timed(rows, count), digest.hex, self.times[:count], moment
        )

    def between(self, start: datetime, end: datetime) -> tuple[int, int]:
        """The places of the rows from `start` (aware) on and before `end`."""
        first, last = np.searchsorted(self.times, [micros(start), micros(end)])
        return int(first), int(last)

    def learned(self, back: timedelta | Rows | None, now: datetime) -> Digest:
        """Of the labelled rows of the last `back`, None for all, as they were known before `now`."""
        first, last = 0, int(np.searchsorted(self.times, micros(now)))
        if isinstance(back, Rows):
            first = max(0, last - back.count)
        elif back is not None and last:
            first = int(np.searchsorted(self.times, self.times[last - 1] - back // _US))
        known = self.known[first:last] < micros(now)
        return Digest(0, 0, 0).plus(self.hashes[first:last][known])

    def features(self, first: int, last: int) -> Digest:
        """Of the rows at these places, without their labels."""
        return Digest(0, 0, 0).plus(self.unlabelled[first:last])

    def _timed(self, rows: pa.Table, count: int) -> pa.Table:
        """The rows with the time at which each label is taken to have become known."""
        import pyarrow as pa

        kind = rows.schema.field("_labelled_at").type
        known = self.known[:count]
        column = pa.array(known, pa.int64(), mask=known == _NEVER).cast(kind, safe=False)
        return rows.set_column(rows.column_names.index("_labelled_at"), "_labelled_at", column)


class PointInTimeRows(Observations):
    """The observations as they were known before a time; reads as the lake's do, and cannot be written."""

    def __init__(
        self, like: Observations, spec: ModelSpec, rows: pa.Table, digest: str, times: Times, now: int
    ) -> None:
        # Made for each step: the contract's columns are not worked out anew.
        vars(self).update(vars(like))
        self.spec = spec
        self.table = InMemoryTable("", rows.schema, rows=rows)
        has_time = spec.time is not None and len(times)
        start, end = (instant(times[at]).isoformat() if has_time else None for at in (0, -1))
        # The number of its version grows with time, as that of a table does.
        self._then = Snapshot("", now // 1_000_000, rows.num_rows, start, end, rows.num_rows, digest)

    def of(self, spec: ModelSpec) -> PointInTimeRows:
        """The same rows for another policy of the same model."""
        other = copy(self)
        other.spec = spec
        return other

    def snapshot(self, version: int | None = None) -> Snapshot:
        """What there was."""
        return self._then


@dataclass(frozen=True, slots=True)
class InMemoryTable(Table):
    """A table in memory of which every version is the one."""

    rows: Any = None

    def scan(
        self, columns: Sequence[str], where: ds.Expression | None = None, version: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Its rows, in their order."""
        import pyarrow.dataset as ds

        held = self.rows.select(list(columns)) if where is None else self.rows
        yield from ds.dataset(held).to_batches(columns=list(columns), filter=where, use_threads=False)


def instant(micros: np.int64 | int) -> datetime:
    """A time of microseconds since 1970, aware, UTC."""
    from datetime import UTC

    return datetime.fromtimestamp(0, UTC) + int(micros) * _US


def micros(moment: datetime) -> int:
    """Microseconds from 1970 to an aware time."""
    from datetime import UTC

    return (moment - datetime.fromtimestamp(0, UTC)) // _US


def _one_by_one(rows: pa.Table, clock: Clock) -> pa.Table:
    """Rows in the order of landing, numbered anew; each landed alone, and its label came with the last one by then."""
    import pyarrow as pa

    numbers = np.arange(rows.num_rows, dtype=np.int64)
    times = clock.times(numbers)
    landed, came = (rows.column(name).cast(pa.int64()) for name in (LANDED_AT, LABELLED_AT))
    place = np.searchsorted(np.maximum.accumulate(landed.to_numpy()), came.fill_null(0).to_numpy(), side="right") - 1
    known = times[np.maximum(place, 0)]
    columns = {
        ROW: pa.array(numbers),
        LANDED_AT: pa.array(times),
        LABELLED_AT: pa.array(known, mask=came.is_null().to_numpy()),
    }
    for name, values in columns.items():
        field = rows.schema.field(name)
        rows = rows.set_column(rows.column_names.index(name), field, values.cast(field.type, safe=False))
    return rows


def _without(rows: pa.Table, target: str, known: npt.NDArray[np.bool_]) -> pa.Table:
    """The rows without the labels that are not known."""
    import pyarrow as pa
    import pyarrow.compute as pc

    field = rows.schema.field(target)
    masked = pc.if_else(pa.array(known), rows.column(target), pa.scalar(None, field.type))
    return rows.set_column(rows.column_names.index(target), field, masked)
