"""Keep one model fresh: land new data, report drift, train a candidate, hold it to its gates, promote it if proven.

Scheduled, called by hand, or started by the event of a failed drift report. Needs a model file in `models/` and nothing
that was set up before. A rerun after a crash ends where an uninterrupted run would; a run that waited for a person goes
on from the answer.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from prefect import flow

from evergreen.events import is_canary
from evergreen.runs.results import RetrainResult
from evergreen.storage.locks import open_locks
from evergreen.training.request import Request
from flows.shared.approval import approved, waiting
from flows.shared.conclude import conclude
from flows.shared.opening import landed, open_workspace
from tasks.detect import detect
from tasks.fit import fit
from tasks.gate import gate
from tasks.promote import promote
from tasks.register import register
from tasks.split import split


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
        share: the share of drifted columns, where a failed drift report started this run.
        event_id: the event that started this run, where one did.
        at: logical time of a run about the past, UTC where it has no offset: labels that became known later do not
            count.
    """
    workspace = open_workspace(model, at)
    if is_canary(decision_id):
        return None
    asked = waiting(workspace)
    if asked is not None:
        return approved(workspace, asked)
    with open_locks(workspace.settings).hold(model, "retrain", wait=0, now=workspace.now):
        ingested = landed(workspace)
        plan = split(workspace, Request(reason, decision_id, force, params, share, event_id))
        if plan.settled is not None:
            return conclude(workspace, plan, ingested)
        drift = detect(workspace, plan.champion, plan.snapshot)
        version = plan.resume or register(workspace, fit(workspace, plan))
        judgement = gate(workspace, plan, version, drift)
        outcome = promote(workspace, version, judgement, reason)
        result = conclude(workspace, plan, ingested, outcome, version, drift, judgement)
    return approved(workspace, result)
