"""Nothing lost: end the runs that died, and start the retraining that a stored decision is still waiting for.

The event that starts a retraining is a hint, and hints get lost; the decision is in the ledger. Scheduled every few
minutes. A model that cannot be looked at does not keep the others from it; the run fails at the end and says which.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from prefect import State, flow
from pydantic import Field

import models
from evergreen.errors import EvergreenError
from evergreen.ledger.reconciliation import Action, escalation_event
from evergreen.settings import load_settings
from flows.shared.approval import recover_answers
from flows.shared.opening import open_run
from tasks.announce import announce
from tasks.reconcile_model import Followed, reconcile_model
from tasks.report import report_steps
from tasks.sweep import sweep


@flow(flow_run_name="reconcile", timeout_seconds=1800)
def reconcile(grace_minutes: Annotated[float, Field(gt=0)] = 10.0) -> list[Action]:
    """Start what is due, end what is dead, tell of what does not help.

    Args:
        grace_minutes: how long an event has to start its run, a run to give a sign of life, and a failed run to rest.
    """
    settings, now, grace = load_settings(), datetime.now(UTC), timedelta(minutes=grace_minutes)
    swept: State[Any] = sweep(now, grace, return_state=True)
    found: list[State[Any]] = [
        reconcile_model(settings, name, now, grace, return_state=True) for name in models.names(settings.models)
    ]
    followed: list[Followed] = [state.result() for state in found if state.is_completed()]
    for one in followed:
        if one.escalation is not None:
            announce(escalation_event(one.model, one.escalation))
    steps = [*(swept.result() if swept.is_completed() else ()), *(step for one in followed for step in one.steps)]
    if steps:
        report_steps(steps, now)
    faults = [str(state.result(raise_on_failure=False)) for state in [swept, *found] if not state.is_completed()]
    faults += [fault for one in followed if one.asked and (fault := _recovered(one.model))]
    if faults:
        raise EvergreenError(f"Not everything could be looked at: {' '.join(faults)}")
    return steps


def _recovered(model: str) -> str:
    """Carry out the answers of persons whose runs could not; returns what went wrong."""
    try:
        recover_answers(open_run(model))
    except EvergreenError as error:
        return str(error)
    return ""
