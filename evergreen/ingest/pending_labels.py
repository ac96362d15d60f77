"""Labels on their way to their rows: each batch once; one that is ahead of its row waits until the row lands.

A label is in one place: in its row, among those that wait, or in quarantine with the reason. What loses its place is
kept before it goes, and the commit that sets the labels of a batch is the last one, so that a run that was killed in
between is made good by the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from evergreen import naming
from evergreen.data.coercion import Mask
from evergreen.data.contract import Checked
from evergreen.data.label_rules import KNOWN, Weighed, last_of_each, weigh
from evergreen.data.observations import Held, Observations
from evergreen.ingest.quarantine import keep_labels
from evergreen.sources.base import Batch
from evergreen.storage.delta_table import Table
from evergreen.storage.row_digest import row_hashes
from evergreen.storage.row_lookup import numbered, places, sharing

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from evergreen.storage.delta_table import OpenTable

PLACE = "_place"
"""The column that says which row of its batch a waiting label was, counted from 1."""


@dataclass(frozen=True, slots=True)
class Joined:
    """What became of some labels; each is in one count.

    Attributes:
        added: set in a row that had none.
        replaced: set in the place of an older label that said something else.
        repeated: they say what stands already.
        rejected: in quarantine with the reason.
        waiting: no row has their key yet.
        beaten: older labels that gave way, now in quarantine.
    """

    added: int = 0
    replaced: int = 0
    repeated: int = 0
    rejected: int = 0
    waiting: int = 0
    beaten: int = 0


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a commit to the table of waiting labels says: how many wait, and which rows they were not tried on yet."""

    waiting: int
    next_row: int
    tried: int

    def texts(self) -> dict[str, str]:
        return {"waiting": str(self.waiting), "next_row": str(self.next_row), "tried": str(self.tried)}


