"""Arrow files for the rows of an input on their way to the pipeline: written and read at the speed of memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from evergreen.data.written_text import MISSING_BEFORE, as_kind, blank_missing, guessed_kind, join_kinds
from evergreen.sources.csv_file import LONGEST_ROW, RowTooLongError
from evergreen.sources.file_formats import read_csv_pieces

if TYPE_CHECKING:
    import pyarrow as pa

PIECE_ROWS = 50_000
"""Rows of a Parquet file that are decoded at a time."""


def write_arrow(table: pa.Table, path: Path) -> None:
    """Write rows to an Arrow file."""
    import pyarrow as pa

    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def read_arrow(path: str) -> pa.Table:
    """Read the rows of an Arrow file into memory."""
    import pyarrow as pa

    with pa.OSFile(path, "rb") as stream, pa.ipc.open_file(stream) as reader:
        return reader.read_all()


def stage_csv(
    file: Path, folder: Path, texts: frozenset[str] | None = None, encoding: str = "utf-8"
) -> Iterator[pa.Table]:
    """Read a CSV file in pieces, each cell as it is written; an Arrow file in `folder` holds them.

    With `texts`, columns that hold nothing but numbers in the whole file become numbers, except those named there.
    """
    import pyarrow as pa

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "rows.arrow"
    try:
        found = _stage(read_csv_pieces(file, encoding), path, texts)
    except RowTooLongError:
        found = _stage(read_csv_pieces(file, encoding, LONGEST_ROW), path, texts)
    kinds = {name: join_kinds(each) for name, each in found.items()}
    with pa.OSFile(str(path), "rb") as stream, pa.ipc.open_file(stream) as reader:
        for number in range(reader.num_record_batches):
            table = pa.Table.from_batches([reader.get_batch(number)])
            yield table if texts is None else _as_kinds(table, kinds)
    path.unlink()


def _stage(tables: Iterator[pa.Table], path: Path, texts: frozenset[str] | None) -> dict[str, set[str]]:
    """Write tables to an Arrow file; returns, with `texts`, the kinds of values that each column holds."""
    import pyarrow as pa

    kinds: dict[str, set[str]] = {}
    first = next(tables)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, first.schema) as writer:
        for table in chain([first], tables):
            writer.write_table(table)
            frame = table.to_pandas() if texts is not None else ()
            for name in frame:
                cells = blank_missing(frame[name], MISSING_BEFORE, trimmed=True)
                kinds.setdefault(name, set()).add("str" if name in (texts or ()) else guessed_kind(cells))
    return kinds


def _as_kinds(table: pa.Table, kinds: Mapping[str, str]) -> pa.Table:
    import pyarrow as pa

    frame = table.to_pandas()
    types = {"int": pa.int64(), "float": pa.float64(), "null": pa.float64(), "bool": pa.bool_(), "str": pa.string()}
    columns = {
        name: pa.array(as_kind(frame[name], kind, MISSING_BEFORE), types[kind], from_pandas=True)
        for name, kind in kinds.items()
    }
    return pa.table(columns)
