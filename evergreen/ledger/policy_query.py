"""What the model file's policy says to an occasion: the ledger's side of `evergreen.spec.policies`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from evergreen.decision import Decision
from evergreen.ledger.decisions import Decisions
from evergreen.spec.model import ModelSpec
from evergreen.spec.policy import Answer, Occasion, Trigger, asked

_GROUND: dict[str, Trigger] = {"drift": "drift", "performance": "performance", "data": "data"}


def scheduled(spec: ModelSpec, decisions: Decisions, champion: int, rows: int, now: datetime) -> Answer:
    """What the policy says to the schedule; `rows` have landed by `now`.

    Raises:
        ModelFileError: a policy of the user's own failed.
    """
    return _asked(spec, decisions, None, Occasion(now, "schedule", rows, champion))


def called(spec: ModelSpec, decisions: Decisions, decision: Decision, rows: int) -> dict[str, Any]:
    """What is kept with a decision that is about to be stored: whether the policy retrains for it, and why.

    Nothing for one that calls for nothing by itself, or where the model file names no policy: `retrain_on` decides
    then.

    Raises:
        ModelFileError: a policy of the user's own failed.
    """
    wanted = decision.kind in _GROUND and decision.outcome in ("FAIL", "LANDED")
    if spec.policy is None or decision.champion is None or not wanted:
        return {}
    seen = Occasion(decision.at, _GROUND[decision.kind], rows, decision.champion)
    answer = _asked(spec, decisions, decision, seen)
    return {"called": answer.yes, "because": answer.reason}


def _asked(spec: ModelSpec, decisions: Decisions, decision: Decision | None, seen: Occasion) -> Answer:
    told = (*decisions.all("drift"), *decisions.all("performance"))
    mine = [one for one in told if one.champion == seen.champion and one.at <= seen.now]
    mine += [decision] if decision is not None and decision.kind in ("drift", "performance") else []
    retrains = [one for one in decisions.all("retrain") if "snapshot" in one.detail and one.at <= seen.now]
    occasion = Occasion(
        seen.now,
        seen.ground,
        seen.rows,
        seen.champion,
        tuple(sorted(mine, key=lambda one: one.at)),
        tuple(sorted(retrains, key=lambda one: one.at)),
    )
    return asked(spec.live_policy, occasion, spec.name)