class Inbox:
    """The labels of one model. `contract` is the digest of what they are held to."""

    def __init__(self, lake: str, observations: Observations, quarantine: Table, contract: str) -> None:
        self.spec = observations.spec
        self.observations = observations
        self.quarantine = quarantine
        self.contract = contract
        self.table = Table(naming.table(lake, self.spec.name, "labels_waiting"), _schema(observations))
        self._keys = list(self.spec.keys)
        self._label = [*self._keys, self.spec.target, KNOWN]

    @staticmethod
    def commit(batch: str) -> str:
        """The id under which the observations know a batch of labels; one of rows may have the same content."""
        return f"labels:{batch}"

    def waiting(self) -> int:
        """How many labels wait for their row."""
        return self._facts(self.table.open()).waiting if self.table.exists() else 0

    def land(self, item: Batch, checked: Checked, *, now: datetime, told: Mapping[str, str] | None = None) -> Joined:
        """Set the labels of a checked batch, once; `told` is kept with the last commit (see `Observations.label`).

        Raises:
            BusyError: another run wrote at the same time.
            EvergreenError: a table cannot be written; it is left as it was.
        """
        import pyarrow as pa

        schema = pa.schema([self.table.schema.field(name) for name in self._label])
        labels = pa.Table.from_pandas(checked.rows[self._label], schema=schema, preserve_index=False)
        rows = np.asarray(checked.rows.index, dtype=np.int64)
        labels = _stamped(labels, item.id, item.origin, rows + 1)
        held = self.observations.holding(labels.select(self._keys))
        there = held.places >= 0
        waiting = self._keep_waiting(labels.filter(pa.array(~there)), item.id, held.before.next_row, now)
        weighed, old = self._weighed(labels, held, now)
        lost, reasons = self._lost(labels.filter(pa.array(there)), old, weighed)
        keep_labels(self.quarantine, lost, reasons, f"{item.id}:{self.contract}:labels", self.contract, now)
        chosen = there.copy()
        chosen[there] = weighed.stands
        # A batch with a mark is landed whenever it is read.
        again = f":{held.before.version}" if told and told.get("labels_mark") else ""
        self.observations.label(held, labels, chosen, self.commit(item.id) + again, told)
        return _counted(weighed, waiting, repeated=int((~there).sum()) - waiting)

    def settle(self, *, now: datetime) -> Joined | None:
        """Set the labels that waited for rows that landed since they were tried last; None where there are none.

        Raises:
            BusyError: another run wrote at the same time.
            EvergreenError: a table cannot be written; it is left as it was.
        """
        import pyarrow as pa

        if not self.table.exists():
            return None
        opened = self.table.open()
        facts = self._facts(opened)
        next_row = self.observations.snapshot().next_row
        if not facts.waiting or facts.tried >= next_row:
            return None
        found, ids = sharing(self.table, opened, self._landed_since(facts.tried), self.table.schema.names)
        order = np.argsort(found.column("_row").to_numpy())
        found, ids = found.take(order), ids[order]
        last, repeats = last_of_each(self.spec, found.to_pandas())
        labels = found.filter(pa.array(last))
        held = self.observations.holding(labels.select(self._keys))
        there = held.places >= 0
        weighed, old = self._weighed(labels, held, now)
        lost, reasons = self._lost(labels.filter(pa.array(there)), old, weighed)
        gone = np.isin(ids, ids[last][there])
        rivals = found.filter(pa.array(gone & ~last & ~repeats))
        lost, reasons = _with_rivals(lost, reasons, self._frame(rivals), f"{self.spec.target}: a newer label stands")
        keep_labels(self.quarantine, lost, reasons, f"waiting:{opened.version()}:labels", self.contract, now)
        chosen = there.copy()
        chosen[there] = weighed.stands
        if chosen.any():
            commit = self.commit(f"waiting:{opened.version()}:{held.before.version}")
            self.observations.label(held, labels, chosen, commit)
        self._remove(found.filter(pa.array(gone)), facts, opened, next_row)
        done = _counted(weighed, 0, repeated=int((gone & repeats).sum()), rejected=rivals.num_rows)
        return done if gone.any() else None

    def _weighed(self, labels: pa.Table, held: Held, now: datetime) -> tuple[Weighed, pa.Table]:
        """Hold the labels whose rows are there against them; and those rows."""
        import pyarrow as pa

        there = held.places >= 0
        old = held.rows.take(held.places[there])
        return weigh(self.spec, labels.filter(pa.array(there)), old, now), old

    def _lost(self, labels: pa.Table, old: pa.Table, weighed: Weighed) -> tuple[pd.DataFrame, list[str]]:
        """The labels that find no place and those that lose theirs, with where each came from, or its rival did."""
        import pandas as pd
        import pyarrow as pa

        refused = weighed.refused != ""
        beaten = self._frame(labels.filter(pa.array(weighed.replaces)))
        former = old.filter(pa.array(weighed.replaces)).select(self._label).to_pandas()
        beaten = beaten.assign(**{name: former[name] for name in self._label})
        why = f"{self.spec.target}: a newer label took its place"
        lost = self._frame(labels.filter(pa.array(refused)))
        reasons = [*weighed.refused[refused].tolist(), *[why] * len(beaten)]
        return pd.concat([lost, beaten], ignore_index=True) if len(beaten) else lost, reasons

    def _frame(self, labels: pa.Table) -> pd.DataFrame:
        frame: pd.DataFrame = labels.select([*self._label, "_batch", "_origin", PLACE]).to_pandas()
        return frame.rename(columns={PLACE: "_row"})

    def _keep_waiting(self, labels: pa.Table, batch: str, next_row: int, now: datetime) -> int:
        """Put labels that no row before `next_row` has the key of among those that wait.

        Those that say what waits already are left out; returns how many there were of the others.
        """
        import pyarrow as pa

        if not labels.num_rows:
            return 0
        opened = self.table.open()
        facts = self._facts(opened)
        labels = labels.filter(pa.array(~self._said(labels, opened)))
        count = int(labels.num_rows)
        if count:
            numbers = np.arange(facts.next_row, facts.next_row + count, dtype=np.int64)
            at = pa.repeat(pa.scalar(now, pa.timestamp("us", "UTC")), count)
            labels = labels.append_column("_row", pa.array(numbers)).append_column("_landed_at", at)
            tried = facts.tried if facts.waiting else next_row
            told = _Facts(facts.waiting + count, facts.next_row + count, tried)
            self.table.append(labels, f"{batch}:{self.contract}", told.texts(), on=opened.version())
        return count

    def _said(self, labels: pa.Table, opened: OpenTable) -> Mask:
        """Which labels say what a waiting one says that will stand before them."""
        import pyarrow as pa
        import pyarrow.compute as pc

        columns = [*self._label, "_row"]
        held, ids = sharing(self.table, opened, labels.select(self._keys), columns)
        order = np.argsort(held.column("_row").to_numpy())
        held, ids = held.take(order), ids[order]
        last, _ = last_of_each(self.spec, held.to_pandas())
        place = places(row_hashes(labels, self._keys), ids[last])
        standing = held.filter(pa.array(last)).take(pa.array(place, mask=place < 0))
        same = pc.equal(labels[self.spec.target], standing[self.spec.target])
        if self.spec.labels is not None and self.spec.labels.time is not None:
            same = pc.and_(same, pc.less_equal(labels[KNOWN], standing[KNOWN]))
        return np.asarray(pc.fill_null(same, False).to_numpy(), dtype=bool)

    def _landed_since(self, row: int) -> pa.Table:
        """The keys of the rows that landed with this number or a later one."""
        import pyarrow as pa
        import pyarrow.dataset as ds

        table = self.observations.table
        schema = pa.schema([table.schema.field(name) for name in self._keys])
        pieces = table.scan(self._keys, ds.field("_row") >= row)
        return pa.concat_tables([schema.empty_table(), *(pa.Table.from_batches([one]).cast(schema) for one in pieces)])

    def _remove(self, labels: pa.Table, facts: _Facts, opened: OpenTable, tried: int) -> None:
        told = _Facts(facts.waiting - labels.num_rows, facts.next_row, tried).texts()
        commit, version = f"tried:{opened.version()}", opened.version()
        if labels.num_rows:
            where, others = numbered(self.table, version, labels.column("_row").to_numpy())
            self.table.replace(others, commit, told, where=where, on=version)
        else:
            self.table.append(self.table.schema.empty_table(), commit, told, on=version)

    def _facts(self, opened: OpenTable) -> _Facts:
        told = self.table.facts(opened)
        if "tried" in told:
            return _Facts(int(told["waiting"]), int(told["next_row"]), int(told["tried"]))
        # Another program was here last: count, and try them all.
        rows = self.table.read(["_row"], version=opened.version())["_row"]
        return _Facts(len(rows), int(rows.max()) + 1 if len(rows) else 0, 0)


