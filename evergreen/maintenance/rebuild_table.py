"""Give the stored observations the types of a changed contract.

A stored value says what it is in another type where that is exact: 3 as a decimal, the text "3.5" as a number. A number
that is to be a text is not: the file may have said 007 or 7. Such a column is taken from the files that its rows came
from, which have to be where they were. Row numbers, times of landing and labels stay, and so do the earlier versions of
the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evergreen.data.checked_batch import check_batch
from evergreen.data.coercion import Reader, kind_of
from evergreen.data.contract import schema_of
from evergreen.data.observations import Observations
from evergreen.data.row_errors import RowErrors
from evergreen.data.written_text import missing_words
from evergreen.errors import DataError
from evergreen.settings import Settings
from evergreen.sources.base import Waiting
from evergreen.sources.typed_frames import frame_of_table
from evergreen.spec.model import ModelSpec
from evergreen.storage.row_digest import row_hashes

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pandera.pandas import DataFrameSchema

EXACT_FLOAT = 2**53
"""Up to here a float64 holds every whole number."""


@dataclass(frozen=True, slots=True)
class ChangedColumn:
    """A column that got another type, and whether it was read from the files again."""

    name: str
    before: str
    after: str
    from_files: bool


@dataclass(frozen=True, slots=True)
class RebuiltTable:
    """What became of a model's observations.

    Attributes:
        model: its name.
        rows: how many rows the table has.
        version: the table's version now.
        columns: those that got another type; empty if all had the contract's types already.
    """

    model: str
    rows: int
    version: int
    columns: tuple[ChangedColumn, ...]

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        return asdict(self)


def rebuild_table(
    spec: ModelSpec, settings: Settings, *, now: datetime, step: Callable[[str], None] = lambda _text: None
) -> RebuiltTable:
    """Rewrite the observations in the contract's types, in one commit. All rows are in memory meanwhile.

    Args:
        spec: the model.
        settings: where its table and its files are.
        now: a row's time may not be later (aware).
        step: called with what was done.

    Raises:
        DataError: a stored value has no equal in the new type, or a file that is needed is not there any more; the
            table is left as it was.
        BusyError: another run wrote at the same time.
        EvergreenError: the table cannot be read or written.
    """
    import pyarrow as pa

    observations = Observations(settings.lake_uri, spec)
    table = observations.table
    opened = table.open()
    types = table.changed_types(opened)
    before = observations.snapshot(opened.version())
    batches = [batch for batch in table.scan(table.schema.names, version=opened.version()) if batch.num_rows]
    if not types or not batches:
        return RebuiltTable(spec.name, before.rows, before.version, ())
    stored, schema = pa.Table.from_batches(batches), schema_of(spec)
    # What a text is, only the file says; any other type follows from the stored value.
    unsaid = [name for name, (old, new) in types.items() if pa.types.is_string(new) and not pa.types.is_string(old)]
    columns: dict[str, Any] = {}
    for name in types:
        if name not in unsaid:
            columns[name] = _convert(stored.column(name), name, spec, schema)
            step(f"convert: {name}, {stored.num_rows} values")
    if unsaid:
        columns |= _read_again(stored, unsaid, list(types), observations, settings, now, step)
    rows = stored
    for name, values in columns.items():
        field = table.schema.field(name)
        rows = rows.set_column(rows.column_names.index(name), field, pa.array(values, field.type, from_pandas=True))
    observations.rewrite(rows.select(table.schema.names).cast(table.schema), f"rebuild:{before.version}", before)
    step(f"write: {rows.num_rows} rows")
    changed = tuple(
        ChangedColumn(name, str(old), str(new), name in unsaid) for name, (old, new) in sorted(types.items())
    )
    after = observations.snapshot()
    return RebuiltTable(spec.name, after.rows, after.version, changed)


def _convert(column: pa.ChunkedArray, name: str, spec: ModelSpec, schema: DataFrameSchema) -> pd.Series:
    """A stored column in the contract's type, each value exactly."""
    import pyarrow as pa

    values = frame_of_table(pa.table({name: column}))[name]
    errors = RowErrors(values.index)
    kind = kind_of(schema.columns[name].dtype)
    if kind == "number" and pa.types.is_integer(column.type):
        errors.reject((values.abs() > EXACT_FLOAT).fillna(False), f"{name}: too large for a decimal")
    reader = Reader(spec, missing_words(spec.reading, written=False), errors)
    read = reader.read_times(values, name) if kind == "time" else reader.read(values, name, schema.columns[name])
    rejected = errors.by_row()
    if len(rejected):
        raise DataError(
            f"{len(rejected)} of {len(values)} stored rows have no equal value of {name!r} in the new type "
            f"({rejected.iloc[0].removeprefix(f'{name}: ')}).",
            "Give the column another type in contract(); the table was left as it was.",
        )
    return read


