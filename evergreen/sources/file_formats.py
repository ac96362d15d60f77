"""One file of a landing folder: whether it is whole, what it is known by, and its rows.

Whole is judged from the two ends of a fresh file, so that a file of any size costs the same; the hash goes over the
bytes in blocks, and only the parser ever looks at every row. No message quotes a row: messages go to logs and tables.
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

if TYPE_CHECKING:
    import pandas as pd

SETTLE = 600.0
"""Seconds after which a file that is not complete is taken to stay so; a copy touches its file far more often."""

LAST_LINE = 5.0
"""Seconds after which a last line without a line break, but with every field, is taken to be whole."""

BLOCK = 1 << 20
EMPTY = "it is empty"
NO_ROWS = "it has a header and no rows"
TRUNCATED = "it is cut short: the end of the compressed data is missing"
OPEN_QUOTE = "it is cut short: a quote is never closed"
CUT = (EMPTY, NO_ROWS, TRUNCATED, OPEN_QUOTE)
"""What more bytes would mend."""

TOO_MANY = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")


class _RefusedError(Exception):
    """A file whose content cannot be taken; the message says why and never quotes a row."""


@dataclass(frozen=True, slots=True)
class Ends:
    """What the two ends of a fresh file say: why to wait, or whether only reading it whole can tell that it is cut."""

    reason: str = ""
    doubt: bool = False


def hashed(*parts: str | bytes) -> str:
    """Hash of texts and bytes, 32 hex digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update((part.encode() if isinstance(part, str) else part) + b"\0")
    return digest.hexdigest()[:32]


def format_of(file: Path) -> str:
    """What the name says it is; empty for neither CSV nor Parquet."""
    name = file.name.lower()
    return next((kind for kind in ("csv", "csv.gz", "parquet") if name.endswith(f".{kind}")), "")


def ends_of(file: Path, size: int, age: float) -> Ends:
    """Look at both ends of a file; one that is too old to wait for is not opened."""
    kind = format_of(file)
    if age >= SETTLE or not kind:
        return Ends()
    if size == 0:
        return Ends(EMPTY)
    if kind == "csv.gz":
        return Ends(doubt=True)
    head, tail = _head_and_tail(file, size)
    if kind == "parquet":
        return Ends("" if size >= 12 and tail.endswith(b"PAR1") else "it has no Parquet footer yet")
    reason = _short(head, tail, whole=size <= BLOCK)
    if not reason and age < LAST_LINE and not tail.endswith((b"\n", b"\r")):
        reason = "its last line may not be whole"
    return Ends(reason, doubt=b'"' in tail)


def _head_and_tail(file: Path, size: int) -> tuple[bytes, bytes]:
    with file.open("rb") as handle:
        head = handle.read(BLOCK)
        handle.seek(max(0, size - BLOCK))
        return head, handle.read(BLOCK)


def _short(head: bytes, tail: bytes, *, whole: bool) -> str:
    """Why a CSV file looks cut, from its last row; empty if it does not. `whole`: the tail is all of the file."""
    lines = tail.rstrip(b"\r\n ").removeprefix(b"\xef\xbb\xbf").splitlines()
    # A row may span lines inside quotes. A line that ends such a row holds an odd number of quotes, and so do all lines
    # of a row together hold an even one: walk up until the number is even.
    start = len(lines) - 1
    quotes = lines[start].count(b'"') if lines else 0
    while quotes % 2 and start > 0:
        start -= 1
        quotes += lines[start].count(b'"')
    if start <= 0:
        return (NO_ROWS if any(lines) else EMPTY) if whole else ""
    try:
        names, separator = _header(head)
        held = len(_fields(b"\n".join(lines[start:]), separator))
    except (_RefusedError, csv.Error):
        return ""
    return f"its last row has {held} of {len(names)} fields" if held < len(names) else ""


def _fields(text: bytes, separator: str) -> list[str]:
    """The fields of the first row of `text`."""
    return next(csv.reader(io.StringIO(text.decode("utf-8", "replace"), newline=""), delimiter=separator), [])


