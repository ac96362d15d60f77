"""One CSV or Parquet file: whether it is complete, what identifies it, and its rows.

A fresh file is judged complete by its two ends, so that a file of any size costs the same. The hash reads the bytes in
blocks, and only the parser looks at every row. No message quotes a row, because messages go to logs and tables.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import re
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from evergreen.sources.base import Batch

if TYPE_CHECKING:
    import pandas as pd

SETTLE_SECONDS = 600.0
"""A file that is incomplete for this long is taken to stay so; a copy touches its file far more often."""

LAST_LINE_SECONDS = 5.0
"""After this long, a last line with every field but without a line break is taken to be complete."""

BLOCK_BYTES = 1 << 20

EMPTY = "it is empty"
NO_ROWS = "it has a header and no rows"
TRUNCATED = "it is cut short: the end of the compressed data is missing"
OPEN_QUOTE = "it is cut short: a quote is never closed"
INCOMPLETE = (EMPTY, NO_ROWS, TRUNCATED, OPEN_QUOTE)
"""Problems that more bytes would fix."""

_TOO_MANY_FIELDS = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")


class _RejectedError(Exception):
    """A file whose content cannot be used; the message says why and never quotes a row."""


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


def format_of(file: Path) -> str:
    """The format by the file's name: `csv`, `csv.gz` or `parquet`; empty for any other."""
    name = file.name.lower()
    return next((kind for kind in ("csv", "csv.gz", "parquet") if name.endswith(f".{kind}")), "")


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
    kind, actual_kind, has_zero_bytes = format_of(file), "csv", False
    with file.open("rb", buffering=0) as handle:
        while block := handle.read(BLOCK_BYTES):
            if handle.tell() == len(block):
                actual_kind = _format_by_content(block)
            has_zero_bytes = has_zero_bytes or (kind == "csv" and b"\0" in block)
            digest.update(block)
    if not kind:
        return hash_parts(file.suffix, digest.digest()), "it is not a CSV or Parquet file"
    if actual_kind != kind:
        return hash_parts(kind, digest.digest()), f"its name ends in .{kind}, and its content is something else"
    return digest.hexdigest()[:32], "it is not text: it holds zero bytes" if has_zero_bytes else ""


def read_rows(file: Path) -> tuple[pd.DataFrame | None, str]:
    """Read the rows of a file; returns None and the reason if they cannot be read."""
    kind = format_of(file)
    try:
        return (_read_parquet(file) if kind == "parquet" else _read_csv(file, kind)), ""
    except Exception as error:
        return None, describe_error(error, kind)


def read_batch(file: Path, batch: str, origin: str, revision: str = "") -> Batch:
    """Read a complete file as the batch with the id `batch`."""
    _, problem = identify_file(file)
    frame, problem = (None, problem) if problem else read_rows(file)
    return Batch(batch, origin, frame, problem, file, revision=revision)


def read_csv_pieces(file: Path, rows: int, types: Mapping[str, str] | None = None) -> Iterator[pd.DataFrame]:
    """Read a CSV file in pieces of `rows` rows, each with the types that suit it, or with `types`.

    An error is raised at the piece that it concerns; `describe_error` says it in words.
    """
    kind = format_of(file)
    names, separator = _read_header(file, kind)
    for piece in _parse_pieces(file, kind, separator, rows, types):
        _refuse_shifted(piece)
        _refuse_unusable(names, rows=len(piece))
        yield piece


def describe_error(error: Exception, kind: str) -> str:
    """What an error says of a file's content, in words. An error that is not about the content is raised again."""
    import pyarrow as pa
    from pandas.errors import EmptyDataError, ParserError

    if isinstance(error, _RejectedError):
        return str(error)
    if isinstance(error, EmptyDataError):
        return EMPTY
    if isinstance(error, ParserError):
        return _describe_parser_error(str(error))
    if isinstance(error, UnicodeDecodeError):
        return "its text is not UTF-8"
    if isinstance(error, EOFError):
        return TRUNCATED
    decoding = (OSError, ValueError, OverflowError, csv.Error, zlib.error, pa.ArrowException)
    # The operating system's errors have a number; what a decoder raises about the content has none.
    if not isinstance(error, decoding) or (isinstance(error, OSError) and error.errno is not None):
        raise error
    return f"it is damaged: it cannot be read as {kind}"


