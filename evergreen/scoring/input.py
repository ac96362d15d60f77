"""What is to be scored, as a stream of bounded chunks, each a small file that a task reads by itself.

A file and a table are known by their content, so that one that comes again is found. A CSV file is read through before
its first row is scored: its columns' types, and whether it is whole, are only known at its end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from evergreen.data.contract import contract_digest
from evergreen.data.observations import Observations
from evergreen.data.prediction_log import PredictionLog, Progress
from evergreen.errors import DataError
from evergreen.scoring.staging import PIECE, staged, write_arrow
from evergreen.settings import Settings
from evergreen.sources.file_formats import (
    NO_ROWS,
    describe_error,
    format_of,
    hash_parts,
    identify_file,
    inspect_ends,
    refuse_duplicate_columns,
)
from evergreen.spec.model import ModelSpec
from evergreen.storage.delta_table import Table

if TYPE_CHECKING:
    import pyarrow as pa

MEND = "Mend it and score it again; it was left where it is."


class InputError(DataError):
    """An input that cannot be scored as a whole."""


@dataclass(frozen=True, slots=True)
class Input:
    """What is to be scored.

    Attributes:
        kind: a file, a Delta table, or the observations that have no prediction yet.
        batch: its id in the log.
        name: as a person would name it.
        place: path or URL.
        version: of the table; 0 for a file.
        start: first position that is to be scored.
        end: position after the last; None where it is only known at the end.
        problem: why it cannot be read; empty otherwise.
    """

    kind: Literal["file", "table", "observations"]
    batch: str
    name: str
    place: str
    version: int = 0
    start: int = 0
    end: int | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A bounded number of rows of an input, in a file of their own.

    Attributes:
        number: counts from 0 within the batch.
        path: an Arrow file.
        first: position of the first row in the input.
        end: position after the last.
        landed: rows of the observations, which are in the contract's columns and bear their position as `_row`.
    """

    number: int
    path: str
    first: int
    end: int
    landed: bool = False


def resolve(spec: ModelSpec, settings: Settings, source: str | None, version: int, now: datetime) -> Input:
    """Find what is to be scored by model version `version`, and where a killed run stopped.

    `source` is a file, a Delta table (a folder or a URL), or None for the observations without a prediction; `now`
    (aware) is what a file's age is told by.

    Raises:
        DataError: there is nothing of this name, or it is still being written.
    """
    log = PredictionLog(settings.lake_uri, spec)
    if source is None:
        return _unscored(spec, settings, log)
    known = contract_digest(spec), str(version)
    if "://" not in source and Path(source).expanduser().is_file():
        return _file(Path(source).expanduser(), log, known, now)
    return _table(source, log, known)


def _unscored(spec: ModelSpec, settings: Settings, log: PredictionLog) -> Input:
    observations = Observations(settings.lake_uri, spec)
    snapshot = observations.snapshot()
    # Of this table only: rows of one that was started anew are numbered from 0 again.
    prefix = f"observations-{hash_parts(observations.identity())[:8]}-"
    last = log.latest(prefix) or Progress("", closed=True)
    batch = f"{prefix}{last.next_row:015}" if last.closed else last.batch
    return Input(
        "observations", batch, "new observations", snapshot.table, snapshot.version, last.next_row, snapshot.next_row
    )


def _file(file: Path, log: PredictionLog, known: tuple[str, ...], now: datetime) -> Input:
    try:
        held = file.stat()
        if reason := inspect_ends(file, held.st_size, abs(now.timestamp() - held.st_mtime)).reason:
            if not held.st_size:
                return Input("file", hash_parts("empty", *known), file.name, str(file.absolute()), problem=reason)
            raise DataError(f"{file} is not complete: {reason}.", "Wait until it is written, then run it again.")
        content, problem = identify_file(file)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.", "Check its owner and mode.") from None
    batch = hash_parts(content, *known)
    start = log.progress(batch).next_row
    end = None if problem else _counted(file)
    return Input("file", batch, file.name, str(file.absolute()), start=start, end=end, problem=problem)


