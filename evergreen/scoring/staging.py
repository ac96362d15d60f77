"""The files that rows pass through on their way to the pipeline: Arrow, written and read at the speed of memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from evergreen.sources.file_formats import read_csv_pieces

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

PIECE = 50_000
"""Rows that are parsed at a time."""


def write_arrow(table: pa.Table, path: Path) -> None:
    """Write rows to an Arrow file."""
    import pyarrow as pa

    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def read_arrow(path: str) -> pa.Table:
    """The rows of an Arrow file, in memory."""
    import pyarrow as pa

    with pa.OSFile(path, "rb") as stream, pa.ipc.open_file(stream) as reader:
        return reader.read_all()


def staged(file: Path, folder: Path) -> Iterator[pa.Table]:
    """A CSV file by way of Arrow files whose columns agree in their types."""
    folder.mkdir(parents=True, exist_ok=True)
    paths, kinds = _stage(read_csv_pieces(file, PIECE), folder)
    if types := _types(kinds):
        # Its pieces disagree: once more, in the types that suit them all, as if it had been parsed in one piece.
        paths, _ = _stage(read_csv_pieces(file, PIECE, types), folder)
    for path in paths:
        yield read_arrow(str(path))
        path.unlink()


def _stage(pieces: Iterator[pd.DataFrame], folder: Path) -> tuple[list[Path], dict[str, set[str]]]:
    """Pieces as files, and the kinds of values that each column has in them."""
    import pyarrow as pa

    paths: list[Path] = []
    kinds: dict[str, set[str]] = {}
    for number, piece in enumerate(pieces):
        for name in piece.columns:
            kinds.setdefault(str(name), set()).add(_kind(piece[name]))
        wordy = {name: "str" for name in piece.columns if _kind(piece[name]) == "str"}
        paths.append(folder / f"{number:06}.arrow")
        table = pa.Table.from_pandas(piece.astype(wordy), preserve_index=False)
        write_arrow(table.replace_schema_metadata(None), paths[-1])
    return paths, kinds


def _kind(column: pd.Series) -> str:
    import pandas as pd

    if column.isna().all():
        return "null"
    if pd.api.types.infer_dtype(column, skipna=True) == "boolean":
        return "boolean"
    return str(column.dtype) if pd.api.types.is_numeric_dtype(column.dtype) else "str"


def _types(kinds: Mapping[str, set[str]]) -> dict[str, str]:
    """Types for a second parse, as the parser would choose them for the whole column; empty where all pieces agree."""
    if all(len(found) == 1 for found in kinds.values()):
        return {}
    types = {}
    for name, found in kinds.items():
        named = found - {"null"}
        if named == {"boolean"}:
            types[name] = "boolean"
        elif named <= {"int64", "uint64", "float64"}:
            types[name] = named.pop() if len(found) == 1 else "float64"
        else:
            types[name] = "str"
    return types
