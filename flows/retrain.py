"""Keep one model fresh: land new data, report drift, train a candidate, hold it to its gates, promote it if proven.

Scheduled, called by hand, or started by the event of a failed drift report. Needs a model file in `models/` and nothing
that was set up before. A rerun after a crash ends where an uninterrupted run would; a run that waited for a person goes
on from the answer.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from prefect import flow

from evergreen.events import is_rehearsal
from evergreen.runs.results import RetrainResult
from evergreen.training.request import Request
from flows.shared.approval import await_approval, suspended_result
from flows.shared.conclude import conclude
from flows.shared.opening import ingest_new_data, open_run
from tasks.detect import detect
from tasks.fit import fit
from tasks.gate import gate
from tasks.plan import plan
from tasks.promote import promote
from tasks.register import register


@flow(flow_run_name="retrain-{model}-{reason}", timeout_seconds=12 * 3600)
def retrain(
    model: str = "bike_demand",
    reason: str = "manual",
    decision_id: str | None = None,
    force: bool = False,
    params: dict[str, Any] | None = None,
    share: float | None = None,
    event_id: str | None = None,
    at: datetime | None = None,
) -> RetrainResult | None:
    """Retrain one model; a rehearsal's canary ends here, with nothing touched.

    Args:
        model: name of a file in `models/`.
        reason: why; `manual` and `schedule` do nothing when nothing is new.
        decision_id: the stored decision that this run answers; one retrain for one decision.
        force: retrain although nothing is new.
        params: pipeline parameters to use instead of searching.
        share: read by nobody; triggers of an earlier version name it, and a run with a parameter that the flow lacks
            fails.
        event_id: the event that started this run, where one did.
        at: logical time of a run about the past, UTC where it has no offset: labels that became known later do not
            count.
    """
    context = open_run(model, at)
    if is_rehearsal(decision_id):
        return None
    suspended = suspended_result(context)
    if suspended is not None:
        return await_approval(context, suspended)
    with context.locks.hold(model, "retrain", wait=0, now=context.now):
        ingested = ingest_new_data(context)
        todo = plan(context, Request(reason, decision_id, force, params, event_id))
        if todo.settled is not None:
            return conclude(context, todo, ingested)
        drift = detect(context, todo.champion, todo.snapshot)
        version = todo.resume or register(context, fit(context, todo))
        judgement = gate(context, todo, version, drift)
        outcome = promote(context, version, judgement, reason)
        result = conclude(context, todo, ingested, outcome, version, drift, judgement)
    return await_approval(context, result)
