"""Manual approval or rejection of a version that passed its gates, for `approval="manual"`.

A run that waits for the answer in the Prefect UI is resumed, and ends as if it had been answered there.
"""

from __future__ import annotations

from prefect import flow

from evergreen.actor import person
from evergreen.registry.approval import ApprovalResponse
from evergreen.registry.promotion import require_reason
from evergreen.runs.results import MoveResult
from flows.shared.approval import reject_challenger
from flows.shared.moves import announce_move
from flows.shared.opening import open_run
from tasks.approve import resume_waiting
from tasks.promote import promote_by_hand


@flow(name="promote", flow_run_name="promote-{model}", timeout_seconds=600)
def promote(model: str, reason: str, version: int | None = None, reject: bool = False, by: str = "") -> MoveResult:
    """Promote the challenger, or a named version; or reject it.

    Args:
        model: name of a file in `models/`.
        reason: why; kept in the log.
        version: the version; the challenger by default.
        reject: reject the version instead.
        by: name of the person who decides; may be empty.
    """
    context = open_run(model)
    why, who = require_reason(reason), person(by)
    if reject:
        return reject_challenger(context, version, why, who)
    result = announce_move(context, "promote", promote_by_hand(context, version, why, who), reason)
    resume_waiting(context, result.champion, ApprovalResponse(decision="approve", reason=why))
    return result
