"""Watch one model: land new data, compare it with what the champion was trained on, measure the champion on it.

The champion is also compared with the former champion, and rolled back if it is proven to be worse; and what it was
asked online is compared with what landed later. Each decision is stored and then announced before the next step, so
that a later failure loses nothing. The event is a hint; the stored decision is the truth. This flow trains nothing.
"""

from __future__ import annotations

from datetime import datetime

from prefect import flow

from evergreen.pages.links import page_url, report_url
from evergreen.runs.results import MonitorResult
from flows.shared.conclude import emit_decision
from flows.shared.moves import roll_back_if_worse
from flows.shared.opening import champion_and_snapshot, ingest_new_data, open_run
from flows.shared.served import watch_served
from tasks.detect import detect
from tasks.measure import measure
from tasks.record import record_data, record_drift, record_performance, record_run, record_shadow
from tasks.report import report_drift, report_performance, report_shadow
from tasks.shadow import shadow


@flow(flow_run_name="monitor-{model}", timeout_seconds=3600)
def monitor(model: str = "bike_demand", at: datetime | None = None) -> MonitorResult:
    """Report the drift and the performance of one model.

    Args:
        model: name of a file in `models/`.
        at: logical time of the run, UTC if it has no offset; labels that became known later do not count.
    """
    context = open_run(model, at)
    environment = context.settings.environment
    ingested = ingest_new_data(context)
    champion, snapshot = champion_and_snapshot(context)
    data = emit_decision(context, record_data(context, champion, snapshot))
    drift = detect(context, champion, snapshot)
    decision = emit_decision(context, record_drift(context, champion, snapshot, drift))
    link = report_url(context.settings, model, drift.decision_id, drift.page)
    report_drift(environment, model, drift, link, page_url(context.settings, model))
    performance = measure(context, champion, snapshot)
    emit_decision(context, record_performance(context, champion, snapshot, performance))
    report_performance(environment, model, performance)
    comparison = shadow(context, champion, snapshot)
    emit_decision(context, record_shadow(context, champion, snapshot, comparison))
    report_shadow(environment, model, comparison)
    move = roll_back_if_worse(context, comparison)
    skew = watch_served(context, champion, snapshot)
    outcome = f"drift {drift.verdict}, performance {performance.verdict}"
    record_run(context, "monitor", ingested.rows + drift.current_rows, outcome)
    number = champion.number if champion else None
    return MonitorResult.of(model, number, drift, decision, performance, comparison, move, data, ingested, skew)
