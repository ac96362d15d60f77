"""A look at what was served as Markdown, for Prefect's artifacts. Text from data is escaped."""

from __future__ import annotations

from datetime import datetime

from evergreen.markdown import MARK, many, table
from evergreen.performance.skew_report import SkewReport


def skew_note(model: str, report: SkewReport) -> str:
    """The verdict with its reason, the columns that differ, and which rows were compared."""
    parts = [f"# What {model} was asked: {report.verdict}", report.reason, _scope(report)]
    if report.columns:
        head = "column", "status", "rows", "differ", "at least", "how", "such as"
        rows = [
            (one.name, MARK[one.verdict], one.rows, one.differing, f"{one.least:.1%}", one.how, ", ".join(one.examples))
            for one in report.columns
        ]
        parts.append(table(head, rows))
    return "\n\n".join(parts)


def _scope(report: SkewReport) -> str:
    sample = f", a sample of {report.of:,}" if report.of > report.rows else ""
    since = f"{datetime.fromisoformat(report.since):%Y-%m-%d %H:%M:%S} UTC" if report.since else "the first request"
    rows = f"{many(report.rows, 'served row')}{sample}, of which the row landed after {since}."
    if not report.unread:
        return rows
    left = many(report.unread, "row is left out: it was", "rows are left out: they were")
    return f"{rows} {left} corrected since, and cannot be read as landed first."
