"""Gates and drift scores as Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence

from evergreen.drift.report import DriftReport
from evergreen.markdown import MARK, table
from evergreen.verdicts import Check


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


def _method(report: DriftReport) -> str:
    return report.columns[0].method if report.columns else "score"
