"""The rows of one CSV file as text, cell by cell: what a cell means is for the model's contract to say.

Arrow's parser reads the cells. It fills no row up, but it takes some broken quotes without a word, so that quotes are
checked where a file has any. A row with too few or too many fields refuses the file, with its number.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from evergreen.sources.csv_dialect import Dialect, detect_dialect

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

BLOCK_BYTES = 1 << 20
PIECE_BYTES = 256 << 10
"""Bytes that are parsed at a time where rows are read in pieces. Arrow holds up to sixteen of them."""

LONGEST_ROW = 64 << 20
"""Bytes of the longest row that is read; the parser takes no row that is longer than what it parses at a time."""

EMPTY = "it is empty"
NO_ROWS = "it has a header and no rows"
OPEN_QUOTE = "it is cut short: a quote is never closed"


class RejectedFileError(Exception):
    """A file whose content cannot be used; the message says why and never quotes a row."""


class RowTooLongError(RejectedFileError):
    """A row is longer than the bytes that are parsed at a time."""


def read_dialect(head: bytes, encoding: str = "utf-8") -> Dialect:
    """The dialect of a file by its first bytes.

    Raises:
        RejectedFileError: the file has no text, its header is too long, or two columns have one name.
    """
    # The last letter may not be complete.
    text = head.removeprefix(b"\xef\xbb\xbf").decode(encoding, "replace")
    first = text.lstrip("\r\n ")
    if len(head) == BLOCK_BYTES and not re.search(r"[\r\n]", first):
        raise RejectedFileError("its first line is longer than 1 MiB")
    if len(head) == BLOCK_BYTES:
        # The last line may not be complete.
        text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1]
    dialect = replace(detect_dialect(text), encoding=encoding)
    if not dialect.names:
        raise RejectedFileError(EMPTY)
    return dialect


def refuse_duplicate_columns(names: tuple[str, ...] | list[str]) -> None:
    """Raise an error for `describe_error` if two columns have one name."""
    for number, name in enumerate(names):
        if name and names.index(name) < number:
            raise RejectedFileError(f"columns {names.index(name) + 1} and {number + 1} have the same name")


def read_text(file: Path, dialect: Dialect, *, packed: bool) -> pd.DataFrame:
    """The rows of a file, each cell as it is written; `packed` by gzip.

    Raises:
        RejectedFileError: the file cannot be used.
    """
    refuse_duplicate_columns(dialect.names)
    doubtful = _check_quotes(file, dialect, packed=packed)
    try:
        table = _parse(file, dialect, BLOCK_BYTES, packed=packed)
    except RowTooLongError:
        table = _parse(file, dialect, LONGEST_ROW, packed=packed)
    if doubtful and _has_line_break(table):
        _read_strictly(file, dialect, packed=packed)
    if not table.num_rows:
        raise RejectedFileError(NO_ROWS)
    _require_texts(table)
    # Each column of the table is freed as soon as the frame has it: both would be twice the file.
    table = table.rename_columns(_column_names(dialect))
    frame: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True)
    return frame


def _parse(file: Path, dialect: Dialect, block: int, *, packed: bool) -> pa.Table:
    from pyarrow import csv as arrow_csv

    ragged: list[Any] = []
    with _open_arrow(file, packed=packed) as source:
        try:
            return arrow_csv.read_csv(
                source,
                _read_options(dialect, block, use_threads=True),
                _parse_options(dialect, ragged),
                _convert_options(dialect),
            )
        except Exception as error:
            raise _explain(error, ragged, file, dialect, packed=packed) from None


def read_text_pieces(file: Path, dialect: Dialect, block: int, *, packed: bool) -> Iterator[pa.Table]:
    """The rows of a file in pieces of `block` bytes, each cell as it is written; a few of them are in memory at a time.

    Raises:
        RowTooLongError: a row is longer than a piece.
        RejectedFileError: the file cannot be used; raised at the piece that it concerns.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    refuse_duplicate_columns(dialect.names)
    doubtful = _check_quotes(file, dialect, packed=packed)
    names = _column_names(dialect)
    rows = 0
    with _open_arrow(file, packed=packed) as source:
        ragged: list[Any] = []
        try:
            with arrow_csv.open_csv(
                source,
                _read_options(dialect, block, use_threads=False),
                _parse_options(dialect, ragged),
                _convert_options(dialect),
            ) as reader:
                for batch in reader:
                    table = pa.Table.from_batches([batch])
                    if doubtful and _has_line_break(table):
                        _read_strictly(file, dialect, packed=packed)
                        doubtful = False
                    _require_texts(table)
                    rows += table.num_rows
                    yield table.rename_columns(names)
        except (pa.ArrowException, RejectedFileError) as error:
            raise _explain(error, ragged, file, dialect, packed=packed) from None
    if not rows:
        raise RejectedFileError(NO_ROWS)


def _require_texts(table: pa.Table) -> None:
    """Refuse a file whose header the parser reads in another way than the dialect did: it would guess types."""
    import pyarrow as pa

    if other := [field.name for field in table.schema if field.type != pa.string()]:
        raise RejectedFileError(f"the name of its column {table.column_names.index(other[0]) + 1} cannot be read")