def refuse_duplicate_columns(names: Sequence[str]) -> None:
    """Raise an error for `describe_error` if two columns have one name."""
    for number, name in enumerate(names):
        if name and names.index(name) < number:
            raise _RejectedError(f"columns {names.index(name) + 1} and {number + 1} have the same name")


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
    if start <= 0:
        return (NO_ROWS if any(lines) else EMPTY) if tail_is_all else ""
    try:
        names, separator = _parse_header(head)
        fields = len(_first_row(b"\n".join(lines[start:]), separator))
    except (_RejectedError, csv.Error):
        return ""
    return f"its last row has {fields} of {len(names)} fields" if fields < len(names) else ""


def _first_row(text: bytes, separator: str) -> list[str]:
    """The fields of the first row of `text`."""
    return next(csv.reader(io.StringIO(text.decode("utf-8", "replace"), newline=""), delimiter=separator), [])


def _parse_header(head: bytes) -> tuple[list[str], str]:
    """The names of the columns, and the separator."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n ")
    line = next(iter(text.splitlines()), b"")
    if len(line) == BLOCK_BYTES:
        raise _RejectedError("its first line is longer than 1 MiB")
    separator = "," if b"," in line else next((mark for mark in ";\t" if mark.encode() in line), ",")
    return _first_row(text, separator), separator


def _describe_parser_error(message: str) -> str:
    """What pandas' message says, without the row that it may quote."""
    if match := _TOO_MANY_FIELDS.search(message):
        expected, line, actual = match.groups()
        return f"line {line} has {actual} fields, and the header has {expected}"
    return OPEN_QUOTE if "EOF inside string" in message else "it cannot be read as CSV"


def _read_parquet(file: Path) -> pd.DataFrame:
    import pandas as pd

    with file.open("rb") as handle:
        # An open file, not a path: a folder named `year=2011` would otherwise add a column.
        frame = pd.read_parquet(handle, engine="pyarrow")
    _refuse_unusable(list(map(str, frame.columns)), rows=len(frame))
    return frame.reset_index(drop=frame.index.names == [None])


def _read_csv(file: Path, kind: str) -> pd.DataFrame:
    from pandas.errors import DtypeWarning

    names, separator = _read_header(file, kind)
    # By path and as UTF-8 the parser reads the bytes itself; an open file would pass through Python's decoder first.
    # In pieces it takes half the time and memory, as long as the pieces agree on every column's type.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DtypeWarning)
            frame = _parse(file, kind, separator, in_pieces=True)
    except DtypeWarning:
        frame = _parse(file, kind, separator, in_pieces=False)
    _refuse_shifted(frame)
    _refuse_unusable(names, rows=len(frame))
    return frame


def _read_header(file: Path, kind: str) -> tuple[list[str], str]:
    """The names of a CSV file's columns, and the separator; a file that ends within a row is refused."""
    if kind == "csv.gz":
        with gzip.open(file) as handle:
            head = handle.read(BLOCK_BYTES)
    else:
        size = file.stat().st_size
        head, tail = _read_ends(file, size)
        # The parser would fill the row up with missing values.
        if truncation := _truncation(head, tail, tail_is_all=size <= BLOCK_BYTES):
            raise _RejectedError(truncation)
    return _parse_header(head)


def _parse(file: Path, kind: str, separator: str, *, in_pieces: bool) -> pd.DataFrame:
    import pandas as pd

    return pd.read_csv(str(file), sep=separator, engine="c", low_memory=in_pieces, compression=_compression(kind))


def _parse_pieces(
    file: Path, kind: str, separator: str, rows: int, types: Mapping[str, str] | None
) -> Iterator[pd.DataFrame]:
    import pandas as pd

    compression = _compression(kind)
    with pd.read_csv(
        str(file), sep=separator, engine="c", low_memory=False, compression=compression, chunksize=rows, dtype=types
    ) as pieces:
        yield from pieces


def _compression(kind: str) -> Literal["gzip"] | None:
    return "gzip" if kind == "csv.gz" else None


def _refuse_shifted(frame: pd.DataFrame) -> None:
    import pandas as pd

    if not isinstance(frame.index, pd.RangeIndex):
        raise _RejectedError("its first row has more fields than its header")


def _refuse_unusable(names: list[str], *, rows: int) -> None:
    refuse_duplicate_columns(names)
    if not rows:
        raise _RejectedError(NO_ROWS)
