"""Move the champion alias back to an earlier version, with its reference data.

A version that was rolled back is not promoted again automatically.
"""

from __future__ import annotations

from prefect import flow

from evergreen.actor import person
from evergreen.registry.promotion import require_reason
from evergreen.runs.results import MoveResult
from flows.shared.moves import announce_move
from flows.shared.opening import open_run
from tasks.promote import roll_back


@flow(flow_run_name="rollback-{model}", timeout_seconds=600)
def rollback(model: str, reason: str, to: int | None = None, by: str = "") -> MoveResult:
    """Roll back to the previous champion, or to a named version that once passed its gates.

    Args:
        model: name of a file in `models/`.
        reason: why; kept in the log and on the version that is rolled back.
        to: the version; the previous champion by default.
        by: name of the person who decides; may be empty.
    """
    context = open_run(model)
    move = roll_back(context, to, require_reason(reason), person(by))
    return announce_move(context, "rollback", move, reason)
