"""Markdown for MLflow's descriptions and Prefect's artifacts, and how figures and counts are written.

Text that comes from data is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

MARK = {"PASS": "PASS", "FAIL": "**FAIL**", "INCONCLUSIVE": "*INCONCLUSIVE*"}


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Build a Markdown table from a header and rows of cells."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(escape(number(cell)) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def number(cell: object) -> str:
    """Format a cell: a float with four significant figures, None as the empty text."""
    if cell is None:
        return ""
    return f"{cell + 0.0:.4g}" if isinstance(cell, float) else str(cell)


def many(count: int, one: str, more: str = "") -> str:
    """Write a count with its noun: `1 row`, `2 rows`, or with `more` also `1 row was`, `2 rows were`."""
    return f"{count:,} {one if count == 1 else more or f'{one}s'}"


def describe_span(length: object) -> str:
    """Write a length of time in the largest unit that it fills, such as `2.5 days`; another one as its own text."""
    if not isinstance(length, timedelta):
        return str(length)
    seconds = length.total_seconds()
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= size:
            count = f"{seconds / size:.3g}"
            return f"{count} {unit if count == '1' else f'{unit}s'}"
    return f"{seconds:.3g} seconds"


def escape(text: str) -> str:
    """Escape a text so that it neither ends a table cell nor starts an HTML tag."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("\n", " ")
