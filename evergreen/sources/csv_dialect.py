"""The shape of a CSV file by its first lines: separator, header, and what stands before it.

A file that is plain in its first lines (one separator whose fields are as many in each) is read without a guess. For
the others clevercsv finds the separator: on loggers with station lines, reports with a preamble and exports with commas
within names it was right more often than the sniffers of DuckDB and the standard library.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass

SEPARATORS = (",", ";", "\t", "|")
SAMPLE_RECORDS = 60
SAMPLE_LETTERS = 20_000

_SEP_LINE = re.compile(r'"?sep=(.)"?\s*$', re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?[\d.,\s]*\d[\d.,%\s]*$")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a CSV file is read.

    Attributes:
        separator: between fields, one letter.
        names: of the columns, as the header has them.
        skipped: number of lines before the header.
        encoding: of the text, by Python's name.
    """

    separator: str
    names: tuple[str, ...]
    skipped: int = 0
    encoding: str = "utf-8"


def detect_dialect(head: str) -> Dialect:
    """Find the dialect by the first lines of a file, without its byte order mark; no names for a file without text."""
    lines = head.splitlines(keepends=True)[: 4 * SAMPLE_RECORDS]
    start = next((number for number, line in enumerate(lines) if line.strip()), len(lines))
    named = _SEP_LINE.match(lines[start]) if start < len(lines) else None
    first = start + (named is not None)
    text = "".join(lines[first:])
    separator = named[1] if named else _find_separator(text)
    records = _records(text, separator)
    if not records:
        return Dialect(separator, (), first)
    position = _header_position([fields for fields, _ in records])
    before = records[position - 1][1] if position else 0
    return Dialect(separator, tuple(records[position][0]), first + before)


def _find_separator(text: str) -> str:
    counts = {mark: [len(fields) for fields, _ in _records(text, mark)] for mark in SEPARATORS}
    steady = [mark for mark, fields in counts.items() if fields and fields[0] > 1 and len(set(fields)) == 1]
    if len(steady) == 1:
        return steady[0]
    used = [mark for mark, fields in counts.items() if any(count > 1 for count in fields)]
    if len(used) < 2:
        return used[0] if used else ","
    from clevercsv.detect import Detector

    found = Detector().detect(text[:SAMPLE_LETTERS], delimiters=list(SEPARATORS))
    mark = found.delimiter if found is not None else ""
    return mark if mark in used else used[0]


def _records(text: str, separator: str) -> list[tuple[list[str], int]]:
    """The first records with a field, and the number of the last line of each, from 1."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    records: list[tuple[list[str], int]] = []
    try:
        for fields in reader:
            if any(field.strip() for field in fields) or len(fields) > 1:
                records.append((fields, reader.line_num))
            if len(records) == SAMPLE_RECORDS:
                break
    except csv.Error:
        # A field longer than 128 kB, or a zero byte: what was read so far is the sample.
        pass
    return records


def _header_position(records: list[list[str]]) -> int:
    """Which record is the header.

    It is the first one, unless shorter lines stand before one that names as many columns as most records have.
    """
    width = Counter(map(len, records)).most_common(1)[0][0]
    if len(records[0]) == width or width == 1:
        return 0
    position = next(number for number, fields in enumerate(records) if len(fields) == width)
    names = [name.strip() for name in records[position]]
    are_names = all(names) and len(set(names)) == width and not any(map(_NUMBER.match, names))
    # A first line that has nearly as many fields is a header with a name too few or too many.
    is_preamble = all(2 * len(fields) <= width + 1 for fields in records[:position])
    return position if are_names and is_preamble else 0
