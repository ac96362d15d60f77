"""Retrain one model: ingest new data, report drift, train a candidate, run its gates, promote it if it passed.

Started by a schedule, by hand, or by the event of a decision. Needs only a model file in `models/`. A rerun after a
crash ends as an uninterrupted run would; a run that waited for approval continues from the answer.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from prefect import flow

from evergreen.details.decision import RetrainDetail
from evergreen.events import is_rehearsal
from evergreen.training.request import Request
from flows.shared.approval import await_approval, suspended_result
from flows.shared.conclude import conclude
from flows.shared.executors import fit_workers
from flows.shared.lineage import ENDS
from flows.shared.opening import ingest_new_data, open_run
from tasks.detect import detect
from tasks.fit import fit
from tasks.gate import gate
from tasks.plan import plan
from tasks.promote import promote
from tasks.register import register


@flow(flow_run_name="retrain-{model}-{reason}", timeout_seconds=12 * 3600, **ENDS)
def retrain(
    model: str = "bike_demand",
    reason: str = "manual",
    decision_id: str | None = None,
    force: bool = False,
    params: dict[str, Any] | None = None,
    share: float | None = None,
    event_id: str | None = None,
    at: datetime | None = None,
) -> RetrainDetail | None:
    """Retrain one model; the run of a rehearsal ends at once and changes nothing.

    Args:
        model: name of a file in `models/`.
        reason: why; `manual` and `schedule` do nothing without new data.
        decision_id: the stored decision that this run answers; one retrain for one decision.
        force: retrain without new data.
        params: pipeline parameters to use instead of searching.
        share: unused; triggers of an earlier version pass it, and a run with an unknown parameter fails.
        event_id: the event that started this run, if any.
        at: logical time of the run, UTC if it has no offset; labels that became known later do not count.
    """
    context = open_run(model, at)
    if is_rehearsal(decision_id):
        return None
    suspended = suspended_result(context)
    if suspended is not None:
        return await_approval(context, suspended)
    with context.hold("retrain", wait=0):
        ingested = ingest_new_data(context)
        todo = plan(context, Request(reason, decision_id, force, params, event_id))
        if todo.settled is not None:
            return conclude(context, todo, ingested)
        drift = detect(context, todo.champion, todo.snapshot)
        version = todo.resume or register(context, fit(context, todo, fit_workers(context)))
        judgement = gate(context, todo, version, drift)
        outcome = promote(context, version, judgement, reason)
        result = conclude(context, todo, ingested, outcome, version, drift, judgement)
    return await_approval(context, result)
