"""One CSV or Parquet file: whether it is complete, what identifies it, and its rows.

A fresh file is judged complete by its two ends, so that a file of any size costs the same. The hash reads the bytes in
blocks, and only the parser looks at every row. No message quotes a row, because messages go to logs and tables.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evergreen.sources.base import Batch
from evergreen.sources.csv_dialect import Dialect
from evergreen.sources.csv_file import (
    BLOCK_BYTES,
    EMPTY,
    NO_ROWS,
    OPEN_QUOTE,
    PIECE_BYTES,
    RejectedFileError,
    read_dialect,
    read_text,
    read_text_pieces,
    refuse_duplicate_columns,
)
from evergreen.sources.text_encoding import find_encoding
from evergreen.sources.typed_frames import frame_of_table

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SETTLE_SECONDS = 600.0
"""A file that is incomplete for this long is taken to stay so; a copy touches its file far more often."""

LAST_LINE_SECONDS = 5.0
"""After this long, a last line with every field but without a line break is taken to be complete."""

TRUNCATED = "it is cut short: the end of the compressed data is missing"
INCOMPLETE = (EMPTY, NO_ROWS, TRUNCATED, OPEN_QUOTE)
"""Problems that more bytes would fix."""
_NOT_TEXT = ("it is not text: it holds zero bytes", "its text is UTF-16; save it as UTF-8")


@dataclass(frozen=True, slots=True)
class FileEnds:
    """What the two ends of a fresh file say.

    Attributes:
        reason: why to wait for the file; empty to read it.
        doubt: only reading the whole file can tell that it is incomplete.
    """

    reason: str = ""
    doubt: bool = False


def hash_parts(*parts: str | bytes) -> str:
    """Hash texts and bytes; 32 hex digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update((part.encode() if isinstance(part, str) else part) + b"\0")
    return digest.hexdigest()[:32]


_FORMATS = {".csv": "csv", ".tsv": "csv", ".csv.gz": "csv.gz", ".tsv.gz": "csv.gz", ".parquet": "parquet"}
"""The format by the ending of a name. What separates the columns of a CSV file is read from its first lines."""


def ending_of(file: Path) -> str:
    """The ending of a name that says the format, such as `.csv.gz`, in small letters; empty for any other file."""
    name = file.name.lower()
    return next((ending for ending in _FORMATS if name.endswith(ending)), "")


def format_of(file: Path) -> str:
    """The format by the file's name: `csv`, `csv.gz` or `parquet`; empty for any other."""
    return _FORMATS.get(ending_of(file), "")


def inspect_ends(file: Path, size: int, age: float) -> FileEnds:
    """Look at both ends of a file of `size` bytes that changed `age` seconds ago.

    A file that is too old to wait for is not opened.
    """
    kind = format_of(file)
    if age >= SETTLE_SECONDS or not kind:
        return FileEnds()
    if size == 0:
        return FileEnds(EMPTY)
    if kind == "csv.gz":
        return FileEnds(doubt=True)
    head, tail = _read_ends(file, size)
    if kind == "parquet":
        return FileEnds("" if size >= 12 and tail.endswith(b"PAR1") else "it has no Parquet footer yet")
    reason = _truncation(head, tail, tail_is_all=size <= BLOCK_BYTES)
    if not reason and age < LAST_LINE_SECONDS and not tail.endswith((b"\n", b"\r")):
        reason = "its last line may not be complete"
    return FileEnds(reason, doubt=b'"' in tail)


def identify_file(file: Path) -> tuple[str, str]:
    """Read a file's id from its content; returns the id and what is wrong with the file at first sight, or empty.

    A file whose content does not match its name has an id of another kind, so that it counts as new once it is renamed.
    """
    digest = hashlib.sha256()
    kind, actual_kind, has_zero_bytes, is_utf16 = format_of(file), "csv", False, False
    with file.open("rb", buffering=0) as handle:
        while block := handle.read(BLOCK_BYTES):
            if handle.tell() == len(block):
                actual_kind = _format_by_content(block)
                is_utf16 = block.startswith((b"\xff\xfe", b"\xfe\xff"))
            has_zero_bytes = has_zero_bytes or (kind == "csv" and b"\0" in block)
            digest.update(block)
    if not kind:
        return hash_parts(file.suffix, digest.digest()), "it is not a CSV or Parquet file"
    if actual_kind != kind:
        problem = f"its name ends in {ending_of(file)}, and its content is something else"
        return hash_parts(kind, digest.digest()), problem
    return digest.hexdigest()[:32], _NOT_TEXT[is_utf16] if has_zero_bytes else ""


def read_rows(file: Path, encoding: str = "utf-8") -> tuple[pd.DataFrame | None, str]:
    """Read the rows of a file; returns None and the reason if they cannot be read.

    The cells of a CSV file are texts, as they are written, in UTF-8 or the encoding that is named.
    """
    kind = format_of(file)
    try:
        if kind == "parquet":
            return _read_parquet(file), ""
        return read_text(file, _read_dialect(file, kind, encoding), packed=kind == "csv.gz"), ""
    except Exception as error:
        return None, describe_error(error, kind)