def _schema(observations: Observations) -> pa.Schema:
    import pyarrow as pa

    spec, held = observations.spec, observations.table.schema
    names = dict.fromkeys([*spec.keys, "_row", "_batch", "_origin", "_landed_at", KNOWN, spec.target])
    return pa.schema([*(held.field(name) for name in names), pa.field(PLACE, pa.int64())])


def _stamped(labels: pa.Table, batch: str, origin: str, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pa.Table:
    import pyarrow as pa

    count = labels.num_rows
    labels = labels.append_column("_batch", pa.repeat(batch, count)).append_column("_origin", pa.repeat(origin, count))
    return labels.append_column(PLACE, pa.array(rows))


def _with_rivals(
    lost: pd.DataFrame, reasons: list[str], rivals: pd.DataFrame, reason: str
) -> tuple[pd.DataFrame, list[str]]:
    import pandas as pd

    if rivals.empty:
        return lost, reasons
    return pd.concat([lost, rivals], ignore_index=True), [*reasons, *[reason] * len(rivals)]


def _counted(weighed: Weighed, waiting: int, *, repeated: int = 0, rejected: int = 0) -> Joined:
    refused = int((weighed.refused != "").sum())
    added, replaced = int(weighed.fresh.sum()), int(weighed.replaces.sum())
    same = len(weighed.stands) - refused - added - replaced
    return Joined(added, replaced, repeated + same, rejected + refused, waiting, replaced)