def _counted(file: Path) -> int | None:
    """How many rows a file says it has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if format_of(file) != "parquet":
        return None
    with contextlib.suppress(pa.ArrowException, OSError):
        return int(pq.read_metadata(file).num_rows)
    return None


def _table(source: str, log: PredictionLog, known: tuple[str, ...]) -> Input:
    import pyarrow as pa

    place = source if "://" in source else str(Path(source).expanduser().absolute())
    table = Table(place, pa.schema([]))
    name = place.rstrip("/").rpartition("/")[2]
    try:
        found = table.exists()
    except Exception as error:
        # An unknown scheme, a host that does not answer, no credentials; the message may show them.
        raise DataError(f"{name}: its place cannot be looked at ({type(error).__name__}).", "Check the URL.") from None
    if not found:
        there = Path(place).exists()
        raise DataError(
            f"{source} is {'a folder, and no Delta table' if there else 'not there'}.",
            "Name a .csv, .csv.gz or .parquet file, or a Delta table.",
        )
    opened = table.open()
    batch = hash_parts(str(opened.metadata().id), str(opened.version()), *known)
    return Input("table", batch, name, place, opened.version(), log.progress(batch).next_row)


def require_readable(found: Input) -> None:
    """Refuse an input of which it is known already that it cannot be read.

    Raises:
        InputError: why not.
    """
    if found.problem:
        raise InputError(f"{found.name}: {found.problem}.", MEND)


def chunks_of(
    found: Input, spec: ModelSpec, settings: Settings, folder: Path, rows: int, first: int
) -> Iterator[Chunk]:
    """Write the rows of an input from `found.start` on to files in `folder`, at most `rows` in each.

    They are numbered from `first`. A chunk is written when it is asked for.

    Raises:
        DataError: the input cannot be read to its end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if found.kind == "observations":
        pieces = _landed(found, spec, settings, rows)
    else:
        streams = _file_rows(found, folder) if found.kind == "file" else _table_rows(found)
        pieces = _positioned(_without_first(streams, found.start), rows, found.start)
    for number, (table, start, end) in enumerate(pieces, first):
        path = folder / f"{number:06}.arrow"
        write_arrow(table, path)
        yield Chunk(number, str(path), start, end, found.kind == "observations")


def _positioned(tables: Iterable[pa.Table], rows: int, start: int) -> Iterator[tuple[pa.Table, int, int]]:
    """Tables of exactly `rows` rows, the last one perhaps shorter, with their positions."""
    import pyarrow as pa

    held: list[pa.Table] = []
    count = 0
    for table in tables:
        rest = table
        while rest.num_rows:
            part = rest.slice(0, rows - count)
            rest = rest.slice(part.num_rows)
            held.append(part)
            count += part.num_rows
            if count == rows:
                yield pa.concat_tables(held), start, start + count
                start, held, count = start + count, [], 0
    if held:
        yield pa.concat_tables(held), start, start + count


def _without_first(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    for table in tables:
        yield table.slice(min(rows, table.num_rows))
        rows -= min(rows, table.num_rows)


def _landed(found: Input, spec: ModelSpec, settings: Settings, rows: int) -> Iterator[tuple[pa.Table, int, int]]:
    """The observations by their numbers; a chunk of which nothing is there any more is passed over."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    observations = Observations(settings.lake_uri, spec)
    names = [*observations.content, "_row"]
    end = found.end or 0
    for start in range(found.start, end, rows):
        stop = min(start + rows, end)
        where = (ds.field("_row") >= start) & (ds.field("_row") < stop)
        held = list(observations.table.scan(names, where, found.version))
        if any(piece.num_rows for piece in held):
            yield pa.Table.from_batches(held).sort_by("_row"), start, stop


def _table_rows(found: Input) -> Iterator[pa.Table]:
    import pyarrow as pa

    table = Table(found.place, pa.schema([]))
    names = pa.schema(table.open(found.version).schema()).names
    for piece in table.scan(names, version=found.version):
        yield pa.Table.from_batches([piece])


def _file_rows(found: Input, folder: Path) -> Iterator[pa.Table]:
    file = Path(found.place)
    kind = format_of(file)
    rows = _parquet_rows(file) if kind == "parquet" else staged(file, folder / "staged")
    empty = True
    try:
        for table in rows:
            empty = empty and not table.num_rows
            yield table
    except Exception as error:
        raise InputError(f"{found.name}: {describe_error(error, kind)}.", MEND) from None
    if empty:
        raise InputError(f"{found.name}: {NO_ROWS}.", MEND)


def _parquet_rows(file: Path) -> Iterator[pa.Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # An open file, not a path: a folder named `year=2011` would otherwise add a column.
    with file.open("rb") as handle, pq.ParquetFile(handle) as parquet:
        refuse_duplicate_columns(parquet.schema_arrow.names)
        for batch in parquet.iter_batches(batch_size=PIECE):
            yield pa.Table.from_batches([batch])
