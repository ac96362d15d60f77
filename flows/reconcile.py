"""End the runs whose process died, and start each retraining that a stored decision still waits for.

The event that starts a retraining may get lost; the decision is in the ledger. Scheduled every few minutes. A model
that cannot be checked does not stop the others: the run fails at the end and names it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from prefect import State, flow
from pydantic import Field

import models
from evergreen.errors import EvergreenError
from evergreen.ledger.reconciliation import Action, escalation_event
from flows.shared.approval import recover_answers
from flows.shared.opening import open_run, own_settings
from tasks.announce import announce
from tasks.canary import schedule_looks
from tasks.reconcile_model import Followed, reconcile_model
from tasks.report import report_steps
from tasks.sweep import sweep


@flow(flow_run_name="reconcile", timeout_seconds=1800)
def reconcile(grace_minutes: Annotated[float, Field(gt=0)] = 10.0) -> list[Action]:
    """Start retrainings that are due, end dead runs, and escalate decisions that retraining does not resolve.

    Args:
        grace_minutes: how long an event has to start its run, a run to give a sign of life, and a failed run to rest.
    """
    settings, now, grace = own_settings(), datetime.now(UTC), timedelta(minutes=grace_minutes)
    swept: State[Any] = sweep(settings.environment, now, grace, return_state=True)
    states: list[State[Any]] = [
        reconcile_model(settings, name, now, grace, return_state=True) for name in models.names(settings.models)
    ]
    followed: list[Followed] = [state.result() for state in states if state.is_completed()]
    for result in followed:
        if result.escalation is not None:
            announce(settings.environment, escalation_event(result.model, result.escalation))
    steps = [*(swept.result() if swept.is_completed() else ()), *(step for result in followed for step in result.steps)]
    if any(result.in_canary for result in followed):
        # Whoever opened the canary may have been killed before its looks were scheduled.
        schedule_looks(settings.environment, active=True)
    if steps:
        report_steps(settings.environment, steps, now)
    faults = [str(state.result(raise_on_failure=False)) for state in [swept, *states] if not state.is_completed()]
    faults += [fault for result in followed if result.asked and (fault := _recover(result.model))]
    if faults:
        raise EvergreenError(f"Not everything could be checked: {' '.join(faults)}")
    return steps


def _recover(model: str) -> str:
    """Apply the answers whose runs could not; returns the error, empty if there is none."""
    try:
        recover_answers(open_run(model))
    except EvergreenError as error:
        return str(error)
    return ""
