"""Go on without a champion, because its version, its run or its files are gone.

The next version that passes the gates of a first champion is promoted; a rollback is possible as before.
"""

from __future__ import annotations

from prefect import flow

from evergreen.actor import person
from evergreen.registry.promotion import require_reason
from evergreen.runs.results import MoveResult
from flows.shared.moves import announce_move
from flows.shared.opening import open_run
from tasks.promote import accept_loss as accept_loss_of_champion


@flow(name="accept-loss", flow_run_name="accept-loss-{model}", timeout_seconds=600)
def accept_loss(model: str, reason: str, by: str = "") -> MoveResult:
    """Accept that the champion is lost; one that is whole is refused.

    Args:
        model: name of a file in `models/`.
        reason: why; kept in the log.
        by: name of the person who decides; may be empty.
    """
    context = open_run(model)
    move = accept_loss_of_champion(context, require_reason(reason), person(by))
    return announce_move(context, "loss", move, reason)
