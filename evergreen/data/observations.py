"""The observations of a model: land rows once, set labels, and read the rows of any version."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evergreen import naming
from evergreen.data.contract import arrow_schema
from evergreen.data.frames import SYSTEM_COLUMNS
from evergreen.data.label_rules import LABELLED_AT, carry_labels, overridden_labels
from evergreen.data.row_commits import BatchStamp, Carried, RowCommits, renumber
from evergreen.data.snapshot import CONTRACT, Snapshot
from evergreen.spec.model import ModelSpec
from evergreen.storage.delta_table import Table, sql_literal
from evergreen.storage.row_digest import Hashes, row_hashes
from evergreen.storage.row_lookup import find_by_key, may_contain, positions_of, rewrite_groups

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.dataset as ds

    from evergreen.storage.delta_table import OpenTable

OnOverridden = Callable[[npt.NDArray[np.int64], "pa.Table"], None]


@dataclass(frozen=True, slots=True)
class RowCounts:
    """What became of a batch's rows: added, in place of an earlier row, or there already."""

    added: int
    replaced: int
    repeated: int


@dataclass(frozen=True, slots=True, eq=False)
class MatchedRows:
    """The rows of the table that have some keys.

    Attributes:
        rows: the rows with one of these keys, every column.
        positions: the position in `rows` of each key, -1 for a key that no row has; shape (n,).
        snapshot: the table's state at that time.
    """

    rows: pa.Table
    positions: npt.NDArray[np.int64]
    snapshot: Snapshot


def latest_time(lake: str, spec: ModelSpec) -> datetime | None:
    """What `Observations.end` gives, mostly without the contract, which takes a tenth of a second to import."""
    import pyarrow as pa

    table = Table(naming.table(lake, spec.name, "observations"), pa.schema([]))
    opened = table.open_existing() if spec.time is not None else None
    if opened is None or spec.time is None:
        return None
    ranges = table.file_ranges(opened, spec.time)
    if ranges is None:
        return Observations(lake, spec).end()
    return max((high for _, high in ranges), default=None)


