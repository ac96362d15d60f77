"""The input of a scoring, as a stream of bounded chunks, each in a small file that a task reads by itself.

A file or a table is identified by its content, so that one that comes again is recognised. A CSV file is read to its
end before its first row is scored: only then it is known whether it is complete.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from evergreen.data.contract import contract_digest, encoding_of, gets_guesses, schema_of, text_columns
from evergreen.data.observations import Observations
from evergreen.data.prediction_log import PredictionLog, Progress
from evergreen.errors import DataError
from evergreen.scoring.staging import PIECE_ROWS, stage_csv, write_arrow
from evergreen.sources.csv_file import NO_ROWS, refuse_duplicate_columns
from evergreen.sources.file_formats import describe_error, format_of, hash_parts, identify_file, inspect_ends
from evergreen.storage.delta_table import Table

if TYPE_CHECKING:
    import pyarrow as pa

FIX_INPUT = "Fix it and score it again; it was left where it is."


class InputError(DataError):
    """An input that cannot be scored as a whole."""


@dataclass(frozen=True, slots=True)
class ScoringInput:
    """What a run scores.

    Attributes:
        kind: a file, a Delta table, or the observations that have no prediction yet.
        batch: its id in the log.
        name: as a person would name it.
        location: path or URL.
        version: of the table; 0 for a file.
        start: position of the first row to score.
        end: position after the last row; None if it is only known at the end.
        problem: why the input cannot be read; empty otherwise.
    """

    kind: Literal["file", "table", "observations"]
    batch: str
    name: str
    location: str
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
        end: position after the last row.
        landed: the rows are observations, which have the contract's columns and their position as `_row`.
        written: the cells are texts of a file, as `Batch.written`.
    """

    number: int
    path: str
    first: int
    end: int
    landed: bool = False
    written: bool = False


def resolve(
    observations: Observations, log: PredictionLog, source: str | None, version: int, now: datetime
) -> ScoringInput:
    """Find the input of a scoring, and where a killed run stopped.

    Args:
        observations: of the model.
        log: its prediction log.
        source: a file, a Delta table (a folder or a URL), or None for the observations without a prediction.
        version: of the model that scores.
        now: a file's age is measured from this (aware).

    Raises:
        DataError: there is nothing of this name, or it is still being written.
    """
    if source is None:
        return _resolve_observations(observations, log)
    conditions = contract_digest(log.spec), str(version)
    if "://" not in source and Path(source).expanduser().is_file():
        return _resolve_file(Path(source).expanduser(), log, conditions, now)
    return _resolve_table(source, log, conditions)


def _resolve_observations(observations: Observations, log: PredictionLog) -> ScoringInput:
    snapshot = observations.snapshot()
    # Of this table only: in a table that was started anew, rows are numbered from 0 again.
    prefix = f"observations-{hash_parts(observations.identity())[:8]}-"
    last = log.latest(prefix) or Progress("", closed=True)
    batch = f"{prefix}{last.next_row:015}" if last.closed else last.batch
    return ScoringInput(
        "observations", batch, "new observations", snapshot.table, snapshot.version, last.next_row, snapshot.next_row
    )


def _resolve_file(file: Path, log: PredictionLog, conditions: tuple[str, ...], now: datetime) -> ScoringInput:
    location = str(file.absolute())
    try:
        status = file.stat()
        if reason := inspect_ends(file, status.st_size, abs(now.timestamp() - status.st_mtime)).reason:
            if not status.st_size:
                return ScoringInput("file", hash_parts("empty", *conditions), file.name, location, problem=reason)
            raise DataError(f"{file} is not complete: {reason}.", "Wait until it is written, then run it again.")
        content, problem = identify_file(file)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.", "Check its owner and mode.") from None
    batch = hash_parts(content, *conditions)
    start = log.progress(batch).next_row
    end = None if problem else _parquet_row_count(file)
    return ScoringInput("file", batch, file.name, location, start=start, end=end, problem=problem)


