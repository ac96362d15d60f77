"""Whose rows were answered: the key, the time and the id of each, as the lake has them.

They are read in bulk, after the answers were given, by the code that reads the same columns of a landing batch: so a
label that arrives later finds the prediction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from evergreen.data.checked_batch import check_batch
from evergreen.data.observations import Observations
from evergreen.data.row_ids import row_ids
from evergreen.errors import EvergreenError
from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    import pandas as pd
    from pandera.pandas import DataFrameSchema


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose row it is; a part is None where the row brought none.

    Attributes:
        key: its hash, as in the prediction log.
        at: its time, in microseconds since the epoch.
        id: its key as text.
        unread: it brought a key that cannot be read.
    """

    key: int | None = None
    at: int | None = None
    id: str | None = None
    unread: bool = False


def identities_of_rows(
    spec: ModelSpec, schema: DataFrameSchema, rows: Sequence[Mapping[str, Any]], observations: Observations
) -> list[Identity]:
    """The identities of JSON objects that have the contract's columns; `schema` is that of `scoring_schema`."""
    import pandas as pd

    wanted = tuple(dict.fromkeys((*spec.keys, *([spec.time] if spec.time else []))))
    groups: dict[tuple[tuple[str, type], ...], list[int]] = defaultdict(list)
    for position, row in enumerate(rows):
        # Values of one type are read together: another type in the column could change how they are read.
        groups[tuple((name, type(row[name])) for name in wanted if name in row)].append(position)
    found = [Identity()] * len(rows)
    for kind, positions in groups.items():
        names = [name for name, _ in kind]
        if names:
            frame = pd.DataFrame({name: [rows[position][name] for position in positions] for name in names})
            for position, identity in zip(positions, _read(spec, schema, frame, observations), strict=True):
                found[position] = identity
    return found


def identities_of_frame(spec: ModelSpec, rows: pd.DataFrame, observations: Observations) -> list[Identity]:
    """The identities of rows after the contract, with as many of its columns as they brought."""
    frame = rows.reset_index(drop=True)
    times = _microseconds(frame[spec.time]) if spec.time in frame.columns else [None] * len(frame)
    if not spec.keys or not set(spec.keys) <= set(frame.columns):
        return [Identity(at=at) for at in times]
    keys = observations.ids(frame).view(np.int64).tolist()
    ids = row_ids(frame, spec, observations.table.schema, np.arange(len(frame))).to_pylist()
    return [Identity(key, at, name) for key, at, name in zip(keys, times, ids, strict=True)]


def _read(spec: ModelSpec, schema: DataFrameSchema, frame: pd.DataFrame, observations: Observations) -> list[Identity]:
    changes = {
        "prepare": None,
        "keys": spec.keys if set(spec.keys) <= set(frame.columns) else (),
        "time": spec.time if spec.time in frame.columns else None,
    }
    schema = schema.select_columns([name for name in schema.columns if name in frame.columns])
    try:
        rows = check_batch(frame, spec.model_copy(update=changes), schema, now=datetime.now(UTC), scoring=True).rows
    except EvergreenError:
        rows = frame.iloc[:0]
    found = [Identity(unread=bool(changes["keys"]))] * len(frame)
    for position, identity in zip(rows.index, identities_of_frame(spec, rows, observations), strict=True):
        found[position] = identity
    return found


def _microseconds(times: pd.Series) -> list[int | None]:
    return [None if value != value else int(value.value // 1_000) for value in times]  # noqa: PLR0124 - NaT
