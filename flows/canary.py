"""Look at every challenger that meets live traffic: the next step, the end, or waiting.

One deployment for all models, each minute while a canary is open. What is known lies in the tables and what was decided
in the ledger, so that a look that was killed is made up by the next one. A model that fails does not stop the others.
"""

from __future__ import annotations

from typing import Literal

from prefect import flow

import models
from evergreen.actor import person
from evergreen.canary.report import CanaryReport
from evergreen.errors import EvergreenError
from evergreen.registry.promotion import require_reason
from flows.shared.canaries import look_and_tell
from flows.shared.conclude import emit_decision
from flows.shared.opening import open_run, own_settings
from tasks.canary import is_in_canary, schedule_looks, take_in_hand


@flow(flow_run_name="canary", timeout_seconds=900)
def canary(
    model: str | None = None,
    action: Literal["look", "pause", "resume", "abort"] = "look",
    reason: str = "",
    by: str = "",
) -> list[CanaryReport]:
    """Look at the open canaries.

    Args:
        model: name of a file in `models/`; by default every model with an open canary.
        action: what a person wants done before the look, of one model.
        reason: why; kept in the log, and needed for every other action than `look`.
        by: name of the person; may be empty.
    """
    if action != "look":
        if model is None:
            raise EvergreenError(f"To {action} a canary takes the name of its model.", "Give model=NAME.")
        context = open_run(model)
        emit_decision(context, take_in_hand(context, action, require_reason(reason), person(by)))
    settings = own_settings()
    reports: list[CanaryReport] = []
    faults: list[str] = []
    for name in [model] if model is not None else models.names(settings.models):
        try:
            if is_in_canary(settings, name):
                reports.extend(look_and_tell(open_run(name)))
        except EvergreenError as error:
            faults.append(f"{name}: {error}")
    if model is None and not faults and not any(report.is_open for report in reports):
        schedule_looks(settings.environment, active=False)
    if faults:
        raise EvergreenError(f"Not every canary could be looked at: {' '.join(faults)}")
    return reports
