"""Finding the rows of a table by their keys.

Only what lies between the least and the greatest of each key is looked at: rows that continue a table cost no more when
it is long than when it is short.
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

    from evergreen.storage.delta_table import OpenTable

FEW = 500
"""Scattered row numbers up to this many are named one by one."""

SPAN = 200_000
"""Row numbers that one commit rewrites at most, where they are scattered."""


def sharing(table: Table, opened: OpenTable, keys: pa.Table, columns: Sequence[str]) -> tuple[pa.Table, Hashes]:
    """Rows of an opened version that share their key with a row of `keys`, and the identity of each.

    `columns` are read of them; the columns of `keys`, which are the key, have to be among them.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    empty = pa.schema([table.schema.field(name) for name in columns]).empty_table()
    nothing = np.empty(0, dtype=np.uint64)
    if not keys.num_rows:
        return empty, nothing
    edges = {name: pc.min_max(keys.column(name)).as_py() for name in keys.column_names}
    ranges = {name: (edge["min"], edge["max"]) for name, edge in edges.items()}
    if not may_hold(table, opened, ranges):
        return empty, nothing
    where = None
    for name, (low, high) in ranges.items():
        kind = table.schema.field(name).type
        if pa.types.is_boolean(kind):
            continue
        term = (ds.field(name) >= pa.scalar(low, kind)) & (ds.field(name) <= pa.scalar(high, kind))
        where = term if where is None else where & term
    wanted = row_hashes(keys, keys.column_names)
    pieces, ids = [empty], [nothing]
    for piece in table.scan(columns, where, opened.version()):
        found = row_hashes(piece, keys.column_names)
        hits = np.isin(found, wanted)
        if hits.any():
            pieces.append(pa.Table.from_batches([piece.filter(pa.array(hits))]).cast(empty.schema))
            ids.append(found[hits])
    return pa.concat_tables(pieces), np.concatenate(ids)


def places(wanted: Hashes, held: Hashes) -> npt.NDArray[np.int64]:
    """Where each wanted identity is in `held`, in which none is twice; -1 where it is not."""
    if not len(held):
        return np.full(len(wanted), -1, dtype=np.int64)
    order = np.argsort(held, kind="stable")
    at = np.minimum(np.searchsorted(held[order], wanted), len(held) - 1)
    return np.where(held[order][at] == wanted, order[at], -1).astype(np.int64)


def may_hold(table: Table, opened: OpenTable, ranges: Mapping[str, tuple[Any, Any]]) -> bool:
    """Whether by its statistics any file has a value of every column within its range; no data is read."""
    candidates: npt.NDArray[np.bool_] | None = None
    for column, (low, high) in ranges.items():
        edges = table.edges(opened, column)
        if edges is None:
            continue
        # The greatest of a file is rounded down: a time by less than a millisecond, a text to a prefix.
        within = np.array([least <= high and _ceiling(most) >= low for least, most in edges], dtype=bool)
        candidates = within if candidates is None else candidates & within
    return candidates is None or bool(candidates.any())


def spans(rows: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """The places of these row numbers in pieces that are rewritten in one commit each; one piece keeps their order.

    A piece of many scattered numbers spans no more than `SPAN`, so that what lies between them fits into memory.
    """
    if len(rows) <= FEW or int(rows.max()) - int(rows.min()) + 1 <= max(len(rows), SPAN):
        return [np.arange(len(rows), dtype=np.int64)]
    order = np.argsort(rows, kind="stable")
    ordered, pieces, start = rows[order], [], 0
    while start < len(ordered):
        end = int(np.searchsorted(ordered, ordered[start] + SPAN))
        pieces.append(order[start:end])
        start = end
    return pieces


def numbered(table: Table, version: int, rows: npt.NDArray[np.int64]) -> tuple[str, pa.Table]:
    """SQL for the rows with these numbers, of which there is one at least, and the others that it holds for.

    The outer bounds tell Delta which files to leave alone. A list of numbers is parsed by recursion, which takes
    seconds for ten thousand and the process for a hundred thousand: many scattered numbers are one range.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds

    low, high = int(rows.min()), int(rows.max())
    between, others = f"(_row >= {low} AND _row <= {high}", [table.schema.empty_table()]
    if high - low + 1 == len(rows):
        return f"{between})", others[0]
    if len(rows) <= FEW:
        return f"{between} AND _row IN ({', '.join(map(str, rows.tolist()))}))", others[0]
    within = (ds.field("_row") >= low) & (ds.field("_row") <= high)
    for piece in table.scan(table.schema.names, within, version):
        rest = piece.filter(pa.array(~np.isin(piece.column("_row").to_numpy(), rows)))
        others.append(pa.Table.from_batches([rest]).cast(table.schema))
    return f"{between})", pa.concat_tables(others)


def _ceiling(most: Any) -> Any:
    if isinstance(most, datetime):
        return most + timedelta(milliseconds=1)
    return most + "\U0010ffff" if isinstance(most, str) else most
