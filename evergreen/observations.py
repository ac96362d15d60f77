"""The observations of a model: landing rows once, and naming exactly what was there at any version.

A commit carries the digest of the content forward without reading the table again (see `evergreen.digests`), and finds
the rows that it replaces by the statistics of the files: a batch costs the same whatever is there already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evergreen.contract import arrow_schema
from evergreen.digests import Digest, Hashes, row_hashes
from evergreen.errors import BusyError
from evergreen.frames import SYSTEM
from evergreen.lake import Table, child, quoted
from evergreen.spec import ModelSpec

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.dataset as ds
    from deltalake import DeltaTable


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The observations at one version of their table.

    Attributes:
        table: its URI.
        version: its Delta version.
        rows: how many there are.
        start: the earliest time (ISO 8601, UTC); None without rows or without a time column.
        end: the latest time.
        next_row: the number that the next row to land gets; rows before it were landed by this version.
        digest: of the content, 32 hex digits; equal content has an equal digest whatever source it came from.
    """

    table: str
    version: int
    rows: int
    start: str | None
    end: str | None
    next_row: int
    digest: str


@dataclass(frozen=True, slots=True)
class Landed:
    """What a batch did to the table: rows that are new, that replaced an earlier one, that were there already."""

    added: int
    replaced: int
    repeated: int


