"""What is said of a version that is gone, whole or in part: in MLflow's pages anybody can delete a run or a version."""

from __future__ import annotations

from evergreen import naming
from evergreen.errors import LostError
from evergreen.ledger.promotions import Move
from evergreen.registry.version import Version


def lost_version(version: Version, what: str) -> LostError:
    """The error of a version of which something is gone; `what` is a clause that names it."""
    run = f" (run {version.run_id})" if version.run_id else ""
    return LostError(f"{version.label}{run} is not whole: {what}.", _fix(version.model))


def deleted_champion(model: str, move: Move) -> LostError:
    """The error of a champion whose version is deleted; `move` made it champion.

    The number of its run went with the version; the run has its name from the decision.
    """
    run = f" (run {naming.training_run(move.decision_id)})" if move.decision_id else ""
    what = f"{model} version {move.after}{run} is the champion by the log, and the registry has it no more."
    return LostError(what, f"Is EVERGREEN_TRACKING_URI right? {_fix(model)}")


def _fix(model: str) -> str:
    return (
        f"Restore it from a backup, or go back to a whole version: evergreen rollback {model} --to VERSION "
        f"--reason TEXT. If none is left, go on without a champion: evergreen accept-loss {model} --reason TEXT"
    )
