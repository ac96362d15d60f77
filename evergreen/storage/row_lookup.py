"""Find the rows of a table by their keys.

Only files whose statistics overlap the range of the wanted keys are read. A batch that continues a long table therefore
costs no more than one that continues a short table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evergreen.storage.delta_table import Table
from evergreen.storage.row_digest import Hashes, row_hashes

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds

    from evergreen.storage.delta_table import OpenTable

MAX_LISTED = 500
"""Up to this many scattered row numbers are listed one by one in a condition."""

MAX_SPAN = 200_000
"""One commit rewrites scattered row numbers of at most this range."""


def find_by_key(table: Table, opened: OpenTable, keys: pa.Table, columns: Sequence[str]) -> tuple[pa.Table, Hashes]:
    """Find the rows of an opened version whose key is among `keys`.

    Args:
        table: the table.
        opened: the table at the version to look in.
        keys: the wanted keys; its columns are the key.
        columns: the columns to read; the columns of the key have to be among them.

    Returns:
        The rows (m), and the hash of each row's key, shape (m,).
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    empty = pa.schema([table.schema.field(name) for name in columns]).empty_table()
    no_hashes = np.empty(0, dtype=np.uint64)
    if not keys.num_rows:
        return empty, no_hashes
    limits = {name: pc.min_max(keys.column(name)).as_py() for name in keys.column_names}
    ranges = {name: (limit["min"], limit["max"]) for name, limit in limits.items()}
    if not may_contain(table, opened, ranges):
        return empty, no_hashes
    wanted = row_hashes(keys, keys.column_names)
    pieces, hashes = [empty], [no_hashes]
    for batch in table.scan(columns, _within(table, ranges), opened.version()):
        batch_hashes = row_hashes(batch, keys.column_names)
        hits = np.isin(batch_hashes, wanted)
        if hits.any():
            pieces.append(pa.Table.from_batches([batch.filter(pa.array(hits))]).cast(empty.schema))
            hashes.append(batch_hashes[hits])
    return pa.concat_tables(pieces), np.concatenate(hashes)


def positions_of(wanted: Hashes, stored: Hashes) -> npt.NDArray[np.int64]:
    """The position of each wanted hash in `stored`, which has no duplicates; -1 where it is not there."""
    if not len(stored):
        return np.full(len(wanted), -1, dtype=np.int64)
    order = np.argsort(stored, kind="stable")
    nearest = np.minimum(np.searchsorted(stored[order], wanted), len(stored) - 1)
    return np.where(stored[order][nearest] == wanted, order[nearest], -1).astype(np.int64)


def may_contain(table: Table, opened: OpenTable, ranges: Mapping[str, tuple[Any, Any]]) -> bool:
    """Whether any file may have a row with every column within its range, by the statistics; no data is read."""
    candidates: npt.NDArray[np.bool_] | None = None
    for column, (low, high) in ranges.items():
        file_ranges = table.file_ranges(opened, column)
        if file_ranges is None:
            continue
        # The maximum of a file is rounded down: a time by less than a millisecond, a text to a prefix.
        within = np.array([least <= high and _upper_bound(most) >= low for least, most in file_ranges], dtype=bool)
        candidates = within if candidates is None else candidates & within
    return candidates is None or bool(candidates.any())


def rewrite_groups(rows: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Split row numbers into groups that are rewritten in one commit each; returns positions in `rows`.

    A single group keeps the order of `rows`. Of many scattered numbers each group spans at most `MAX_SPAN`, so that the
    rows between them fit into memory.
    """
    if len(rows) <= MAX_LISTED or int(rows.max()) - int(rows.min()) + 1 <= max(len(rows), MAX_SPAN):
        return [np.arange(len(rows), dtype=np.int64)]
    order = np.argsort(rows, kind="stable")
    ordered, groups, start = rows[order], [], 0
    while start < len(ordered):
        end = int(np.searchsorted(ordered, ordered[start] + MAX_SPAN))
        groups.append(order[start:end])
        start = end
    return groups


def row_condition(table: Table, version: int, rows: npt.NDArray[np.int64]) -> tuple[str, pa.Table]:
    """An SQL condition for the rows with these numbers, at least one, and the other rows that also meet it.

    The outer bounds tell Delta which files it need not touch. A list of numbers is parsed by recursion: ten thousand
    take seconds, and a hundred thousand end the process. Many scattered numbers therefore become one range.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds

    low, high = int(rows.min()), int(rows.max())
    between, others = f"(_row >= {low} AND _row <= {high}", [table.schema.empty_table()]
    if high - low + 1 == len(rows):
        return f"{between})", others[0]
    if len(rows) <= MAX_LISTED:
        return f"{between} AND _row IN ({', '.join(map(str, rows.tolist()))}))", others[0]
    within = (ds.field("_row") >= low) & (ds.field("_row") <= high)
    for batch in table.scan(table.schema.names, within, version):
        rest = batch.filter(pa.array(~np.isin(batch.column("_row").to_numpy(), rows)))
        others.append(pa.Table.from_batches([rest]).cast(table.schema))
    return f"{between})", pa.concat_tables(others)


def _within(table: Table, ranges: Mapping[str, tuple[Any, Any]]) -> ds.Expression | None:
    """The filter for rows with every column within its range, flags aside."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    condition = None
    for name, (low, high) in ranges.items():
        kind = table.schema.field(name).type
        if pa.types.is_boolean(kind):
            continue
        term = (ds.field(name) >= pa.scalar(low, kind)) & (ds.field(name) <= pa.scalar(high, kind))
        condition = term if condition is None else condition & term
    return condition


def _upper_bound(most: Any) -> Any:
    if isinstance(most, datetime):
        return most + timedelta(milliseconds=1)
    return most + "\U0010ffff" if isinstance(most, str) else most
