"""Arrow files for the rows of an input on their way to the pipeline: written and read at the speed of memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from evergreen.sources.file_formats import read_csv_pieces

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

PIECE_ROWS = 50_000
"""Rows that are parsed at a time."""


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


def stage_csv(file: Path, folder: Path) -> Iterator[pa.Table]:
    """Read a CSV file in pieces whose columns agree in their types; Arrow files in `folder` hold the pieces."""
    folder.mkdir(parents=True, exist_ok=True)
    paths, kinds = _write_pieces(read_csv_pieces(file, PIECE_ROWS), folder)
    if types := _common_types(kinds):
        # The pieces disagree: parse again, in the types that suit them all, as if the file were parsed in one piece.
        paths, _ = _write_pieces(read_csv_pieces(file, PIECE_ROWS, types), folder)
    for path in paths:
        yield read_arrow(str(path))
        path.unlink()


def _write_pieces(pieces: Iterator[pd.DataFrame], folder: Path) -> tuple[list[Path], dict[str, set[str]]]:
    """Write pieces to files; returns their paths, and the kinds of values that each column has in them."""
    import pyarrow as pa

    paths: list[Path] = []
    kinds: dict[str, set[str]] = {}
    for number, piece in enumerate(pieces):
        for name in piece.columns:
            kinds.setdefault(str(name), set()).add(_kind(piece[name]))
        text_columns = {name: "str" for name in piece.columns if _kind(piece[name]) == "str"}
        paths.append(folder / f"{number:06}.arrow")
        table = pa.Table.from_pandas(piece.astype(text_columns), preserve_index=False)
        write_arrow(table.replace_schema_metadata(None), paths[-1])
    return paths, kinds


def _kind(column: pd.Series) -> str:
    import pandas as pd

    if column.isna().all():
        return "null"
    if pd.api.types.infer_dtype(column, skipna=True) == "boolean":
        return "boolean"
    return str(column.dtype) if pd.api.types.is_numeric_dtype(column.dtype) else "str"


def _common_types(kinds: Mapping[str, set[str]]) -> dict[str, str]:
    """Types for a second parse, as the parser would choose them for the whole column; empty if all pieces agree."""
    if all(len(column_kinds) == 1 for column_kinds in kinds.values()):
        return {}
    types = {}
    for name, column_kinds in kinds.items():
        value_kinds = column_kinds - {"null"}
        if value_kinds == {"boolean"}:
            types[name] = "boolean"
        elif value_kinds <= {"int64", "uint64", "float64"}:
            types[name] = value_kinds.pop() if len(column_kinds) == 1 else "float64"
        else:
            types[name] = "str"
    return types