def _header(head: bytes) -> tuple[list[str], str]:
    """Names of the columns, and what separates them."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n ")
    line = next(iter(text.splitlines()), b"")
    if len(line) == BLOCK:
        raise _RefusedError("its first line is longer than 1 MiB")
    separator = "," if b"," in line else next((mark for mark in ";\t" if mark.encode() in line), ",")
    return _fields(text, separator), separator


def known_by(file: Path) -> tuple[str, str]:
    """Id of the content, and what is wrong with it at first sight.

    A file that is not what its name says has an id of its own kind: renamed to what it is, it is new.
    """
    digest = hashlib.sha256()
    kind, found, binary = format_of(file), "csv", False
    with file.open("rb", buffering=0) as handle:
        while block := handle.read(BLOCK):
            if handle.tell() == len(block):
                found = "parquet" if block.startswith(b"PAR1") else "csv.gz" if block.startswith(b"\x1f\x8b") else "csv"
            binary = binary or (kind == "csv" and b"\0" in block)
            digest.update(block)
    if not kind:
        return hashed(file.suffix, digest.digest()), "it is not a CSV or Parquet file"
    if found != kind:
        return hashed(kind, digest.digest()), f"its name ends in .{kind}, and its content is something else"
    return digest.hexdigest()[:32], "it is not text: it holds zero bytes" if binary else ""


def rows_of(file: Path) -> tuple[pd.DataFrame | None, str]:
    """The rows of a file, or why there are none."""
    kind = format_of(file)
    try:
        return (_parquet(file) if kind == "parquet" else _csv(file, kind)), ""
    except Exception as error:
        return None, problem_of(error, kind)


def csv_pieces(file: Path, rows: int, types: Mapping[str, str] | None = None) -> Iterator[pd.DataFrame]:
    """A CSV file in pieces of `rows` rows, each with the types that suit it, or with given ones.

    What is wrong with the file is raised where it is found; `problem_of` says it in words.
    """
    kind = format_of(file)
    names, separator = _names(file, kind)
    for piece in _parser(file, kind, separator, rows, types):
        _refuse_shifted(piece)
        _refuse(names, rows=len(piece))
        yield piece


def problem_of(error: Exception, kind: str) -> str:
    """What an error says of a file's content; any other error is raised again."""
    import pyarrow as pa
    from pandas.errors import EmptyDataError, ParserError

    if isinstance(error, _RefusedError):
        return str(error)
    if isinstance(error, EmptyDataError):
        return EMPTY
    if isinstance(error, ParserError):
        return _parser_problem(str(error))
    if isinstance(error, UnicodeDecodeError):
        return "its text is not UTF-8"
    if isinstance(error, EOFError):
        return TRUNCATED
    decoding = (OSError, ValueError, OverflowError, csv.Error, zlib.error, pa.ArrowException)
    # The operating system's errors carry a number; what a decoder raises about the content does not.
    if not isinstance(error, decoding) or (isinstance(error, OSError) and error.errno is not None):
        raise error
    return f"it is damaged: it cannot be read as {kind}"


def _parser_problem(message: str) -> str:
    """What pandas says, without the row that it may quote."""
    if found := TOO_MANY.search(message):
        wanted, line, held = found.groups()
        return f"line {line} has {held} fields, and the header has {wanted}"
    return OPEN_QUOTE if "EOF inside string" in message else "it cannot be read as CSV"


def _parquet(file: Path) -> pd.DataFrame:
    import pandas as pd

    with file.open("rb") as handle:
        # An open file, not a path: a folder named `year=2011` would otherwise add a column.
        frame = pd.read_parquet(handle, engine="pyarrow")
    _refuse(list(map(str, frame.columns)), rows=len(frame))
    return frame.reset_index(drop=frame.index.names == [None])


def _csv(file: Path, kind: str) -> pd.DataFrame:
    from pandas.errors import DtypeWarning

    names, separator = _names(file, kind)
    # By path and as UTF-8 the parser reads the bytes itself; an open file would pass through Python's decoder first.
    # In pieces it takes half the time and memory, as long as the pieces agree on every column's type.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DtypeWarning)
            frame = _parsed(file, kind, separator, in_pieces=True)
    except DtypeWarning:
        frame = _parsed(file, kind, separator, in_pieces=False)
    _refuse_shifted(frame)
    _refuse(names, rows=len(frame))
    return frame


def _names(file: Path, kind: str) -> tuple[list[str], str]:
    """Names of a CSV file's columns, and what separates them; a file that ends within a row is refused."""
    if kind == "csv.gz":
        with gzip.open(file) as handle:
            head = handle.read(BLOCK)
    else:
        size = file.stat().st_size
        head, tail = _head_and_tail(file, size)
        # The parser would fill a cut row up with missing values.
        if cut := _short(head, tail, whole=size <= BLOCK):
            raise _RefusedError(cut)
    return _header(head)


def _parsed(file: Path, kind: str, separator: str, *, in_pieces: bool) -> pd.DataFrame:
    import pandas as pd

    packed: Literal["gzip"] | None = "gzip" if kind == "csv.gz" else None
    return pd.read_csv(str(file), sep=separator, engine="c", low_memory=in_pieces, compression=packed)


def _parser(
    file: Path, kind: str, separator: str, rows: int, types: Mapping[str, str] | None
) -> Iterator[pd.DataFrame]:
    import pandas as pd

    packed: Literal["gzip"] | None = "gzip" if kind == "csv.gz" else None
    with pd.read_csv(
        str(file), sep=separator, engine="c", low_memory=False, compression=packed, chunksize=rows, dtype=types
    ) as pieces:
        yield from pieces


def _refuse_shifted(frame: pd.DataFrame) -> None:
    import pandas as pd

    if not isinstance(frame.index, pd.RangeIndex):
        raise _RefusedError("its first row has more fields than its header")


def refuse_repeated(names: Sequence[str]) -> None:
    """Raise, for `problem_of`, where two columns have one name."""
    for number, name in enumerate(names):
        if name and names.index(name) < number:
            raise _RefusedError(f"columns {names.index(name) + 1} and {number + 1} have the same name")


def _refuse(names: list[str], *, rows: int) -> None:
    refuse_repeated(names)
    if not rows:
        raise _RefusedError(NO_ROWS)
