"""Watch one model: land new data, compare it with what the champion was trained on, measure the champion on it.

The champion is measured beside the one that it replaced, too, and taken back where that promotion is proven to have
hurt. Each finding is stored and then told, before the next is looked for: what goes wrong later takes nothing back. The
event is a hint; the stored decision is the truth. Nothing is trained here.
"""

from __future__ import annotations

from datetime import datetime

from prefect import flow

from evergreen.pages.links import page_url
from evergreen.runs.results import MonitorResult
from flows.shared.conclude import announced
from flows.shared.moves import taken_back
from flows.shared.opening import champion_and_snapshot, landed, open_workspace
from tasks.compare import compare
from tasks.detect import detect
from tasks.measure import measure
from tasks.record import record_data, record_drift, record_performance, record_run, record_shadow
from tasks.report import report_drift, report_performance, report_shadow


@flow(flow_run_name="monitor-{model}", timeout_seconds=3600)
def monitor(model: str = "bike_demand", at: datetime | None = None) -> MonitorResult:
    """Report the drift and the performance of one model.

    Args:
        model: name of a file in `models/`.
        at: logical time of a look at the past, UTC where it has no offset: labels that became known later do not count.
    """
    workspace = open_workspace(model, at)
    ingested = landed(workspace)
    champion, snapshot = champion_and_snapshot(workspace)
    data = announced(workspace, record_data(workspace, champion, snapshot))
    drift = detect(workspace, champion, snapshot)
    decision = announced(workspace, record_drift(workspace, champion, snapshot, drift))
    report_drift(model, drift, page_url(workspace.settings, model))
    performance = measure(workspace, champion, snapshot)
    announced(workspace, record_performance(workspace, champion, snapshot, performance))
    report_performance(model, performance)
    shadow = compare(workspace, champion, snapshot)
    announced(workspace, record_shadow(workspace, champion, snapshot, shadow))
    report_shadow(model, shadow)
    move = taken_back(workspace, shadow)
    outcome = f"drift {drift.verdict}, performance {performance.verdict}"
    record_run(workspace, "monitor", ingested.rows + drift.current_rows, outcome)
    number = champion.number if champion else None
    return MonitorResult.of(model, number, drift, decision, performance, shadow, move, data, ingested)
