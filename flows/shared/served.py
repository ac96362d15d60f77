"""Hold what a model was asked online to what landed later."""

from __future__ import annotations

from evergreen.data.snapshot import Snapshot
from evergreen.performance.skew_report import NOT_SERVED, SkewReport
from evergreen.registry.version import Version
from evergreen.runs.context import RunContext
from flows.shared.conclude import emit_decision
from tasks.record import record_skew
from tasks.report import report_skew
from tasks.skew import compare_served


def watch_served(context: RunContext, champion: Version | None, snapshot: Snapshot) -> SkewReport:
    """Compare, store, announce and report; of a model that is not served nothing is run or read."""
    if context.spec.serve is None:
        return NOT_SERVED
    report = compare_served(context, champion, snapshot)
    emit_decision(context, record_skew(context, champion, snapshot, report))
    report_skew(context.settings.environment, context.spec.name, report)
    return report
