"""Rows that were served and have landed since: what the pipeline got of each online, and what it would get now."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evergreen.data.landings import Instants, first_landings, instants
from evergreen.data.observations import Observations
from evergreen.data.request_log import RequestLog
from evergreen.data.snapshot import Snapshot
from evergreen.storage.row_digest import Digest, Hashes, row_hashes

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds

ROWS = 20_000
"""Rows that are compared, at most; of more, those whose key has the least hash."""
CANDIDATES = 1_000_000
"""Rows that landed since the last look of which it is asked whether they were served, at most; likewise the least."""

_KEY = ("received_at", "key", "request", "row")


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """Which rows were served and have landed since.

    Attributes:
        keys: identities as in `Observations.ids`, ascending, shape (n,).
        received: when the first request for each was received, microseconds since the epoch, shape (n,).
        of: how many there are; more than n where these are a sample.
    """

    keys: Hashes
    received: Instants
    of: int


@dataclass(frozen=True, slots=True, eq=False)
class ServedRows:
    """The rows of one question.

    Attributes:
        online: what the pipeline got of each, by feature; None where a value was missing.
        landed: the rows as they landed first after their request, every column, by the hash of their keys, as `online`.
        unread: rows that are left out, because they were corrected since and cannot be read as they landed.
        digest: of both sides.
    """

    online: Sequence[Mapping[str, Any]]
    landed: pa.Table
    unread: int
    digest: str


def first_request(log: RequestLog) -> datetime | None:
    """When the first request was received, to the millisecond, rounded down; None where there was none.

    By the statistics of the table's files: no row is read.
    """
    import pyarrow.compute as pc

    ranges = log.table.file_ranges(log.table.open(), "received_at")
    if ranges is None:
        found = [pc.min(piece.column(0)).as_py() for piece in log.table.scan(["received_at"])]
        return min((each for each in found if each is not None), default=None)
    return min((low for low, _ in ranges), default=None)


def find_served(
    observations: Observations, log: RequestLog, version: int, snapshot: Snapshot, since: datetime, now: datetime
) -> Served:
    """Rows that landed after `since`, and after a request that this version answered, both up to `now` (aware).

    Of several requests for one key the first counts, as in the prediction log.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds

    keys, landed = _landed_since(observations, snapshot, since, now)
    nothing = Served(np.empty(0, np.uint64), np.empty(0, np.int64), 0)
    if not len(keys):
        return nothing
    until = ds.field("received_at") <= pa.scalar(now, pa.timestamp("us", "UTC"))
    received = np.full(len(keys), np.iinfo(np.int64).max)
    for piece in log.table.scan(["received_at", "key"], _of(version) & until):
        asked = piece.column("key").to_numpy().view(np.uint64)
        place, hits = _places(keys, asked)
        np.minimum.at(received, place[hits], instants(piece, "received_at")[hits])
    served = np.flatnonzero(received < landed)
    if not len(served):
        return nothing
    chosen = served[:ROWS]
    return Served(keys[chosen], received[chosen], len(served))


def read_served(
    observations: Observations,
    log: RequestLog,
    version: int,
    snapshot: Snapshot,
    since: datetime,
    served: Served,
) -> ServedRows:
    """Both sides of rows that were found.

    A row that was looked at before, and corrected since, is left out: it landed first before `since`.
    """
    features = _features(log, version, served)
    rows, landed = _rows(observations, snapshot, since, served)
    order = np.searchsorted(served.keys, landed)
    first, readable = first_landings(observations, snapshot.version, rows, served.received[order])
    new = readable & (instants(first, "_landed_at") > _microseconds(since))
    there = np.flatnonzero(new & np.array([int(key) in features for key in landed], dtype=bool))
    # In one order, whatever files hold the rows.
    there = there[np.argsort(landed[there], kind="stable")]
    first = first.take(there)
    online = [features[int(key)] for key in landed[there]]
    texts = row_hashes(_as_table(online), ["features"])
    digest = Digest(0, 0, 0).plus(texts).plus(row_hashes(first, (*observations.spec.keys, "_landed_at", "_batch"))).hex
    return ServedRows([json.loads(text) for text in online], first, int((~readable).sum()), digest)