class Observations:
    """The `observations` table of one model."""

    def __init__(self, lake: str, spec: ModelSpec) -> None:
        self.spec = spec
        self.table = Table(child(lake, spec.name, "observations"), arrow_schema(spec))
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

    def _snapshot(self, opened: DeltaTable) -> Snapshot:
        facts = self.table.facts(opened)
        if facts.get("content") == self._columns:
            digest, next_row = Digest.parse(facts["digest"], int(facts["rows"])), int(facts["next_row"])
        else:
            digest, next_row = self._measured(opened.version())
            # A number that was given once is not given again, though its row be gone.
            next_row = max([next_row, *(int(each.get("next_row", 0)) for each in self.table.earlier_facts(opened))])
        start, end = self._range(opened)
        return Snapshot(self.table.uri, opened.version(), digest.rows, start, end, next_row, digest.hex)

    def land(self, rows: pd.DataFrame, batch: str, origin: str, *, now: datetime) -> Landed:
        """Commit a checked batch once: new rows are added, rows with a known key replace the earlier ones.

        Without keys the rows take the place of those that came from the same origin before.

        Raises:
            BusyError: another run landed rows at the same time.
            EvergreenError: the table cannot be written; it is left as it was.
        """
        import pyarrow as pa

        opened = self.table.open()
        before = self._snapshot(opened)
        arrow = pa.Table.from_pandas(rows[list(self.content)], schema=self._content_schema, preserve_index=False)
        hashes = row_hashes(arrow, self.content)
        stamp = _Stamp(batch, origin, now)
        if not self.spec.keys:
            return self._replace_origin(arrow, hashes, stamp, opened, before)
        ids = row_hashes(arrow, self.spec.keys)
        known = self._known(rows, ids, opened)
        is_known = np.isin(ids, np.fromiter(known, dtype=np.uint64, count=len(known)))
        old, places = np.zeros(len(ids), dtype=np.uint64), np.zeros(len(ids), dtype=np.int64)
        if known:
            old[is_known], places[is_known] = zip(*(known[key] for key in ids[is_known].tolist()), strict=True)
        changed, fresh = is_known & (old != hashes), ~is_known
        if changed.any():
            # Two commits if there are new rows too, for Delta would write them into one file with those that it
            # rewrites, and that file would grow with every batch. After a crash between them the rest lands.
            commit = f"{batch}:replaced:{before.version}" if fresh.any() else batch
            beaten = old[changed], np.sort(places[changed])
            before = self._replace_rows(arrow.filter(pa.array(changed)), hashes[changed], beaten, commit, stamp, before)
        if fresh.any() or not changed.any():
            wanted = arrow if fresh.all() else arrow.filter(pa.array(fresh))
            facts = self._facts(Digest.parse(before.digest, before.rows).plus(hashes[fresh]), before, wanted)
            self.table.append(stamp.on(wanted, before), batch, facts, on=before.version)
        return Landed(int(fresh.sum()), int(changed.sum()), int((is_known & ~changed).sum()))

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

    def verify(self, version: int) -> bool:
        """Whether the rows of a version still are those that its commit named; reads them all, in a stream."""
        return self._measured(version)[0].hex == self.snapshot(version).digest

    def _as_known(self, frame: pd.DataFrame, known: datetime) -> pd.DataFrame:
        """Take away the targets that became known later."""
        later = frame.pop("_labelled_at") > known
        if self.spec.target in frame and later.any():
            frame[self.spec.target] = frame[self.spec.target].mask(later)
        return frame

    def _ordered(self, frame: pd.DataFrame) -> pd.DataFrame:
        order = [self.spec.time, "_row"] if self.spec.time else ["_row"]
        return frame.sort_values(order, kind="stable", ignore_index=True)

    def _facts(self, digest: Digest, before: Snapshot, written: pa.Table) -> dict[str, str]:
        return {
            "digest": digest.hex,
            "rows": str(digest.rows),
            "next_row": str(before.next_row + written.num_rows),
            "content": self._columns,
        }

    def _replace_rows(
        self,
        rows: pa.Table,
        hashes: Hashes,
        beaten: tuple[Hashes, npt.NDArray[np.int64]],
        commit: str,
        stamp: _Stamp,
        before: Snapshot,
    ) -> Snapshot:
        """Put rows in the place of those with other content hashes, at these row numbers (sorted)."""
        old, places = beaten
        digest = Digest.parse(before.digest, before.rows).plus(hashes).minus(old)
        where = f"_batch = {quoted(stamp.batch)} OR {_numbered(places)}"
        facts = self._facts(digest, before, rows)
        self.table.replace(stamp.on(rows, before), commit, facts, where=where, on=before.version)
        after = self.snapshot()
        if after.digest != digest.hex:
            raise BusyError(f"Another run wrote {self.table.uri} at the same time.", "Run it again.")
        return after

    def _replace_origin(
        self, arrow: pa.Table, hashes: Hashes, stamp: _Stamp, opened: DeltaTable, before: Snapshot
    ) -> Landed:
        import pyarrow.dataset as ds

        origin = stamp.origin
        there = self._may_hold(opened, {"_origin": (origin, origin)})
        found = self._scanned(before.version, ds.field("_origin") == origin) if there else ()
        earlier = np.concatenate([np.empty(0, np.uint64), *found])
        facts = self._facts(Digest.parse(before.digest, before.rows).minus(earlier).plus(hashes), before, arrow)
        if len(earlier):
            where = f"_origin = {quoted(origin)}"
            self.table.replace(stamp.on(arrow, before), stamp.batch, facts, where=where, on=before.version)
        else:
            self.table.append(stamp.on(arrow, before), stamp.batch, facts, on=before.version)
        repeated = int(np.isin(hashes, earlier).sum())
        replaced = min(len(hashes) - repeated, max(len(earlier) - repeated, 0))
        return Landed(len(hashes) - repeated - replaced, replaced, repeated)

    def _known(self, rows: pd.DataFrame, wanted: Hashes, opened: DeltaTable) -> dict[int, tuple[int, int]]:
        """Content hash and `_row` by key id of the rows already there that share a key with `rows`.

        Only what lies between the least and the greatest of each key is looked at: rows that continue the table cost
        no more when it is long than when it is short.
        """
        if rows.empty:
            return {}
        import pyarrow as pa
        import pyarrow.dataset as ds

        ranges = {key: (rows[key].min(), rows[key].max()) for key in self.spec.keys}
        if not self._may_hold(opened, ranges):
            return {}
        where = None
        for key, (low, high) in ranges.items():
            kind = self.table.schema.field(key).type
            if pa.types.is_boolean(kind):
                continue
            term = (ds.field(key) >= pa.scalar(low, kind)) & (ds.field(key) <= pa.scalar(high, kind))
            where = term if where is None else where & term
        known: dict[int, tuple[int, int]] = {}
        for piece in self.table.scan((*self.content, "_row"), where, opened.version()):
            ids = row_hashes(piece, self.spec.keys)
            hits = np.isin(ids, wanted)
            if hits.any():
                places = piece.column("_row").to_numpy()[hits].tolist()
                found = zip(row_hashes(piece, self.content)[hits].tolist(), places, strict=True)
                known.update(zip(ids[hits].tolist(), found, strict=True))
        return known

    def _may_hold(self, opened: DeltaTable, ranges: Mapping[str, tuple[Any, Any]]) -> bool:
        """Whether by its statistics any file has a value of every column within its range; no data is read."""
        candidates: npt.NDArray[np.bool_] | None = None
        for column, (low, high) in ranges.items():
            edges = self.table.edges(opened, column)
            if edges is None:
                continue
            # The greatest of a file is rounded down: a time by less than a millisecond, a text to a prefix.
            within = np.array([least <= high and _ceiling(most) >= low for least, most in edges], dtype=bool)
            candidates = within if candidates is None else candidates & within
        return candidates is None or bool(candidates.any())

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

    def _range(self, opened: DeltaTable) -> tuple[str | None, str | None]:
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

    def on(self, rows: pa.Table, before: Snapshot) -> pa.Table:
        import pyarrow as pa

        first, count = before.next_row, rows.num_rows
        return (
            rows.append_column("_batch", pa.repeat(self.batch, count))
            .append_column("_origin", pa.repeat(self.origin, count))
            .append_column("_row", pa.array(np.arange(first, first + count, dtype=np.int64)))
            .append_column("_landed_at", pa.repeat(pa.scalar(self.now, pa.timestamp("us", "UTC")), count))
            .append_column("_labelled_at", pa.nulls(count, pa.timestamp("us", "UTC")))
        )


def _numbered(places: npt.NDArray[np.int64]) -> str:
    """SQL for the rows with these numbers (sorted); the outer bounds tell Delta which files to leave alone."""
    low, high = int(places[0]), int(places[-1])
    between = f"(_row >= {low} AND _row <= {high}"
    if high - low + 1 == len(places):
        return f"{between})"
    return f"{between} AND _row IN ({', '.join(map(str, places.tolist()))}))"


def _ceiling(most: Any) -> Any:
    if isinstance(most, datetime):
        return most + timedelta(milliseconds=1)
    return most + "\U0010ffff" if isinstance(most, str) else most


def _of(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([schema.field(name) for name in names])


def _name(field: pa.Field) -> str:
    return str(field.name)