def read_batch(file: Path, batch: str, origin: str, revision: str = "") -> Batch:
    """Read a complete file as the batch with the id `batch`."""
    _, problem = identify_file(file)
    frame, problem = (None, problem) if problem else read_rows(file)
    return Batch(batch, origin, frame, problem, file, revision=revision, written=is_written(file))


def is_written(file: Path) -> bool:
    """Whether the cells of a file are texts whose meaning is the contract's to say."""
    return format_of(file).startswith("csv")


def read_csv_pieces(file: Path, encoding: str = "utf-8", block: int = PIECE_BYTES) -> Iterator[pa.Table]:
    """Read a CSV file in pieces of `block` bytes, each cell as it is written, in UTF-8 or the encoding that is named.

    An error is raised at the piece that it concerns; `describe_error` says it in words.
    """
    kind = format_of(file)
    return read_text_pieces(file, _read_dialect(file, kind, encoding), block, packed=kind == "csv.gz")


def describe_error(error: Exception, kind: str) -> str:
    """What an error says of a file's content, in words. An error that is not about the content is raised again."""
    import pyarrow as pa

    if isinstance(error, RejectedFileError):
        return str(error)
    if isinstance(error, EOFError):
        return TRUNCATED
    decoding = (OSError, ValueError, OverflowError, csv.Error, zlib.error, pa.ArrowException)
    # The operating system's errors have a number; what a decoder raises about the content has none.
    if not isinstance(error, decoding) or (isinstance(error, OSError) and error.errno is not None):
        raise error
    return f"it is damaged: it cannot be read as {kind}"


def _format_by_content(block: bytes) -> str:
    if block.startswith(b"PAR1"):
        return "parquet"
    return "csv.gz" if block.startswith(b"\x1f\x8b") else "csv"


def _read_ends(file: Path, size: int) -> tuple[bytes, bytes]:
    with file.open("rb") as handle:
        head = handle.read(BLOCK_BYTES)
        handle.seek(max(0, size - BLOCK_BYTES))
        return head, handle.read(BLOCK_BYTES)


def _truncation(head: bytes, tail: bytes, *, tail_is_all: bool) -> str:
    """Why a CSV file looks cut short, by its last row; empty if it does not."""
    lines = tail.rstrip(b"\r\n ").removeprefix(b"\xef\xbb\xbf").splitlines()
    # A row may span lines inside quotes. All lines of a row together hold an even number of quotes: walk up until the
    # number is even.
    start = len(lines) - 1
    quotes = lines[start].count(b'"') if lines else 0
    while quotes % 2 and start > 0:
        start -= 1
        quotes += lines[start].count(b'"')
    if quotes % 2:
        # A quote that is never closed, or one within a plain cell: the reader tells them apart.
        return ""
    if start <= 0:
        return (NO_ROWS if any(lines) else EMPTY) if tail_is_all else ""
    try:
        dialect = read_dialect(head)
        fields = len(_first_row(b"\n".join(lines[start:]), dialect.separator))
    except (RejectedFileError, csv.Error):
        return ""
    if start <= dialect.skipped:
        return NO_ROWS if tail_is_all else ""
    return f"its last row has {fields} of {len(dialect.names)} fields" if fields < len(dialect.names) else ""


def _first_row(text: bytes, separator: str) -> list[str]:
    """The fields of the first row of `text`."""
    return next(csv.reader(io.StringIO(text.decode("utf-8", "replace"), newline=""), delimiter=separator), [])


def _read_parquet(file: Path) -> pd.DataFrame:
    import pyarrow.parquet as pq

    # An open file, not a path: a folder named `year=2011` would otherwise add a column.
    with file.open("rb") as handle, pq.ParquetFile(handle) as parquet:
        table = parquet.read()
    _refuse_unusable(table.column_names, rows=table.num_rows)
    return frame_of_table(table)


def _read_dialect(file: Path, kind: str, named: str) -> Dialect:
    """The dialect of a CSV file; a file that ends within a row is refused."""
    if kind == "csv.gz":
        encoding = find_encoding(file, named, packed=True)
        with gzip.open(file) as handle:
            return read_dialect(handle.read(BLOCK_BYTES), encoding)
    size = file.stat().st_size
    head, tail = _read_ends(file, size)
    if truncation := _truncation(head, tail, tail_is_all=size <= BLOCK_BYTES):
        raise RejectedFileError(truncation)
    return read_dialect(head, find_encoding(file, named, packed=False))


def _refuse_unusable(names: list[str], *, rows: int) -> None:
    refuse_duplicate_columns(names)
    if not rows:
        raise RejectedFileError(NO_ROWS)