def _landed_since(
    observations: Observations, snapshot: Snapshot, since: datetime, now: datetime
) -> tuple[Hashes, Instants]:
    """The identities of rows that landed after `since` and by `now`, ascending, and when each did."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    spec, kind = observations.spec, pa.timestamp("us", "UTC")
    within = (ds.field("_landed_at") > pa.scalar(since, kind)) & (ds.field("_landed_at") <= pa.scalar(now, kind))
    keys, landed = np.empty(0, np.uint64), np.empty(0, np.int64)
    names = list(dict.fromkeys((*spec.keys, "_landed_at")))
    for piece in observations.table.scan(names, within, snapshot.version):
        keys = np.concatenate([keys, row_hashes(piece, spec.keys)])
        landed = np.concatenate([landed, instants(piece, "_landed_at")])
        if len(keys) > 2 * CANDIDATES:
            keys, landed = _least(keys, landed)
    return _least(keys, landed)


def _places(keys: Hashes, asked: Hashes) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Where each hash is in `keys`, which ascend and are not empty, and whether it is there."""
    place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return place, keys[place] == asked


def _least(keys: Hashes, landed: Instants) -> tuple[Hashes, Instants]:
    order = np.argsort(keys, kind="stable")[:CANDIDATES]
    return keys[order], landed[order]


def _features(log: RequestLog, version: int, served: Served) -> dict[int, str]:
    """The features of the first request for each key, as they were logged."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    kind = pa.timestamp("us", "UTC")
    # Delta keeps the greatest time of a file to the millisecond, rounded down.
    low, high = pa.scalar(int(served.received.min()) - 1000, kind), pa.scalar(int(served.received.max()), kind)
    when = (ds.field("received_at") >= low) & (ds.field("received_at") <= high)
    found: dict[int, list[Any]] = {}
    for piece in log.table.scan([*_KEY, "features"], _of(version) & when):
        asked = piece.column("key").to_numpy().view(np.uint64)
        place, known = _places(served.keys, asked)
        hits = piece.filter(pa.array(known & (served.received[place] == instants(piece, "received_at"))))
        keys = hits.column("key").to_numpy().view(np.uint64).tolist()
        rest = (hits.column(name).to_pylist() for name in ("request", "row", "features"))
        for number, *candidate in zip(keys, *rest, strict=True):
            # Of one instant, as two rows of one request are, the earlier row.
            found[number] = min(found.get(number, candidate), candidate)
    return {key: features for key, (_, _, features) in found.items()}


def _rows(observations: Observations, snapshot: Snapshot, since: datetime, served: Served) -> tuple[pa.Table, Hashes]:
    """The rows of the table that have these keys, every column, and their identities."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    schema, keys = observations.table.schema, observations.spec.keys
    within = ds.field("_landed_at") > pa.scalar(since, pa.timestamp("us", "UTC"))
    pieces, hashes = [schema.empty_table()], [np.empty(0, np.uint64)]
    for piece in observations.table.scan(schema.names, within, snapshot.version):
        ids = row_hashes(piece, keys)
        _, hits = _places(served.keys, ids)
        if hits.any():
            pieces.append(pa.Table.from_batches([piece.filter(pa.array(hits))]).cast(schema))
            hashes.append(ids[hits])
    return pa.concat_tables(pieces), np.concatenate(hashes)


def _of(version: int) -> ds.Expression:
    """Rows with a key that this version answered."""
    import pyarrow.dataset as ds

    return (ds.field("version") == version) & ds.field("key").is_valid()


def _as_table(texts: Sequence[str]) -> pa.Table:
    import pyarrow as pa

    return pa.table({"features": pa.array(texts, pa.string())})


def _microseconds(time: datetime) -> int:
    return (time - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
