"""Commits to the observations, each of which names its content.

A commit carries the digest of the content forward without reading the table again (`storage/row_digest.py`), and finds
the files that it rewrites by their statistics. A batch therefore costs the same however long the table is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evergreen.data.snapshot import CARRIED_KEYS, Snapshot
from evergreen.errors import BusyError
from evergreen.storage.delta_table import Table
from evergreen.storage.row_digest import Digest, Hashes, row_hashes
from evergreen.storage.row_lookup import rewrite_groups, row_condition

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds

    from evergreen.storage.delta_table import OpenTable

Carried = Mapping[str, str]
"""Values for fields of `CARRIED_KEYS`; the others keep theirs. Other fields are of this commit alone."""


class RowCommits:
    """Commits to one table of rows that are numbered in `_row`.

    Attributes:
        table: the table.
        content: the columns that the digest covers.
        time: the time column; None without one.
    """

    def __init__(self, table: Table, content: Sequence[str], time: str | None) -> None:
        self.table, self.content, self.time = table, content, time
        fields = sorted((table.schema.field(name) for name in content), key=lambda field: str(field.name))
        # A digest of other columns says nothing of these: after a change of the contract the rows are measured again.
        self._content_key = ",".join(f"{field.name}:{field.type}" for field in fields)

    def snapshot(self, opened: OpenTable) -> Snapshot:
        """Name the content of an opened version."""
        metadata = self.table.commit_metadata(opened)
        if metadata.get("content") == self._content_key:
            digest, next_row = Digest.parse(metadata["digest"], int(metadata["rows"])), int(metadata["next_row"])
        else:
            digest, next_row = self.measure(opened.version())
            earlier = list(self.table.all_commit_metadata(opened))
            # A number is not given twice, also when its row is gone.
            next_row = max([next_row, *(int(commit.get("next_row", 0)) for commit in earlier)])
            # After a change by another program, what an earlier commit carried is still true of the same content.
            metadata = metadata or next((commit for commit in earlier if commit.get("digest") == digest.hex), {})
        start, end = self.time_range(opened)
        carried = {field: metadata.get(key, "") for field, key in CARRIED_KEYS.items()}
        return Snapshot(self.table.uri, opened.version(), digest.rows, start, end, next_row, digest.hex, **carried)

    def append(
        self, rows: pa.Table, commit: str, before: Snapshot, hashes: Hashes, carried: Carried | None = None
    ) -> None:
        """Add rows, whose content has these hashes, to the version `before`."""
        digest = digest_of(before).plus(hashes)
        metadata = self._metadata(digest, before, before.next_row + rows.num_rows, carried)
        self.table.append(rows, commit, metadata, expected_version=before.version)

    def replace(
        self, old: pa.Table, rows: pa.Table, commit: str, before: Snapshot, carried: Carried | None = None
    ) -> Snapshot:
        """Replace old rows by as many new ones, in one commit or, if they are scattered over a long table, in several.

        `commit` is the id of the last one, and `carried` is stored with it. Returns the table's state afterwards.
        """
        import pyarrow as pa

        old_numbers, new_numbers = old.column("_row").to_numpy(), rows.column("_row").to_numpy()
        next_row, groups = max(before.next_row, int(new_numbers.max()) + 1), rewrite_groups(old_numbers)
        renumbered = next_row > before.next_row
        for count, group in enumerate(groups, start=1):
            old_rows, new_rows = old.take(group), rows.take(group)
            where, others = row_condition(self.table, before.version, old_numbers[group])
            if renumbered:
                where = f"{where} OR {row_condition(self.table, before.version, new_numbers[group])[0]}"
            digest = digest_of(before).minus(row_hashes(old_rows, self.content))
            digest = digest.plus(row_hashes(new_rows, self.content))
            is_last = count == len(groups)
            metadata = self._metadata(digest, before, next_row, carried if is_last else None)
            commit_id = commit if is_last else f"{commit}:{before.version}"
            written = pa.concat_tables([new_rows.select(others.column_names), others])
            self.table.replace(written, commit_id, metadata, where=where, expected_version=before.version)
            before = self.snapshot(self.table.open())
            if before.digest != digest.hex:
                raise BusyError(f"Another run wrote {self.table.uri} at the same time.", "Run it again.")
        return before

    def replace_where(
        self,
        where: str,
        rows: pa.Table,
        commit: str,
        before: Snapshot,
        *,
        removed: Hashes,
        added: Hashes,
        carried: Carried | None = None,
    ) -> None:
        """Replace the rows that meet the SQL condition `where`, whose content has the hashes `removed`.

        A row that is there again may have kept its number.
        """
        digest = digest_of(before).minus(removed).plus(added)
        greatest = int(rows.column("_row").to_numpy().max()) if rows.num_rows else -1
        metadata = self._metadata(digest, before, max(before.next_row, greatest + 1), carried)
        self.table.replace(rows, commit, metadata, where=where, expected_version=before.version)

    def rewrite(self, rows: pa.Table, commit: str, before: Snapshot) -> None:
        """Replace all rows of the version `before`, and the types of the columns; the numbers of the rows stay."""
        digest = Digest(0, 0, 0).plus(row_hashes(rows, self.content))
        metadata = self._metadata(digest, before, before.next_row, None)
        self.table.rewrite(rows, commit, metadata, expected_version=before.version)

    def measure(self, version: int) -> tuple[Digest, int]:
        """The digest of the rows of a version, and the number after the greatest row number; reads every row."""
        digest = Digest(0, 0, 0)
        for hashes in self.content_hashes(version, None):
            digest = digest.plus(hashes)
        batches = (batch for batch in self.table.scan(["_row"], version=version) if batch.num_rows)
        greatest = max((batch.column(0).to_numpy().max() for batch in batches), default=-1)
        return digest, int(greatest) + 1

    def content_hashes(self, version: int, where: ds.Expression | None) -> Iterator[Hashes]:
        """The hashes of the rows that meet `where`, one array a record batch."""
        for batch in self.table.scan(self.content, where, version):
            yield row_hashes(batch, self.content)

    def numbered_hashes(self, version: int, where: ds.Expression) -> tuple[Hashes, npt.NDArray[np.int64]]:
        """The hashes of the rows that meet `where`, and their numbers, shape (n,) each."""
        hashes: list[Hashes] = []
        numbers: list[npt.NDArray[np.int64]] = []
        for batch in self.table.scan((*self.content, "_row"), where, version):
            hashes.append(row_hashes(batch, self.content))
            numbers.append(batch.column("_row").to_numpy())
        return np.concatenate([np.empty(0, np.uint64), *hashes]), np.concatenate([np.empty(0, np.int64), *numbers])

    def _metadata(self, digest: Digest, before: Snapshot, next_row: int, carried: Carried | None) -> dict[str, str]:
        values = {field: getattr(before, field) for field in CARRIED_KEYS} | dict(carried or {})
        return {
            "digest": digest.hex,
            "rows": str(digest.rows),
            "next_row": str(next_row),
            "content": self._content_key,
        } | {CARRIED_KEYS.get(field, field): value for field, value in values.items() if value}

    def time_range(self, opened: OpenTable) -> tuple[str | None, str | None]:
        """The time range, from the table's statistics if every file has them."""
        if self.time is None:
            return None, None
        ranges = self.table.file_ranges(opened, self.time)
        if ranges is None:
            import pyarrow.compute as pc

            batches = self.table.scan([self.time], version=opened.version())
            limits = [pc.min_max(batch.column(0)).as_py() for batch in batches if batch.num_rows]
            ranges = [(limit["min"], limit["max"]) for limit in limits]
        if not ranges:
            return None, None
        return min(low for low, _ in ranges).isoformat(), max(high for _, high in ranges).isoformat()