def _column_names(dialect: Dialect) -> list[str]:
    """The header's names; a column without one is called after its place, as pandas does."""
    return [name or f"Unnamed: {number}" for number, name in enumerate(dialect.names)]


def _read_options(dialect: Dialect, block: int, *, use_threads: bool) -> Any:
    from pyarrow import csv as arrow_csv

    return arrow_csv.ReadOptions(
        skip_rows=dialect.skipped, block_size=block, use_threads=use_threads, encoding=dialect.encoding
    )


def _parse_options(dialect: Dialect, ragged: list[Any]) -> Any:
    from pyarrow import csv as arrow_csv

    def refuse(row: Any) -> str:
        ragged.append(row)
        return "error"

    return arrow_csv.ParseOptions(
        delimiter=dialect.separator, newlines_in_values=True, invalid_row_handler=refuse, ignore_empty_lines=True
    )


def _convert_options(dialect: Dialect) -> Any:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    types = dict.fromkeys(dialect.names, pa.string())
    return arrow_csv.ConvertOptions(column_types=types, null_values=[], strings_can_be_null=False)


def _open_arrow(file: Path, *, packed: bool) -> Any:
    import pyarrow as pa

    return pa.CompressedInputStream(pa.OSFile(str(file)), "gzip") if packed else pa.OSFile(str(file))


def open_bytes(file: Path, *, packed: bool) -> IO[bytes]:
    """A file's bytes, unpacked where it is `packed` by gzip."""
    return gzip.open(file) if packed else file.open("rb")  # type: ignore[return-value]


def _explain(error: Exception, ragged: list[Any], file: Path, dialect: Dialect, *, packed: bool) -> Exception:
    """What an error of the parser says; an error that is not about the content is returned as it is."""
    if ragged:
        return _ragged_error(file, dialect, packed=packed)
    if "straddling" in str(error):
        return RowTooLongError(f"a row is longer than {LONGEST_ROW >> 20} MiB")
    return RejectedFileError(NO_ROWS) if "Empty CSV" in str(error) else error


def _ragged_error(file: Path, dialect: Dialect, *, packed: bool) -> RejectedFileError:
    """Which row has too few or too many fields. The parser counts rows only where it has a single thread."""
    from pyarrow import csv as arrow_csv

    found: list[Any] = []

    def skip(row: Any) -> str:
        found.append(row)
        return "skip"

    options = _parse_options(dialect, [])
    options.invalid_row_handler = skip
    with _open_arrow(file, packed=packed) as source:
        arrow_csv.read_csv(
            source,
            _read_options(dialect, LONGEST_ROW, use_threads=False),
            options,
            _convert_options(dialect),
        )
    first = found[0]
    more = f" ({len(found)} such rows)" if len(found) > 1 else ""
    lines = first.text.count("\n")
    swallowed = f"; a quote in it takes in the {lines} lines after it" if lines > 1 else ""
    # The parser counts the header as row 1, and lines before it that it was told to skip.
    number = first.number - 1 - dialect.skipped
    return RejectedFileError(
        f"row {number} has {first.actual_columns} field{'' if first.actual_columns == 1 else 's'}, and the header has "
        f"{first.expected_columns}{more}{swallowed}"
    )


def _check_quotes(file: Path, dialect: Dialect, *, packed: bool) -> bool:
    """Refuse a file with broken quotes; returns whether its cells with a line break are still to be looked at.

    Where text follows a closing quote, the parser joins the two in silence. A quote between two letters is a sign of
    it, and so is a line break in a cell. Only then Python's own reader, which is strict, reads the file as well.
    """
    mark = re.escape(dialect.separator.encode())
    amid_text = re.compile(rb'[^\r\n"' + mark + rb']"[^\r\n"' + mark + rb"]")
    quotes, suspicious, last = 0, False, b""
    with open_bytes(file, packed=packed) as handle:
        while block := handle.read(BLOCK_BYTES):
            if found := block.count(b'"'):
                quotes += found
                suspicious = suspicious or amid_text.search(last + block) is not None
            last = block[-2:]
    if suspicious or quotes % 2:
        _read_strictly(file, dialect, packed=packed)
    return quotes > 0 and not suspicious


def _has_line_break(table: pa.Table) -> bool:
    import pyarrow.compute as pc

    return any(pc.any(pc.match_substring_regex(column, r"[\n\r]")).as_py() for column in table.columns)


def _read_strictly(file: Path, dialect: Dialect, *, packed: bool) -> None:
    number = 0
    with open_bytes(file, packed=packed) as handle:
        encoding = "utf-8-sig" if dialect.encoding == "utf-8" else dialect.encoding
        lines = io.TextIOWrapper(handle, encoding, newline="")
        for _ in range(dialect.skipped):
            next(lines, None)
        try:
            for _ in csv.reader(lines, delimiter=dialect.separator, strict=True):
                number += 1
        except csv.Error as error:
            if "end of data" in str(error):
                raise RejectedFileError(OPEN_QUOTE) from None
            raise RejectedFileError(
                f"row {number}: text follows a closing quote; a quote within a cell is written twice"
            ) from None
