"""What the retraining policy of a model file answers, asked with what the ledger knows."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from evergreen.decision import Decision
from evergreen.ledger.decisions import Ledger
from evergreen.spec.model import ModelSpec
from evergreen.spec.policy import PolicyContext, RetrainAnswer, Trigger, ask

_TRIGGERS: dict[str, Trigger] = {"drift": "drift", "performance": "performance", "data": "data"}


def ask_for_schedule(spec: ModelSpec, ledger: Ledger, champion: int, rows: int, now: datetime) -> RetrainAnswer:
    """What the policy answers to the schedule; `rows` have landed by `now`.

    Raises:
        ModelFileError: a policy of the user's own failed.
    """
    return _ask(spec, ledger, None, PolicyContext(now, "schedule", rows, champion))


def ask_for_decision(spec: ModelSpec, ledger: Ledger, decision: Decision, rows: int) -> dict[str, Any]:
    """What is kept with a decision that is about to be stored: whether the policy retrains for it, and why.

    Nothing for one that calls for nothing by itself, or where the model file names no policy: then the triggers that it
    names decide.

    Raises:
        ModelFileError: a policy of the user's own failed.
    """
    calls = decision.kind in _TRIGGERS and decision.outcome in ("FAIL", "LANDED")
    if spec.retraining.policy is None or decision.champion is None or not calls:
        return {}
    context = PolicyContext(decision.at, _TRIGGERS[decision.kind], rows, decision.champion)
    answer = _ask(spec, ledger, decision, context)
    return {"called": answer.retrain, "because": answer.reason}


def _ask(spec: ModelSpec, ledger: Ledger, decision: Decision | None, context: PolicyContext) -> RetrainAnswer:
    stored = (*ledger.all("drift"), *ledger.all("performance"))
    reports = [report for report in stored if report.champion == context.champion and report.at <= context.now]
    reports += [decision] if decision is not None and decision.kind in ("drift", "performance") else []
    retrains = [entry for entry in ledger.all("retrain") if "snapshot" in entry.detail and entry.at <= context.now]
    asked = replace(
        context,
        reports=tuple(sorted(reports, key=lambda report: report.at)),
        retrains=tuple(sorted(retrains, key=lambda entry: entry.at)),
    )
    return ask(spec.retraining.live_policy, asked, spec.name)
