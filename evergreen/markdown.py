"""Decisions as Markdown, for MLflow's descriptions and Prefect's artifacts. Text from data is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from evergreen.drift.report import DriftReport
from evergreen.verdicts import Check

MARK = {"PASS": "PASS", "FAIL": "**FAIL**", "INCONCLUSIVE": "*INCONCLUSIVE*"}


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(escape(number(cell)) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def gate_table(checks: Sequence[Check]) -> str:
    """Every check with its value, bound and reason."""
    rows = [(check.name, MARK[check.status], check.value, check.bound, check.reason) for check in checks]
    return table(("gate", "status", "value", "bound", "reason"), rows)


def drift_table(report: DriftReport) -> str:
    """Every column with its score against the threshold."""
    rows = [
        (
            column.name,
            MARK[column.verdict],
            column.score,
            column.threshold,
            f"{column.weight:.1%}",
            f"{column.missing_current:.1%}",
            column.reason,
        )
        for column in report.columns
    ]
    return table(("column", "status", f"score ({_method(report)})", "threshold", "weight", "missing", "reason"), rows)


def number(cell: object) -> str:
    """Four significant figures; nothing for None."""
    if cell is None:
        return ""
    return f"{cell + 0.0:.4g}" if isinstance(cell, float) else str(cell)


def escape(text: str) -> str:
    """Text that neither ends a cell nor becomes a tag."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("\n", " ")


def _method(report: DriftReport) -> str:
    return report.columns[0].method if report.columns else "score"
