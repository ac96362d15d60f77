"""Labels on their way to their rows: each batch lands once, and a label without a row waits until the row lands.

A label is in one place: in its row, among the pending labels, or in quarantine with the reason. A label that loses its
place is stored in quarantine first, and the commit that sets the labels of a batch comes last. A run that was killed in
between is therefore completed by the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evergreen import naming
from evergreen.data.checked_batch import CheckedBatch
from evergreen.data.label_rules import LABELLED_AT, LabelResolution, latest_per_key, resolve_labels
from evergreen.data.observations import MatchedRows, Observations
from evergreen.data.row_commits import Carried
from evergreen.data.row_errors import Mask
from evergreen.ingest.quarantine import quarantine_labels
from evergreen.sources.base import Batch
from evergreen.storage.delta_table import Table
from evergreen.storage.row_digest import row_hashes
from evergreen.storage.row_lookup import find_by_key, positions_of, row_condition

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from evergreen.storage.delta_table import OpenTable

PLACE = "_place"
"""The column with the row number of a pending label in its batch, counted from 1."""


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """What became of some labels; each is in one count.

    Attributes:
        added: set in a row that had none.
        replaced: set in place of an older label with another value.
        repeated: equal to what is there already.
        rejected: in quarantine with the reason.
        waiting: no row has their key yet.
        superseded: older labels that were replaced, now in quarantine.
    """

    added: int = 0
    replaced: int = 0
    repeated: int = 0
    rejected: int = 0
    waiting: int = 0
    superseded: int = 0


@dataclass(frozen=True, slots=True)
class _State:
    """The state of the pending labels, stored in each commit under the names of the fields.

    Attributes:
        waiting: how many labels are pending.
        next_row: the number that the next pending label gets.
        tried: rows with this number or a greater one were not compared with the pending labels yet.
    """

    waiting: int
    next_row: int
    tried: int

    def to_metadata(self) -> dict[str, str]:
        return {"waiting": str(self.waiting), "next_row": str(self.next_row), "tried": str(self.tried)}


class PendingLabels:
    """The labels of one model that wait for their rows.

    Attributes:
        spec: the model.
        observations: the rows.
        quarantine: the quarantine's table.
        contract: digest of what labels are checked against.
        table: the pending labels.
    """

    def __init__(self, lake: str, observations: Observations, quarantine: Table, contract: str) -> None:
        self.spec = observations.spec
        self.observations = observations
        self.quarantine = quarantine
        self.contract = contract
        self.table = Table(naming.table(lake, self.spec.name, "labels_waiting"), _schema(observations))
        self._keys = list(self.spec.keys)
        self._columns = [*self._keys, self.spec.target, LABELLED_AT]

    @staticmethod
    def commit_id(batch: str) -> str:
        """The id of the commit that sets the labels of a batch; a batch of rows may have the same content."""
        return f"labels:{batch}"

    def count(self) -> int:
        """How many labels wait for their row."""
        return self._state(self.table.open()).waiting if self.table.exists() else 0

    def land(self, item: Batch, checked: CheckedBatch, *, now: datetime, carried: Carried | None = None) -> LabelCounts:
        """Set the labels of a checked batch, once; labels without a row become pending.

        `carried` is stored with the last commit (see `Observations.set_labels`).

        Raises:
            BusyError: another run wrote at the same time.
            EvergreenError: a table cannot be written; it is left as it was.
        """
        import pyarrow as pa

        schema = pa.schema([self.table.schema.field(name) for name in self._columns])
        labels = pa.Table.from_pandas(checked.rows[self._columns], schema=schema, preserve_index=False)
        places = np.asarray(checked.rows.index, dtype=np.int64) + 1
        labels = _stamp(labels, item.id, item.origin, places)
        matched = self.observations.find(labels.select(self._keys))
        has_row = matched.positions >= 0
        rowless = labels.filter(pa.array(~has_row))
        waiting = self._add(rowless, item.id, matched.snapshot.next_row, now)
        resolution, rows = self._resolve(labels, matched, now)
        lost, reasons = self._lost_labels(labels.filter(pa.array(has_row)), rows, resolution)
        commit = f"{item.id}:{self.contract}:labels"
        quarantine_labels(self.quarantine, lost, reasons, commit, self.contract, now)
        # A batch of a resumable source lands whenever it is read.
        suffix = f":{matched.snapshot.version}" if carried and carried.get("labels_position") else ""
        chosen = _chosen(has_row, resolution)
        self.observations.set_labels(matched, labels, chosen, self.commit_id(item.id) + suffix, carried)
        return _count(resolution, waiting, repeated=int((~has_row).sum()) - waiting)

    def apply_pending(self, *, now: datetime) -> LabelCounts | None:
        """Set the pending labels whose rows landed since the last time; None if there are none.

        Raises:
            BusyError: another run wrote at the same time.
            EvergreenError: a table cannot be written; it is left as it was.
        """
        import pyarrow as pa

        if not self.table.exists():
            return None
        opened = self.table.open()
        state = self._state(opened)
        next_row = self.observations.snapshot().next_row
        if not state.waiting or state.tried >= next_row:
            return None
        keys = self._keys_landed_since(state.tried)
        pending, hashes = find_by_key(self.table, opened, keys, self.table.schema.names)
        order = np.argsort(pending.column("_row").to_numpy())
        pending, hashes = pending.take(order), hashes[order]
        latest, repeats = latest_per_key(self.spec, pending.to_pandas())
        labels = pending.filter(pa.array(latest))
        matched = self.observations.find(labels.select(self._keys))
        has_row = matched.positions >= 0
        resolution, rows = self._resolve(labels, matched, now)
        lost, reasons = self._lost_labels(labels.filter(pa.array(has_row)), rows, resolution)
        done = np.isin(hashes, hashes[latest][has_row])
        rivals = pending.filter(pa.array(done & ~latest & ~repeats))
        reason = f"{self.spec.target}: a newer label stands"
        lost, reasons = _with_rivals(lost, reasons, self._to_frame(rivals), reason)
        commit = f"waiting:{opened.version()}:labels"
        quarantine_labels(self.quarantine, lost, reasons, commit, self.contract, now)
        chosen = _chosen(has_row, resolution)
        if chosen.any():
            commit = self.commit_id(f"waiting:{opened.version()}:{matched.snapshot.version}")
            self.observations.set_labels(matched, labels, chosen, commit)
        self._remove(pending.filter(pa.array(done)), state, opened, next_row)
        counts = _count(resolution, 0, repeated=int((done & repeats).sum()), rejected=rivals.num_rows)
        return counts if done.any() else None

    def _resolve(self, labels: pa.Table, matched: MatchedRows, now: datetime) -> tuple[LabelResolution, pa.Table]:
        """Resolve the labels that have a row; returns also those rows."""
        import pyarrow as pa

        has_row = matched.positions >= 0
        rows = matched.rows.take(matched.positions[has_row])
        return resolve_labels(self.spec, labels.filter(pa.array(has_row)), rows, now), rows

    def _lost_labels(
        self, labels: pa.Table, rows: pa.Table, resolution: LabelResolution
    ) -> tuple[pd.DataFrame, list[str]]:
        """The labels that are rejected and those that are replaced, for quarantine, with the reason of each.

        A replaced label is stored with the place of the label that replaces it.
        """
        import pandas as pd
        import pyarrow as pa

        is_rejected = resolution.rejected != ""
        replaced = self._to_frame(labels.filter(pa.array(resolution.replaces)))
        former = rows.filter(pa.array(resolution.replaces)).select(self._columns).to_pandas()
        replaced = replaced.assign(**{name: former[name] for name in self._columns})
        reason = f"{self.spec.target}: a newer label took its place"
        rejected = self._to_frame(labels.filter(pa.array(is_rejected)))
        reasons = [*resolution.rejected[is_rejected].tolist(), *[reason] * len(replaced)]
        return pd.concat([rejected, replaced], ignore_index=True) if len(replaced) else rejected, reasons

    def _to_frame(self, labels: pa.Table) -> pd.DataFrame:
        frame: pd.DataFrame = labels.select([*self._columns, "_batch", "_origin", PLACE]).to_pandas()
        return frame.rename(columns={PLACE: "_row"})

    def _add(self, labels: pa.Table, batch: str, next_row: int, now: datetime) -> int:
        """Add labels whose key no row before `next_row` has to the pending ones; returns how many were added.

        Labels that a pending one makes redundant are left out.
        """
        import pyarrow as pa

        if not labels.num_rows:
            return 0
        opened = self.table.open()
        state = self._state(opened)
        labels = labels.filter(pa.array(~self._is_redundant(labels, opened)))
        count = int(labels.num_rows)
        if count:
            numbers = np.arange(state.next_row, state.next_row + count, dtype=np.int64)
            at = pa.repeat(pa.scalar(now, pa.timestamp("us", "UTC")), count)
            labels = labels.append_column("_row", pa.array(numbers)).append_column("_landed_at", at)
            tried = state.tried if state.waiting else next_row
            metadata = _State(state.waiting + count, state.next_row + count, tried).to_metadata()
            self.table.append(labels, f"{batch}:{self.contract}", metadata, expected_version=opened.version())
        return count

    def _is_redundant(self, labels: pa.Table, opened: OpenTable) -> Mask:
        """Which labels equal a pending label of their key that will stand before them."""
        import pyarrow as pa
        import pyarrow.compute as pc

        columns = [*self._columns, "_row"]
        pending, hashes = find_by_key(self.table, opened, labels.select(self._keys), columns)
        order = np.argsort(pending.column("_row").to_numpy())
        pending, hashes = pending.take(order), hashes[order]
        latest, _ = latest_per_key(self.spec, pending.to_pandas())
        positions = positions_of(row_hashes(labels, self._keys), hashes[latest])
        standing = pending.filter(pa.array(latest)).take(pa.array(positions, mask=positions < 0))
        same = pc.equal(labels[self.spec.target], standing[self.spec.target])
        if self.spec.labels is not None and self.spec.labels.time is not None:
            same = pc.and_(same, pc.less_equal(labels[LABELLED_AT], standing[LABELLED_AT]))
        return np.asarray(pc.fill_null(same, False).to_numpy(), dtype=bool)

    def _keys_landed_since(self, row: int) -> pa.Table:
        """The keys of the rows that landed with this number or a greater one."""
        import pyarrow as pa
        import pyarrow.dataset as ds

        table = self.observations.table
        schema = pa.schema([table.schema.field(name) for name in self._keys])
        batches = table.scan(self._keys, ds.field("_row") >= row)
        pieces = (pa.Table.from_batches([batch]).cast(schema) for batch in batches)
        return pa.concat_tables([schema.empty_table(), *pieces])

    def _remove(self, labels: pa.Table, state: _State, opened: OpenTable, tried: int) -> None:
        metadata = _State(state.waiting - labels.num_rows, state.next_row, tried).to_metadata()
        commit, version = f"tried:{opened.version()}", opened.version()
        if labels.num_rows:
            where, others = row_condition(self.table, version, labels.column("_row").to_numpy())
            self.table.replace(others, commit, metadata, where=where, expected_version=version)
        else:
            self.table.append(self.table.schema.empty_table(), commit, metadata, expected_version=version)

    def _state(self, opened: OpenTable) -> _State:
        metadata = self.table.commit_metadata(opened)
        if "tried" in metadata:
            return _State(int(metadata["waiting"]), int(metadata["next_row"]), int(metadata["tried"]))
        # Another program wrote last: count the labels, and compare them with every row.
        rows = self.table.read(["_row"], version=opened.version())["_row"]
        return _State(len(rows), int(rows.max()) + 1 if len(rows) else 0, 0)


def _schema(observations: Observations) -> pa.Schema:
    import pyarrow as pa

    spec, schema = observations.spec, observations.table.schema
    names = dict.fromkeys([*spec.keys, "_row", "_batch", "_origin", "_landed_at", LABELLED_AT, spec.target])
    return pa.schema([*(schema.field(name) for name in names), pa.field(PLACE, pa.int64())])


def _stamp(labels: pa.Table, batch: str, origin: str, places: npt.NDArray[np.int64]) -> pa.Table:
    import pyarrow as pa

    count = labels.num_rows
    labels = labels.append_column("_batch", pa.repeat(batch, count)).append_column("_origin", pa.repeat(origin, count))
    return labels.append_column(PLACE, pa.array(places))


def _chosen(has_row: Mask, resolution: LabelResolution) -> Mask:
    """Which of all labels are set, by the resolution of those that have a row."""
    chosen = has_row.copy()
    chosen[has_row] = resolution.stands
    return chosen


def _with_rivals(
    lost: pd.DataFrame, reasons: list[str], rivals: pd.DataFrame, reason: str
) -> tuple[pd.DataFrame, list[str]]:
    import pandas as pd

    if rivals.empty:
        return lost, reasons
    return pd.concat([lost, rivals], ignore_index=True), [*reasons, *[reason] * len(rivals)]


def _count(resolution: LabelResolution, waiting: int, *, repeated: int = 0, rejected: int = 0) -> LabelCounts:
    rejections = int((resolution.rejected != "").sum())
    added, replaced = int(resolution.added.sum()), int(resolution.replaces.sum())
    same = len(resolution.stands) - rejections - added - replaced
    return LabelCounts(added, replaced, repeated + same, rejected + rejections, waiting, replaced)