@dataclass(frozen=True, slots=True)
class BatchStamp:
    """What the lake adds to the rows of a batch."""

    batch: str
    origin: str
    now: datetime

    def apply(
        self,
        rows: pa.Table,
        next_row: int,
        labelled_at: pa.ChunkedArray | None = None,
        numbers: npt.NDArray[np.int64] | None = None,
    ) -> pa.Table:
        """Add the lake's columns; rows are numbered from `next_row` on, or have the `numbers` (n,)."""
        import pyarrow as pa

        count = rows.num_rows
        if labelled_at is None:
            labelled_at = pa.nulls(count, pa.timestamp("us", "UTC"))
        if numbers is None:
            numbers = np.arange(next_row, next_row + count, dtype=np.int64)
        return (
            rows.append_column("_batch", pa.repeat(self.batch, count))
            .append_column("_origin", pa.repeat(self.origin, count))
            .append_column("_row", pa.array(numbers))
            .append_column("_landed_at", pa.repeat(pa.scalar(self.now, pa.timestamp("us", "UTC")), count))
            .append_column("_labelled_at", labelled_at)
        )


def renumber(hashes: Hashes, known: Hashes, numbers: npt.NDArray[np.int64], next_row: int) -> npt.NDArray[np.int64]:
    """The numbers of n rows that replace others: a row that was there keeps its number, the others get new ones.

    Of equal rows the first keeps the first one's number, the second the second one's, and so on.

    Args:
        hashes: of the content of the new rows, shape (n,).
        known: of the content of the rows that they replace, shape (m,).
        numbers: of the rows that they replace, shape (m,).
        next_row: the first new number.
    """
    order = np.lexsort((numbers, known))
    known, numbers = known[order], numbers[order]
    by_hash = np.argsort(hashes, kind="stable")
    ordered = hashes[by_hash]
    occurrence = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    place = np.searchsorted(known, ordered) + occurrence
    there = place < len(known)
    there[there] = known[place[there]] == ordered[there]
    found = np.full(len(hashes), -1, dtype=np.int64)
    found[by_hash[there]] = numbers[place[there]]
    new = found < 0
    found[new] = np.arange(next_row, next_row + int(new.sum()))
    return found


def digest_of(snapshot: Snapshot) -> Digest:
    """The digest that a snapshot names."""
    return Digest.parse(snapshot.digest, snapshot.rows)
