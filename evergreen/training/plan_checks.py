"""The reasons why a request to retrain trains nothing, asked one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from evergreen.data.snapshot import Snapshot
from evergreen.decision import Decision
from evergreen.details.decision import Outcome, RetrainDetail
from evergreen.details.watch import TriggerDetail
from evergreen.ledger import policy_query, reconciliation
from evergreen.ledger.decisions import Ledger
from evergreen.ledger.reconciliation import TRIGGER_OUTCOMES, cooldown_until, trigger_of
from evergreen.registry.approval import with_approval
from evergreen.registry.lineage import against, params_text
from evergreen.registry.model_registry import ModelRegistry
from evergreen.registry.version import CHALLENGER, Version
from evergreen.spec.canary import canary_of
from evergreen.spec.model import ModelSpec
from evergreen.training.request import Request

ROUTINE = ("manual", "schedule")
"""Reasons that give no trigger of their own: with nothing new, nothing is done."""


UNCHANGED: Outcome = "unchanged"


UNWANTED = "not wanted by the policy"
"""How the explanation of a retraining begins that the model file's policy held back."""


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """What the checks of a plan look at; `decision` is the id of what is to be answered."""

    spec: ModelSpec
    spec_hash: str
    registry: ModelRegistry
    ledger: Ledger
    champion: Version | None
    snapshot: Snapshot
    request: Request
    decision: str
    now: datetime


_Settled = tuple[Outcome, str, Decision | None]


def _unchanged(facts: PlanFacts) -> _Settled | None:
    """The champion came of this very data and code, or what came of it for another reason was not better than it."""
    request, champion = facts.request, facts.champion
    if champion is None or request.force or request.params or request.decision_id or request.reason not in ROUTINE:
        return None
    if _came_of(champion, facts):
        return UNCHANGED, f"nothing is new since version {champion.number}, the champion, was trained", None
    for version in reversed(facts.registry.versions(facts.spec.name)):
        judged = version.status in ("FAILED", "INCONCLUSIVE") and version.tags.decision_id != facts.decision
        same = version.tags.compared_with == against(champion.number) and version.tags.params == params_text(None)
        if judged and same and _came_of(version, facts):
            why = f"nothing is new since version {version.number} was trained and held against version"
            return UNCHANGED, f"{why} {champion.number}: {version.status}", None
    return None


def _came_of(version: Version, facts: PlanFacts) -> bool:
    tags = version.tags
    return tags.data_digest == facts.snapshot.digest and tags.spec_hash == facts.spec_hash


def _adopted_already(facts: PlanFacts) -> _Settled | None:
    """The champion is the very model that is to be carried over."""
    champion, adopts = facts.champion, facts.request.adopts
    if champion is None or not adopts or champion.tags.state_sha256 != adopts:
        return None
    return UNCHANGED, f"version {champion.number}, the champion, is this very model", None


def _rolled_back(facts: PlanFacts) -> _Settled | None:
    """The same data, code and parameters give the same model, under whatever number."""
    if facts.request.force:
        return None
    adopts = facts.request.adopts
    origin = "is this very model" if adopts else "came of this very data"
    for version in facts.registry.versions(facts.spec.name):
        same = (
            version.tags.state_sha256 == adopts
            if adopts
            else _came_of(version, facts) and version.tags.params == params_text(facts.request.params)
        )
        known = (
            (version.tags.rolled_back, "was rolled back"),
            (version.tags.declined, "was not wanted"),
            (version.tags.refused, "was refused by its canary"),
        )
        for reason, what in known:
            if same and reason is not None:
                return "rejected", f"version {version.number} {origin} and {what}: {reason}", None
    return None


def _answered(facts: PlanFacts) -> _Settled | None:
    if facts.request.force:
        return None
    answer = facts.ledger.find("retrain", facts.decision)
    if answer is None:
        covered = _covered(facts)
        return (UNCHANGED, covered, None) if covered else None
    answer = with_approval(facts.ledger, answer)
    if answer.outcome == "promoted":
        return UNCHANGED, f"decision {facts.decision} was answered already: {answer.reason}", answer
    outcome = answer.detail_as(RetrainDetail).outcome
    return outcome, f"decision {facts.decision} was answered already: {answer.reason}", answer


def _taken_back(facts: PlanFacts) -> _Settled | None:
    """A killed run promoted its version and told of nothing, and the version was taken back before the rerun."""
    version = None if facts.request.force else facts.registry.find(facts.spec.name, facts.decision)
    if version is None or version.tags.rolled_back is None:
        return None
    why = f"version {version.number} came of this decision and was rolled back: {version.tags.rolled_back}"
    return "rejected", why, None


def _covered(facts: PlanFacts) -> str:
    """Why the stored decision that is to be answered needs no answer of its own any more."""
    decisions = (
        [facts.ledger.find(trigger, facts.decision) for trigger in TRIGGER_OUTCOMES]
        if facts.request.decision_id
        else []
    )
    retrains = facts.ledger.all("retrain") if any(decisions) else ()
    number = facts.champion.number if facts.champion else None
    answers = (reconciliation.answer_to(entry, retrains, number) for entry in decisions if entry)
    return next(filter(None, answers), "")


def _unwanted(facts: PlanFacts) -> _Settled | None:
    """The model file's policy does not want it: asked now for the schedule, when it was stored for a report."""
    request, spec = facts.request, facts.spec
    if spec.retraining.policy is None or request.force or facts.champion is None:
        return None
    if request.reason == "schedule":
        answer = policy_query.ask_for_schedule(
            spec, facts.ledger, facts.champion.number, facts.snapshot.rows, facts.now
        )
        return None if answer.retrain else (UNCHANGED, f"{UNWANTED}: {answer.reason}", None)
    trigger = trigger_of(request.reason)
    decision = facts.ledger.find(trigger, facts.decision) if trigger is not None else None
    detail = decision.detail_as(TriggerDetail) if decision else None
    if detail is None or detail.called:
        return None
    # What the policy says of a report is kept with the report.
    return UNCHANGED, f"{UNWANTED}: {detail.because}", decision


def _in_canary(facts: PlanFacts) -> _Settled | None:
    """A challenger meets live traffic: with another one in its place none would ever come to its end."""
    challenger = None if facts.request.force else facts.registry.by_alias(facts.spec.name, CHALLENGER)
    if challenger is None or facts.spec.approval.mode != "canary" or challenger.tags.decision_id == facts.decision:
        return None
    retrain = facts.ledger.find("retrain", challenger.tags.decision_id)
    if retrain is None or with_approval(facts.ledger, retrain).outcome != "in-canary":
        return None
    number, until = challenger.number, retrain.at + canary_of(facts.spec).budget
    return UNCHANGED, f"version {number} meets live traffic, until {until:%Y-%m-%d %H:%M} UTC at the latest", None


def _cooling(facts: PlanFacts) -> _Settled | None:
    """After a retraining for drift, performance or data, the next one for the same trigger waits."""
    trigger = trigger_of(facts.request.reason)
    if facts.request.force or trigger is None:
        return None
    until = cooldown_until(facts.spec, facts.ledger.all("retrain"), trigger, facts.now)
    if until is None:
        return None
    return UNCHANGED, f"cooling down after the last retraining for {trigger} until {until:%Y-%m-%d %H:%M} UTC", None


PLAN_CHECKS: tuple[Callable[[PlanFacts], _Settled | None], ...] = (
    _unchanged,
    _adopted_already,
    _rolled_back,
    _answered,
    _taken_back,
    _unwanted,
    _in_canary,
    _cooling,
)
"""Asked one after the other; the first that has an answer settles the request."""