class Observations:
    """The `observations` table of one model.

    Attributes:
        spec: the model.
        table: the Delta table.
        content: the contract's columns, without those that the lake adds.
    """

    def __init__(self, lake: str, spec: ModelSpec) -> None:
        self.spec = spec
        self.table = Table(
            naming.table(lake, spec.name, "observations"),
            arrow_schema(spec),
            keep_versions=True,
            rebuild_command=f"evergreen rebuild-table {spec.name}",
        )
        self.content = tuple(name for name in self.table.schema.names if name not in SYSTEM_COLUMNS)
        self._commits = RowCommits(self.table, self.content, spec.time)

    def identity(self) -> str:
        """The id that the table keeps for life; the table is created if it does not exist."""
        return str(self.table.open().metadata().id)

    def version(self) -> int:
        """The table's newest version; the table is created if it does not exist."""
        return self.table.open().version()

    def snapshot(self, version: int | None = None) -> Snapshot:
        """Name the content of a version, by default of the newest."""
        return self._commits.snapshot(self.table.open(version))

    def end(self) -> datetime | None:
        """The latest time of a row (aware); None without rows or without a time column. The content is not measured."""
        _, end = self._commits.time_range(self.table.open()) if self.table.exists() else (None, None)
        return datetime.fromisoformat(end) if end is not None else None

    def land(
        self,
        rows: pd.DataFrame,
        batch: str,
        origin: str,
        *,
        now: datetime,
        on_overridden: OnOverridden = lambda _positions, _rows: None,
        carried: Carried | None = None,
    ) -> RowCounts:
        """Commit a checked batch once: new rows are added, rows with a known key replace the earlier ones.

        Without keys the rows replace those that came from the same origin before. With `order="rows"` a row that has
        the key or, without keys, the content of one that it replaces keeps that one's number, and only the others are
        the newest ones. A row without a target keeps the
        label that its key has; a target of its own replaces the label. A batch with a `rows_position` lands whenever it
        is read, because that position, in the same commit, says whether it landed.

        Args:
            rows: in the contract's types and columns.
            batch: its id.
            origin: where it came from.
            now: when it lands (aware).
            on_overridden: called before labels are replaced, with the positions of the new rows in the batch and the
                old rows.
            carried: stored with the last commit, and valid until another commit changes it.

        Raises:
            BusyError: another run landed rows at the same time.
            EvergreenError: the table cannot be written; it is left as it was.
        """
        import pyarrow as pa

        opened = self.table.open()
        before = self._commits.snapshot(opened)
        schema = pa.schema([self.table.schema.field(name) for name in self.content])
        arrow = pa.Table.from_pandas(rows[list(self.content)], schema=schema, preserve_index=False)
        stamp = BatchStamp(batch, origin, now)
        if not self.spec.keys:
            return self._replace_origin(arrow, stamp, opened, before, carried)
        commit = f"{batch}:{before.version}" if carried and carried.get("rows_position") else batch
        return self._upsert(arrow, stamp, commit, opened, before, on_overridden, carried)

    def require_types(self) -> None:
        """Refuse rows that the table holds in other types than the contract's.

        Raises:
            EvergreenError: a column has another type; the line has the command that rebuilds the table.
        """
        if self.table.exists():
            self.table.require_types(self.table.open())

    def rewrite(self, rows: pa.Table, commit: str, before: Snapshot) -> None:
        """Replace all rows of the version `before` by the same rows in the contract's types, in one commit.

        Args:
            rows: with the columns that the lake adds.
            commit: its id.
            before: the version that the rows were read from.

        Raises:
            BusyError: another run wrote at the same time.
            EvergreenError: the table cannot be written; it is left as it was.
        """
        self._commits.rewrite(rows, commit, before)

    def store_carried(self, carried: Carried) -> None:
        """Store carried values in a commit of their own, without changing a row.

        Raises:
            BusyError: another run wrote at the same time.
            EvergreenError: the table cannot be written; it is left as it was.
        """
        before = self.snapshot()
        self._append_nothing(f"note:{before.version}", before, carried)

    def has_landed_by(self, contract: str) -> bool:
        """Whether a batch landed that was checked against the contract with this digest."""
        if not self.table.exists():
            return False
        commits = self.table.all_commit_metadata(self.table.open())
        return any(metadata.get(CONTRACT) == contract for metadata in commits)

    def find(self, keys: pa.Table) -> MatchedRows:
        """Find the rows that have these keys (n), which are distinct."""
        opened = self.table.open()
        rows, hashes = find_by_key(self.table, opened, keys, self.table.schema.names)
        positions = positions_of(row_hashes(keys, self.spec.keys), hashes)
        return MatchedRows(rows, positions, self._commits.snapshot(opened))

    def set_labels(
        self,
        matched: MatchedRows,
        labels: pa.Table,
        chosen: npt.NDArray[np.bool_],
        commit: str,
        carried: Carried | None = None,
    ) -> None:
        """Set the target and `_labelled_at` of the matched rows of the chosen labels, once.

        The row keeps its number and its origin. After a crash between two commits, the next run sets the labels that
        are left.

        Args:
            matched: `find` of the labels' keys.
            labels: with the target and `_labelled_at` (n).
            chosen: which labels are set, shape (n,).
            commit: the id of the last commit, which is made also if no label is chosen.
            carried: stored with it, as in `land`.

        Raises:
            BusyError: another run wrote since `matched` was read.
            EvergreenError: the table cannot be written; it is left as it was.
        """
        import pyarrow as pa

        mask = pa.array(chosen)
        old = rows = matched.rows.take(matched.positions[chosen])
        if not rows.num_rows:
            self._append_nothing(commit, matched.snapshot, carried)
            return
        for name in (self.spec.target, LABELLED_AT):
            field = self.table.schema.field(name)
            rows = rows.set_column(rows.column_names.index(name), field, labels.column(name).filter(mask))
        self._commits.replace(old, rows, commit, matched.snapshot, carried)

    def frame(
        self,
        version: int,
        where: ds.Expression | None = None,
        columns: Sequence[str] | None = None,
        as_of: datetime | None = None,
    ) -> pd.DataFrame:
        """Rows of a version in time order (landing order among equals), with the content columns and `_row`.

        A target that became known after `as_of` (aware) is missing; None takes every target.
        """
        names = [*(columns or self.content), "_row"]
        if self.spec.time and self.spec.time not in names:
            names.append(self.spec.time)
        if as_of is None:
            return self._ordered(self.table.read(names, where, version))
        return self._ordered(self._as_known(self.table.read([*names, LABELLED_AT], where, version), as_of))

    def sample(
        self, version: int, where: ds.Expression | None, rows: int, *, seed: int, as_of: datetime | None = None
    ) -> tuple[pd.DataFrame, int]:
        """Draw at most `rows` rows, one from each of as many equal stretches of the scan; returns also the total.

        The table streams past, so that memory is bounded whatever its size. `as_of` is as in `frame`.
        """
        total = sum(batch.num_rows for batch in self.table.scan(["_row"], where, version))
        if total <= rows:
            return self.frame(version, where, as_of=as_of), total
        edges = np.linspace(0, total, rows + 1).astype(np.int64)
        drawn = np.random.default_rng(seed).integers(edges[:-1], edges[1:])
        pieces, position = [], 0
        names = (*self.content, "_row", *(() if as_of is None else (LABELLED_AT,)))
        for batch in self.table.scan(names, where, version):
            low, high = np.searchsorted(drawn, [position, position + batch.num_rows])
            pieces.append(batch.take(drawn[low:high] - position))
            position += batch.num_rows
        sample = self.table.to_frame(pieces, names)
        return self._ordered(sample if as_of is None else self._as_known(sample, as_of)), total

    def ids(self, frame: pd.DataFrame) -> Hashes:
        """The identity of each row of a frame: the hash of its keys, or of its whole content if there are none."""
        import pyarrow as pa

        names = self.spec.keys or self.content
        schema = pa.schema([self.table.schema.field(name) for name in names])
        return row_hashes(pa.Table.from_pandas(frame[list(names)], schema=schema, preserve_index=False), names)

    def any_origin(self) -> str | None:
        """Where one of the present rows came from, perhaps cut short; None without rows."""
        opened = self.table.open()
        ranges = self.table.file_ranges(opened, "_origin")
        if ranges is not None:
            return min((low for low, _ in ranges), default=None)
        for batch in self.table.scan(["_origin"], version=opened.version()):
            if batch.num_rows:
                return str(batch.column(0)[0].as_py())
        return None

    def measure(self, version: int) -> str:
        """The digest of the rows of a version, whatever its commit says; reads every row, in a stream."""
        return self._commits.measure(version)[0].hex

    def _upsert(
        self,
        arrow: pa.Table,
        stamp: BatchStamp,
        commit: str,
        opened: OpenTable,
        before: Snapshot,
        on_overridden: OnOverridden,
        carried: Carried | None,
    ) -> RowCounts:
        """Add rows with new keys, and replace those whose content changed."""
        import pyarrow as pa

        names = (*self.content, "_row", LABELLED_AT)
        stored, key_hashes = find_by_key(self.table, opened, arrow.select(list(self.spec.keys)), names)
        positions = positions_of(row_hashes(arrow, self.spec.keys), key_hashes)
        arrow, labelled_at = carry_labels(self.spec, arrow, stored, positions)
        hashes, stored_hashes = row_hashes(arrow, self.content), row_hashes(stored, self.content)
        new = positions < 0
        changed = ~new
        changed[changed] = stored_hashes[positions[changed]] != hashes[changed]
        if changed.any():
            superseded = stored.take(positions[changed])
            overridden = overridden_labels(self.spec, arrow.filter(pa.array(changed)), superseded)
            if overridden.any():
                on_overridden(np.flatnonzero(changed)[overridden], superseded.filter(pa.array(overridden)))
            # Two commits if there are new rows too: Delta would write them into one file with those that it rewrites,
            # and that file would grow with every batch. After a crash between them the next run lands the rest.
            replaced_commit = f"{stamp.batch}:replaced:{before.version}" if new.any() else commit
            # Rows that are rewritten together are numbered one after the other.
            order = np.concatenate(rewrite_groups(superseded.column("_row").to_numpy()))
            rows = np.flatnonzero(changed)[order]
            old = superseded.take(order)
            # Where rows have the order of landing, a row that its key names keeps its place in it.
            numbers = old.column("_row").to_numpy() if self.spec.order == "rows" else None
            stamped = stamp.apply(arrow.take(rows), before.next_row, labelled_at.take(rows), numbers)
            before = self._commits.replace(old, stamped, replaced_commit, before, None if new.any() else carried)
        if new.any() or not changed.any():
            added = arrow if new.all() else arrow.filter(pa.array(new))
            self._commits.append(stamp.apply(added, before.next_row), commit, before, hashes[new], carried)
        return RowCounts(int(new.sum()), int(changed.sum()), int((~new & ~changed).sum()))

    def _replace_origin(
        self, arrow: pa.Table, stamp: BatchStamp, opened: OpenTable, before: Snapshot, carried: Carried | None
    ) -> RowCounts:
        """Replace the rows that came from the same origin before.

        Where rows have the order of landing, one that was there before keeps its place in it.
        """
        import pyarrow.dataset as ds

        hashes, origin = row_hashes(arrow, self.content), stamp.origin
        removed, numbers = np.empty(0, np.uint64), None
        if may_contain(self.table, opened, {"_origin": (origin, origin)}):
            removed, known = self._commits.numbered_hashes(before.version, ds.field("_origin") == origin)
            if self.spec.order == "rows":
                numbers = renumber(hashes, removed, known, before.next_row)
        rows = stamp.apply(arrow, before.next_row, numbers=numbers)
        if len(removed):
            where = f"_origin = {sql_literal(origin)}"
            self._commits.replace_where(
                where, rows, stamp.batch, before, removed=removed, added=hashes, carried=carried
            )
        else:
            self._commits.append(rows, stamp.batch, before, hashes, carried)
        repeated = int(np.isin(hashes, removed).sum())
        replaced = min(len(hashes) - repeated, max(len(removed) - repeated, 0))
        return RowCounts(len(hashes) - repeated - replaced, replaced, repeated)

    def _append_nothing(self, commit: str, before: Snapshot, carried: Carried | None) -> None:
        no_rows, no_hashes = self.table.schema.empty_table(), np.empty(0, np.uint64)
        self._commits.append(no_rows, commit, before, no_hashes, carried)

    def _as_known(self, frame: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
        """Remove the targets that became known after `as_of`."""
        later = frame.pop(LABELLED_AT) > as_of
        if self.spec.target in frame and later.any():
            frame[self.spec.target] = frame[self.spec.target].mask(later)
        return frame

    def _ordered(self, frame: pd.DataFrame) -> pd.DataFrame:
        """In time order; a whole-number or flag target keeps its kind also where some of its values are missing."""
        order = [self.spec.time, "_row"] if self.spec.time else ["_row"]
        frame = frame.sort_values(order, kind="stable", ignore_index=True)
        target, kind = self.spec.target, str(self.table.schema.field(self.spec.target).type)
        if kind == "int64" and target in frame:
            frame[target] = frame[target].astype("Int64" if frame[target].isna().any() else "int64")
        elif kind == "bool" and target in frame:
            frame[target] = frame[target].astype("boolean" if frame[target].isna().any() else "bool")
        return frame