def _parquet_row_count(file: Path) -> int | None:
    """How many rows a Parquet file has, by its footer; None for another file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if format_of(file) != "parquet":
        return None
    with contextlib.suppress(pa.ArrowException, OSError):
        return int(pq.read_metadata(file).num_rows)
    return None


def _resolve_table(source: str, log: PredictionLog, conditions: tuple[str, ...]) -> ScoringInput:
    import pyarrow as pa

    uri = source if "://" in source else str(Path(source).expanduser().absolute())
    table = Table(uri, pa.schema([]))
    name = uri.rstrip("/").rpartition("/")[2]
    try:
        exists = table.exists()
    except Exception as error:
        # An unknown scheme, a host that does not answer, no credentials; the message may show them.
        raise DataError(
            f"{name}: its location cannot be looked at ({type(error).__name__}).", "Check the URL."
        ) from None
    if not exists:
        what = "a folder, and no Delta table" if Path(uri).exists() else "not there"
        raise DataError(f"{source} is {what}.", "Name a .csv, .tsv, .csv.gz or .parquet file, or a Delta table.")
    opened = table.open()
    batch = hash_parts(str(opened.metadata().id), str(opened.version()), *conditions)
    return ScoringInput("table", batch, name, uri, opened.version(), log.progress(batch).next_row)


def require_readable(scoring_input: ScoringInput) -> None:
    """Refuse an input that is known to be unreadable.

    Raises:
        InputError: the input has a problem.
    """
    if scoring_input.problem:
        raise InputError(f"{scoring_input.name}: {scoring_input.problem}.", FIX_INPUT)


def write_chunks(
    scoring_input: ScoringInput, observations: Observations, folder: Path, rows: int, first: int
) -> Iterator[Chunk]:
    """Write the rows of an input, from its start on, to files in `folder`, at most `rows` rows in each.

    The chunks are numbered from `first`. Each is written when the iterator gets to it.

    Raises:
        DataError: the input cannot be read to its end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    is_landed = scoring_input.kind == "observations"
    is_csv = scoring_input.kind == "file" and format_of(Path(scoring_input.location)) != "parquet"
    # A `prepare` of before wants numbers, which are told from texts over the whole file.
    texts = text_columns(schema_of(observations.spec)) if is_csv and gets_guesses(observations.spec) else None
    if is_landed:
        pieces = _read_observations(scoring_input, observations, rows)
    else:
        is_file = scoring_input.kind == "file"
        encoding = encoding_of(observations.spec)
        tables = _read_file(scoring_input, folder, texts, encoding) if is_file else _read_table(scoring_input)
        pieces = _regroup(_skip_rows(tables, scoring_input.start), rows, scoring_input.start)
    for number, (table, start, end) in enumerate(pieces, first):
        path = folder / f"{number:06}.arrow"
        write_arrow(table, path)
        yield Chunk(number, str(path), start, end, is_landed, written=is_csv and texts is None)


def _regroup(tables: Iterable[pa.Table], rows: int, start: int) -> Iterator[tuple[pa.Table, int, int]]:
    """Regroup rows into tables of exactly `rows` rows, the last one perhaps shorter, with their positions."""
    import pyarrow as pa

    parts: list[pa.Table] = []
    count = 0
    for table in tables:
        rest = table
        while rest.num_rows:
            part = rest.slice(0, rows - count)
            rest = rest.slice(part.num_rows)
            parts.append(part)
            count += part.num_rows
            if count == rows:
                yield pa.concat_tables(parts), start, start + count
                start, parts, count = start + count, [], 0
    if parts:
        yield pa.concat_tables(parts), start, start + count


def _skip_rows(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    for table in tables:
        yield table.slice(min(rows, table.num_rows))
        rows -= min(rows, table.num_rows)


def _read_observations(
    scoring_input: ScoringInput, observations: Observations, rows: int
) -> Iterator[tuple[pa.Table, int, int]]:
    """Read the observations by their row numbers; a range of numbers without a row is skipped."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    names = [*observations.content, "_row"]
    end = scoring_input.end or 0
    for start in range(scoring_input.start, end, rows):
        stop = min(start + rows, end)
        where = (ds.field("_row") >= start) & (ds.field("_row") < stop)
        pieces = list(observations.table.scan(names, where, scoring_input.version))
        if any(piece.num_rows for piece in pieces):
            yield pa.Table.from_batches(pieces).sort_by("_row"), start, stop


def _read_table(scoring_input: ScoringInput) -> Iterator[pa.Table]:
    import pyarrow as pa

    table = Table(scoring_input.location, pa.schema([]))
    names = pa.schema(table.open(scoring_input.version).schema()).names
    for batch in table.scan(names, version=scoring_input.version):
        yield pa.Table.from_batches([batch])


def _read_file(
    scoring_input: ScoringInput, folder: Path, texts: frozenset[str] | None, encoding: str
) -> Iterator[pa.Table]:
    file = Path(scoring_input.location)
    kind = format_of(file)
    tables = _read_parquet(file) if kind == "parquet" else stage_csv(file, folder / "staged", texts, encoding)
    empty = True
    try:
        for table in tables:
            empty = empty and not table.num_rows
            yield table
    except Exception as error:
        raise InputError(f"{scoring_input.name}: {describe_error(error, kind)}.", FIX_INPUT) from None
    if empty:
        raise InputError(f"{scoring_input.name}: {NO_ROWS}.", FIX_INPUT)


def _read_parquet(file: Path) -> Iterator[pa.Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # An open file, not a path: a folder named `year=2011` would otherwise add a column.
    with file.open("rb") as handle, pq.ParquetFile(handle) as parquet:
        refuse_duplicate_columns(parquet.schema_arrow.names)
        for batch in parquet.iter_batches(batch_size=PIECE_ROWS):
            yield pa.Table.from_batches([batch])
