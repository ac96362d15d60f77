"""Rows as they landed first after an instant, whatever corrected them since.

Every commit says how many rows there are then and which number the next row gets. So the log alone tells which rows a
batch added and which it put in the place of earlier ones, and only rows that were corrected are read at an earlier
version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evergreen.data.observations import Observations
from evergreen.errors import EvergreenError
from evergreen.storage.row_digest import row_hashes
from evergreen.storage.row_lookup import find_by_key, positions_of

if TYPE_CHECKING:
    import pyarrow as pa

VERSIONS = 20
"""Earlier versions that are read, at most: each takes some hundredths of a second."""
_COMMITS = 64

Instants = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Landing:
    """A commit of rows.

    Attributes:
        version: that it made.
        low: the number that the next row would get before it.
        high: and after it.
        adds: there are more rows than before; otherwise they took the place of others.
    """

    version: int
    low: int
    high: int
    adds: bool


def first_landings(observations: Observations, version: int, rows: pa.Table, after: Instants) -> tuple[pa.Table, Flags]:
    """Each row as it landed first after an instant.

    Args:
        observations: of a model with keys.
        version: of the table that `rows` were read at.
        rows: n rows with every column.
        after: microseconds since the epoch, shape (n,); each row landed later.

    Returns:
        The rows (n), and which of them could be read as they landed, shape (n,): of the others an earlier version is
        gone, or more than `VERSIONS` would have to be read. They are as they were found.
    """
    import pyarrow as pa

    spec, table = observations.spec, observations.table
    landings = _landings_of(observations, version, rows.column("_batch").unique().to_pylist())
    pieces, place = [rows], np.arange(rows.num_rows)
    bounds = _corrected_at(landings, rows, np.full(rows.num_rows, version))
    for _ in range(VERSIONS):
        newest = int(bounds.max(initial=0))
        if not newest:
            break
        asked = np.flatnonzero(bounds == newest)
        keys = rows.take(asked).select(list(spec.keys))
        try:
            found, hashes = find_by_key(table, table.open(newest - 1), keys, table.schema.names)
        except EvergreenError:
            # Cleaning deletes the files of versions that no version of the model needs.
            break
        there = positions_of(row_hashes(keys, spec.keys), hashes)
        bounds[asked] = 0
        later = there >= 0
        later[later] = instants(found, "_landed_at")[there[later]] > after[asked[later]]
        known = asked[later]
        place[known] = sum(piece.num_rows for piece in pieces) + there[later]
        pieces.append(found)
        earlier = found.take(there[later])
        batches = earlier.column("_batch").unique().to_pylist()
        landings |= _landings_of(observations, version, [batch for batch in batches if batch not in landings])
        bounds[known] = _corrected_at(landings, earlier, np.full(len(known), newest - 1))
    return pa.concat_tables(pieces).take(place), bounds == 0


def instants(rows: pa.Table | pa.RecordBatch, name: str) -> Instants:
    """A column of times in microseconds since the epoch, shape (n,); a missing one is 0."""
    import pyarrow as pa

    column = rows.column(name).cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    return np.asarray(column.fill_null(0).to_numpy(), dtype=np.int64)


def _corrected_at(landings: Mapping[str, Sequence[_Landing]], rows: pa.Table, known: Instants) -> Instants:
    """The version in which each row took the place of an earlier one, shape (n,); 0 where it was added, or unknown.

    Only versions up to `known` (n) are looked at.
    """
    numbers, batches = rows.column("_row").to_numpy(), rows.column("_batch").to_pylist()
    found = np.zeros(len(numbers), dtype=np.int64)
    for position, (number, batch) in enumerate(zip(numbers.tolist(), batches, strict=True)):
        commits = [each for each in landings.get(batch, ()) if each.version <= known[position]]
        # A row that is corrected keeps its number only where rows have the order of landing.
        if any(each.adds and each.low <= number < each.high for each in commits):
            continue
        found[position] = max((each.version for each in commits if not each.adds), default=0)
    return found


def _landings_of(observations: Observations, version: int, batches: Sequence[str]) -> dict[str, list[_Landing]]:
    """The commits of some batches up to a version; of the log no more is read than it takes to find each batch."""
    table = observations.table
    opened, limit, wanted = table.open(version), _COMMITS, set(batches)
    while wanted:
        log = list(table.all_commit_metadata(opened, limit))
        found: dict[str, list[_Landing]] = {batch: [] for batch in batches}
        commits = [(version - back, each) for back, each in enumerate(log) if "next_row" in each]
        for (number, new), (_, old) in zip(commits, [*commits[1:], (0, None)], strict=True):
            batch = _batch_of(new.get("commit", ""), found)
            if batch is None or (old is None and len(log) == limit):
                continue
            low, before = (int(old["next_row"]), int(old["rows"])) if old else (0, 0)
            found[batch].append(_Landing(number, low, int(new["next_row"]), adds=int(new["rows"]) > before))
        # A batch may have two commits, and the earlier one may be the next that would be read.
        oldest = _batch_of(commits[-1][1].get("commit", ""), found) if commits else None
        if len(log) < limit or (all(found.values()) and oldest is None):
            return found
        limit *= 4
    return {}


def _batch_of(commit: str, batches: Mapping[str, object]) -> str | None:
    """The batch of a commit, whose id begins with the batch's and may go on behind a colon; None for another one's."""
    while commit not in batches:
        if ":" not in commit:
            return None
        commit = commit.rpartition(":")[0]
    return commit