def _read_again(
    stored: pa.Table,
    names: Sequence[str],
    changed: Sequence[str],
    observations: Observations,
    settings: Settings,
    now: datetime,
    step: Callable[[str], None],
) -> dict[str, list[object]]:
    """The values of columns as the source's batches have them, in the order of the stored rows."""
    import pyarrow as pa

    spec, schema = observations.spec, schema_of(observations.spec)
    # The target may have been set by a later label, and the changed columns cannot be compared.
    fixed = [name for name in schema.columns if name not in (*changed, spec.target)]
    batch_ids, numbers = stored.column("_batch").to_pylist(), stored.column("_row").to_numpy()
    positions: dict[str, list[int]] = {}
    for position in np.argsort(numbers, kind="stable"):
        positions.setdefault(batch_ids[position], []).append(int(position))
    values: dict[str, list[object]] = {name: [None] * stored.num_rows for name in names}
    for item in spec.source.read(settings.landing, lambda batch: batch in positions):
        if isinstance(item, Waiting) or item.frame is None or item.id not in positions:
            continue
        checked = check_batch(item.frame, spec, schema, now=now, written=item.written)
        if checked.problem:
            raise DataError(f"{item.name}: {checked.problem}.", "Fix contract(); the table was left as it was.")
        mine = positions.pop(item.id)
        fields = pa.schema([observations.table.schema.field(name) for name in [*fixed, *names]])
        read = pa.Table.from_pandas(checked.rows[[*fixed, *names]], schema=fields, preserve_index=False)
        places = _match(stored.take(mine), read, fixed)
        if lost := int((places < 0).sum()):
            raise DataError(
                f"{lost} of {len(mine)} stored rows of {item.name} are not among those that its file gives now.",
                "Undo what changed in prepare() or in contract(); the table was left as it was.",
            )
        for name in names:
            column = read.column(name).take(places).to_pylist()
            for position, value in zip(mine, column, strict=True):
                values[name][position] = value
        step(f"read: {item.name} again, {len(mine)} rows")
    if positions:
        _refuse_absent(stored, positions, names)
    return values


def _match(stored: pa.Table, read: pa.Table, names: Sequence[str]) -> npt.NDArray[np.int64]:
    """The row of `read` that each stored row is, -1 for none; equal rows are matched in their order."""
    import pandas as pd

    sides = []
    for rows in (stored, read):
        side = pd.DataFrame({"hash": row_hashes(rows, names)})
        sides.append(side.assign(count=side.groupby("hash").cumcount()))
    right = sides[1].assign(place=np.arange(read.num_rows))
    places = sides[0].merge(right, on=["hash", "count"], how="left")["place"]
    return np.asarray(places.fillna(-1), dtype=np.int64)


def _refuse_absent(stored: pa.Table, positions: Mapping[str, Sequence[int]], names: Sequence[str]) -> None:
    origins = stored.column("_origin")
    absent = sorted({str(origins[rows[0]].as_py()) for rows in positions.values()})
    count = sum(map(len, positions.values()))
    listed = ", ".join(absent[:3]) + (f" and {len(absent) - 3} more" if len(absent) > 3 else "")
    raise DataError(
        f"{count} stored rows came from {listed}, which the source does not have any more as it was, and the table "
        f"does not say how {', '.join(map(repr, names))} was written there.",
        "Put the files back as they were, or give the column its former type; the table was left as it was.",
    )
