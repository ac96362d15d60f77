"""Arrow files for the rows of an input on their way to the pipeline: written and read at the speed of memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from evergreen.data.written_text import MISSING_BEFORE, as_kind, blank_missing, guessed_kind, join_kinds
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
    """Read a CSV file in pieces, each cell as it is written; Arrow files in `folder` hold the pieces.

    With `texts`, columns that hold nothing but numbers in the whole file become numbers, except those named there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    kinds: dict[str, set[str]] = {}
    for number, table in enumerate(read_csv_pieces(file, encoding)):
        paths.append(folder / f"{number:06}.arrow")
        write_arrow(table, paths[-1])
        if texts is not None:
            frame = table.to_pandas()
            for name in frame.columns:
                cells = blank_missing(frame[name], MISSING_BEFORE, trimmed=True)
                kinds.setdefault(name, set()).add("str" if name in texts else guessed_kind(cells))
    for path in paths:
        table = read_arrow(str(path))
        yield table if texts is None else _as_kinds(table, {name: join_kinds(found) for name, found in kinds.items()})
        path.unlink()


def _as_kinds(table: pa.Table, kinds: Mapping[str, str]) -> pa.Table:
    import pyarrow as pa

    frame = table.to_pandas()
    types = {"int": pa.int64(), "float": pa.float64(), "null": pa.float64(), "bool": pa.bool_(), "str": pa.string()}
    columns = {
        name: pa.array(as_kind(frame[name], kind, MISSING_BEFORE), types[kind], from_pandas=True)
        for name, kind in kinds.items()
    }
    return pa.table(columns)
