"""The observations of a model: landing rows once, and naming exactly what was there at any version.

A commit carries the digest of the content forward without reading the table again (`storage/row_digest.py`), and finds
the rows that it replaces by the statistics of the files: a batch costs the same whatever is there already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evergreen import naming
from evergreen.data.contract import arrow_schema
from evergreen.data.frames import SYSTEM
from evergreen.data.label_rules import carried, overruled
from evergreen.data.snapshot import CARRIED, Snapshot
from evergreen.errors import BusyError
from evergreen.spec.model import ModelSpec
from evergreen.storage.delta_table import Table, quoted
from evergreen.storage.row_digest import Digest, Hashes, row_hashes
from evergreen.storage.row_lookup import may_hold, numbered, places, sharing, spans

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.dataset as ds

    from evergreen.storage.delta_table import OpenTable


@dataclass(frozen=True, slots=True)
class Landed:
    """What a batch did to the table: rows that are new, that replaced an earlier one, that were there already."""

    added: int
    replaced: int
    repeated: int


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """What the table holds of some keys.

    Attributes:
        rows: the rows with one of these keys, every column.
        places: for each key its place in `rows`; -1 for one that no row has.
        before: the table's state at that time.
    """

    rows: pa.Table
    places: npt.NDArray[np.int64]
    before: Snapshot


class Observations:
    """The `observations` table of one model."""

    def __init__(self, lake: str, spec: ModelSpec) -> None:
        self.spec = spec
        self.table = Table(naming.table(lake, spec.name, "observations"), arrow_schema(spec), lasting=True)
        self.content = tuple(name for name in self.table.schema.names if name not in SYSTEM)
        self._content_schema = _of(self.table.schema, self.content)
        # A digest of other columns is none of ours: after a change of the contract the rows are measured again.
        self._columns = ",".join(f"{field.name}:{field.type}" for field in sorted(self._content_schema, key=_name))

    def identity(self) -> str:
        """An id that a table keeps for life; the table is made if it is not there yet."""
        return str(self.table.open().metadata().id)

    def snapshot(self, version: int | None = None) -> Snapshot:
        """Name what is there, at the newest or at a given version."""
        return self._snapshot(self.table.open(version))

    def _snapshot(self, opened: OpenTable) -> Snapshot:
        facts = self.table.facts(opened)
        if facts.get("content") == self._columns:
            digest, next_row = Digest.parse(facts["digest"], int(facts["rows"])), int(facts["next_row"])
        else:
            digest, next_row = self._measured(opened.version())
            earlier = list(self.table.earlier_facts(opened))
            # A number that was given once is not given again, though its row be gone.
            next_row = max([next_row, *(int(each.get("next_row", 0)) for each in earlier)])
            # After a change by another program, what was said of the same content is true of it.
            facts = facts or next((each for each in earlier if each.get("digest") == digest.hex), {})
        start, end = self._range(opened)
        carried = [facts.get(name, "") for name in CARRIED]
        return Snapshot(self.table.uri, opened.version(), digest.rows, start, end, next_row, digest.hex, *carried)

    def land(
        self,
        rows: pd.DataFrame,
        batch: str,
        origin: str,
        *,
        now: datetime,
        losing: Callable[[npt.NDArray[np.int64], pa.Table], None] = lambda _by, _rows: None,
        told: Mapping[str, str] | None = None,
    ) -> Landed:
        """Commit a checked batch once: new rows are added, rows with a known key replace the earlier ones.

        Without keys the rows take the place of those that came from the same origin before. A row without a target
        leaves the label be that its key has; one with a target of its own takes its place. `losing` is told of those
        labels before they go: the places of the new rows in the batch, and the old rows. `told` is kept with the last
        commit, and holds until another one says otherwise: any of `CARRIED`. A batch with a mark is landed whenever it
        is read, for the mark, in the same commit, says whether it was.

        Raises:
            BusyError: another run landed rows at the same time.
            EvergreenError: the table cannot be written; it is left as it was.
        """
        import pyarrow as pa

        opened = self.table.open()
        before = self._snapshot(opened)
        arrow = pa.Table.from_pandas(rows[list(self.content)], schema=self._content_schema, preserve_index=False)
        stamp = _Stamp(batch, origin, now)
        last = f"{batch}:{before.version}" if told and told.get("rows_mark") else batch
        if not self.spec.keys:
            return self._replace_origin(arrow, row_hashes(arrow, self.content), stamp, opened, before, told)
        names = (*self.content, "_row", "_labelled_at")
        held, found = sharing(self.table, opened, arrow.select(list(self.spec.keys)), names)
        place = places(row_hashes(arrow, self.spec.keys), found)
        arrow, labelled_at = carried(self.spec, arrow, held, place)
        hashes, old = row_hashes(arrow, self.content), row_hashes(held, self.content)
        fresh = place < 0
        changed = ~fresh
        changed[changed] = old[place[changed]] != hashes[changed]
        if changed.any():
            beaten = held.take(place[changed])
            gone = overruled(self.spec, arrow.filter(pa.array(changed)), beaten)
            if gone.any():
                losing(np.flatnonzero(changed)[gone], beaten.filter(pa.array(gone)))
            # Two commits if there are new rows too, for Delta would write them into one file with those that it
            # rewrites, and that file would grow with every batch. After a crash between them the rest lands.
            commit = f"{batch}:replaced:{before.version}" if fresh.any() else last
            # Rows that are rewritten together are numbered one after the other.
            order = np.concatenate(spans(beaten.column("_row").to_numpy()))
            better = np.flatnonzero(changed)[order]
            stamped = stamp.on(arrow.take(better), before, labelled_at.take(better))
            before = self._replace(beaten.take(order), stamped, commit, before, None if fresh.any() else told)
        if fresh.any() or not changed.any():
            wanted = arrow if fresh.all() else arrow.filter(pa.array(fresh))
            facts = self._facts(Digest.parse(before.digest, before.rows).plus(hashes[fresh]), before, wanted, told)
            self.table.append(stamp.on(wanted, before), last, facts, on=before.version)
        return Landed(int(fresh.sum()), int(changed.sum()), int((~fresh & ~changed).sum()))

    def note(self, told: Mapping[str, str]) -> None:
        """Keep what is told, any of `CARRIED`, with the rows as they are, in a commit of its own.

        Raises:
            BusyError: another run wrote at the same time.
            EvergreenError: the table cannot be written; it is left as it was.
        """
        before, none = self.snapshot(), self.table.schema.empty_table()
        facts = self._facts(Digest.parse(before.digest, before.rows), before, none, told)
        self.table.append(none, f"note:{before.version}", facts, on=before.version)

    def holding(self, keys: pa.Table) -> Held:
        """The rows that have these keys, none of which is named twice."""
        opened = self.table.open()
        rows, found = sharing(self.table, opened, keys, self.table.schema.names)
        return Held(rows, places(row_hashes(keys, self.spec.keys), found), self._snapshot(opened))

    def label(
        self,
        held: Held,
        labels: pa.Table,
        chosen: npt.NDArray[np.bool_],
        commit: str,
        told: Mapping[str, str] | None = None,
    ) -> None:
        """Set the target and `_labelled_at` of the held rows of the chosen labels, once.

        A row that gets its label later is no new row: its number and where it came from stay. `labels` are those that
        `held` was asked for, the columns target and `_labelled_at` among them. `commit` is the id of the last commit;
        it is there also where no label is chosen, and `told` is kept with it as in `land`. After a crash between two of
        them the labels that are left are set.

        Raises:
            BusyError: another run wrote since `held` was read.
            EvergreenError: the table cannot be written; it is left as it was.
        """
        import pyarrow as pa

        before, names = held.before, (self.spec.target, "_labelled_at")
        picked = pa.array(chosen)
        old = held.rows.take(held.places[chosen])
        rows = old
        for name in names:
            field = self.table.schema.field(name)
            rows = rows.set_column(rows.column_names.index(name), field, labels.column(name).filter(picked))
        if rows.num_rows:
            self._replace(old, rows, commit, before, told)
        else:
            facts = self._facts(Digest.parse(before.digest, before.rows), before, rows, told)
            self.table.append(rows, commit, facts, on=before.version)

    def frame(
        self,
        version: int,
        where: ds.Expression | None = None,
        columns: Sequence[str] | None = None,
        known: datetime | None = None,
    ) -> pd.DataFrame:
        """Rows of a version in time order (landing order among equals), content columns and `_row`.

        A target that became known later than `known` (aware) is missing; None takes every one.
        """
        names = [*(columns or self.content), "_row"]
        if self.spec.time and self.spec.time not in names:
            names.append(self.spec.time)
        if known is None:
            return self._ordered(self.table.read(names, where, version))
        return self._ordered(self._as_known(self.table.read([*names, "_labelled_at"], where, version), known))

    def sample(
        self, version: int, where: ds.Expression | None, rows: int, *, seed: int, known: datetime | None = None
    ) -> tuple[pd.DataFrame, int]:
        """At most `rows` rows, one drawn from each of as many equal stretches of the scan, and how many there were.

        The table streams past: memory is bounded whatever its size. `known` is as in `frame`.
        """
        total = sum(batch.num_rows for batch in self.table.scan(["_row"], where, version))
        if total <= rows:
            return self.frame(version, where, known=known), total
        edges = np.linspace(0, total, rows + 1).astype(np.int64)
        picked = np.random.default_rng(seed).integers(edges[:-1], edges[1:])
        pieces, passed = [], 0
        names = (*self.content, "_row", *(() if known is None else ("_labelled_at",)))
        for batch in self.table.scan(names, where, version):
            low, high = np.searchsorted(picked, [passed, passed + batch.num_rows])
            pieces.append(batch.take(picked[low:high] - passed))
            passed += batch.num_rows
        found = self.table.frame_of(pieces, names)
        return self._ordered(found if known is None else self._as_known(found, known)), total

    def ids(self, frame: pd.DataFrame) -> Hashes:
        """An identity for each row of a frame: of its keys, or of its whole content where the model has none."""
        import pyarrow as pa

        names = self.spec.keys or self.content
        schema = pa.schema([self.table.schema.field(name) for name in names])
        return row_hashes(pa.Table.from_pandas(frame[list(names)], schema=schema, preserve_index=False), names)

    def an_origin(self) -> str | None:
        """Where one of the present rows came from, perhaps cut short; None without rows."""
        opened = self.table.open()
        edges = self.table.edges(opened, "_origin")
        if edges is not None:
            return min((low for low, _ in edges), default=None)
        for batch in self.table.scan(["_origin"], version=opened.version()):
            if batch.num_rows:
                return str(batch.column(0)[0].as_py())
        return None

    def measured(self, version: int) -> str:
        """The digest of the rows of a version, whatever its commit says; reads them all, in a stream."""
        return self._measured(version)[0].hex

    def _as_known(self, frame: pd.DataFrame, known: datetime) -> pd.DataFrame:
        """Take away the targets that became known later."""
        later = frame.pop("_labelled_at") > known
        if self.spec.target in frame and later.any():
            frame[self.spec.target] = frame[self.spec.target].mask(later)
        return frame

    def _ordered(self, frame: pd.DataFrame) -> pd.DataFrame:
        """In time order; a target of which some are missing stays a whole number or a flag, as it is where none is."""
        order = [self.spec.time, "_row"] if self.spec.time else ["_row"]
        frame = frame.sort_values(order, kind="stable", ignore_index=True)
        target, kind = self.spec.target, str(self.table.schema.field(self.spec.target).type)
        if kind == "int64" and target in frame:
            frame[target] = frame[target].astype("Int64" if frame[target].isna().any() else "int64")
        elif kind == "bool" and target in frame:
            frame[target] = frame[target].astype("boolean" if frame[target].isna().any() else "bool")
        return frame

    def _facts(
        self, digest: Digest, before: Snapshot, written: pa.Table, told: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        carried = {name: getattr(before, name) for name in CARRIED} | dict(told or {})
        return {
            "digest": digest.hex,
            "rows": str(digest.rows),
            "next_row": str(before.next_row + written.num_rows),
            "content": self._columns,
        } | {name: value for name, value in carried.items() if value}

    def _replace(
        self, old: pa.Table, rows: pa.Table, commit: str, before: Snapshot, told: Mapping[str, str] | None = None
    ) -> Snapshot:
        """Put rows in the place of as many old ones, in one commit or, scattered over a long table, in several.

        `told` is kept with the last one.
        """
        import pyarrow as pa

        numbers, own = old.column("_row").to_numpy(), rows.column("_row").to_numpy()
        next_row, pieces = max(before.next_row, int(own.max()) + 1), spans(numbers)
        anew = next_row > before.next_row
        for count, piece in enumerate(pieces, start=1):
            gone, come = old.take(piece), rows.take(piece)
            where, others = numbered(self.table, before.version, numbers[piece])
            if anew:
                where = f"{where} OR {numbered(self.table, before.version, own[piece])[0]}"
            digest = Digest.parse(before.digest, before.rows)
            digest = digest.minus(row_hashes(gone, self.content)).plus(row_hashes(come, self.content))
            last = count == len(pieces)
            facts = self._facts(digest, before, come, told if last else None) | {"next_row": str(next_row)}
            part = commit if last else f"{commit}:{before.version}"
            written = pa.concat_tables([come.select(others.column_names), others])
            self.table.replace(written, part, facts, where=where, on=before.version)
            before = self.snapshot()
            if before.digest != digest.hex:
                raise BusyError(f"Another run wrote {self.table.uri} at the same time.", "Run it again.")
        return before

    def _replace_origin(
        self,
        arrow: pa.Table,
        hashes: Hashes,
        stamp: _Stamp,
        opened: OpenTable,
        before: Snapshot,
        told: Mapping[str, str] | None,
    ) -> Landed:
        import pyarrow.dataset as ds

        origin = stamp.origin
        there = may_hold(self.table, opened, {"_origin": (origin, origin)})
        found = self._scanned(before.version, ds.field("_origin") == origin) if there else ()
        earlier = np.concatenate([np.empty(0, np.uint64), *found])
        facts = self._facts(Digest.parse(before.digest, before.rows).minus(earlier).plus(hashes), before, arrow, told)
        if len(earlier):
            where = f"_origin = {quoted(origin)}"
            self.table.replace(stamp.on(arrow, before), stamp.batch, facts, where=where, on=before.version)
        else:
            self.table.append(stamp.on(arrow, before), stamp.batch, facts, on=before.version)
        repeated = int(np.isin(hashes, earlier).sum())
        replaced = min(len(hashes) - repeated, max(len(earlier) - repeated, 0))
        return Landed(len(hashes) - repeated - replaced, replaced, repeated)

    def _measured(self, version: int) -> tuple[Digest, int]:
        digest = Digest(0, 0, 0)
        for hashes in self._scanned(version, None):
            digest = digest.plus(hashes)
        newest = max(
            (
                batch.column(0).to_numpy().max()
                for batch in self.table.scan(["_row"], version=version)
                if batch.num_rows
            ),
            default=-1,
        )
        return digest, int(newest) + 1

    def _scanned(self, version: int, where: ds.Expression | None) -> Iterator[Hashes]:
        for batch in self.table.scan(self.content, where, version):
            yield row_hashes(batch, self.content)

    def _range(self, opened: OpenTable) -> tuple[str | None, str | None]:
        """The time range, from the table's own statistics where every file has them."""
        if self.spec.time is None:
            return None, None
        edges = self.table.edges(opened, self.spec.time)
        if edges is None:
            import pyarrow.compute as pc

            pieces = self.table.scan([self.spec.time], version=opened.version())
            found = [pc.min_max(piece.column(0)).as_py() for piece in pieces if piece.num_rows]
            edges = [(each["min"], each["max"]) for each in found]
        if not edges:
            return None, None
        return min(low for low, _ in edges).isoformat(), max(high for _, high in edges).isoformat()


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What the lake adds to the rows of a batch."""

    batch: str
    origin: str
    now: datetime

    def on(self, rows: pa.Table, before: Snapshot, labelled_at: pa.ChunkedArray | None = None) -> pa.Table:
        import pyarrow as pa

        first, count = before.next_row, rows.num_rows
        if labelled_at is None:
            labelled_at = pa.nulls(count, pa.timestamp("us", "UTC"))
        return (
            rows.append_column("_batch", pa.repeat(self.batch, count))
            .append_column("_origin", pa.repeat(self.origin, count))
            .append_column("_row", pa.array(np.arange(first, first + count, dtype=np.int64)))
            .append_column("_landed_at", pa.repeat(pa.scalar(self.now, pa.timestamp("us", "UTC")), count))
            .append_column("_labelled_at", labelled_at)
        )


def _of(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([schema.field(name) for name in names])


def _name(field: pa.Field) -> str:
    return str(field.name)
