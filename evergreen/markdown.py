"""Decisions as Markdown, for MLflow's descriptions and Prefect's artifacts. Text from data is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MARK = {"PASS": "PASS", "FAIL": "**FAIL**", "INCONCLUSIVE": "*INCONCLUSIVE*"}


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(escape(number(cell)) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def number(cell: object) -> str:
    """Four significant figures; nothing for None."""
    if cell is None:
        return ""
    return f"{cell + 0.0:.4g}" if isinstance(cell, float) else str(cell)


def escape(text: str) -> str:
    """Text that neither ends a cell nor becomes a tag."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("\n", " ")
