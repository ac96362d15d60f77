"""What a person says of a challenger under `approval="manual"`, and what becomes of it.

The word is kept in the ledger beside the question, so that the run that waits, the command line and whoever asks again
find the same answer. The first word counts; a version that was declined comes back when a person names it.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from evergreen.actor import MAX_NAME_LENGTH, approval_reason, clean_name, person, person_name, rejection_reason
from evergreen.decision import Decision
from evergreen.details.decision import ApprovalDetail, Outcome, RetrainDetail
from evergreen.errors import RefusedError
from evergreen.ledger.decisions import Ledger
from evergreen.ledger.promotions import PromotionLog
from evergreen.registry import promotion
from evergreen.registry.model_registry import ModelRegistry
from evergreen.registry.promotion import Lock
from evergreen.registry.version import CANARY, CHALLENGER, DECLINED, DECLINED_BY, Version
from evergreen.spec.model import ModelSpec

OPEN = ("awaiting-approval", "in-canary")
"""Outcomes of a retraining that are not its end: a person, or live traffic, has the word."""


class ApprovalResponse(BaseModel):
    """What a person answers; the form of the Prefect UI is made from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    decision: Literal["approve", "reject"] = Field(
        description="approve makes the version the champion; reject leaves the champion as it is."
    )
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, pattern=r"\S")] = Field(
        description="Why; kept in the log."
    )
    by: Annotated[str, BeforeValidator(lambda name: clean_name(name) if isinstance(name, str) else name)] = Field(
        default="", max_length=MAX_NAME_LENGTH, description="Your name, if you like; kept in the log."
    )


@dataclass(frozen=True, slots=True)
class ApprovalOutcome:
    """What became of a challenger; `fresh` where it was not known before."""

    outcome: Outcome
    explanation: str
    fresh: bool = True


def asked_by(ledger: Ledger, flow_run: str) -> Decision | None:
    """The question that a run has put to a person before; None where it has put none."""
    questions = [entry for entry in ledger.all("retrain") if flow_run and entry.flow_run == flow_run]
    return questions[-1] if questions and questions[-1].outcome == "awaiting-approval" else None


def unanswered(ledger: Ledger) -> tuple[Decision, ...]:
    """The questions that nobody has answered, oldest first."""
    answered = {entry.id for entry in ledger.all("approval")}
    retrains = ledger.all("retrain")
    return tuple(entry for entry in retrains if entry.outcome == "awaiting-approval" and entry.id not in answered)


def recorded_approval(ledger: Ledger, decision: str) -> ApprovalOutcome | None:
    """What a person has said to a question already."""
    approval = ledger.find("approval", decision)
    return ApprovalOutcome(cast(Outcome, approval.outcome), approval.reason, fresh=False) if approval else None


def with_approval(ledger: Ledger, entry: Decision) -> Decision:
    """A retraining's entry as it stands after what a person said of it."""
    approval = recorded_approval(ledger, entry.id) if entry.outcome in OPEN else None
    if approval is None:
        return entry
    detail = replace(entry.detail_as(RetrainDetail), outcome=approval.outcome)
    return replace(entry, outcome=approval.outcome, reason=approval.explanation, detail=detail)


def record_approval(
    ledger: Ledger, version: Version, outcome: Outcome, explanation: str, *, by: str, now: datetime
) -> None:
    """Keep what became of a version beside the question that it was waiting for; without a question, nothing.

    `by` is a person, or `canary`.
    """
    record_outcome(ledger, version.tags.decision_id, version.number, outcome, explanation, by=by, now=now)


def record_outcome(
    ledger: Ledger, decision: str, number: int, outcome: Outcome, explanation: str, *, by: str, now: datetime
) -> None:
    """As `record_approval`, by the question's id and the version's number: the version may be gone."""
    question = ledger.find("retrain", decision)
    if question is None or question.outcome not in OPEN:
        return
    approval = replace(question, kind="approval", at=now, outcome=outcome, reason=explanation)
    detail = ApprovalDetail(number, person_name(by), canary=by == CANARY)
    ledger.record(replace(approval, detail=detail))


def apply_response(
    spec: ModelSpec,
    registry: ModelRegistry,
    promotions: PromotionLog,
    ledger: Ledger,
    version: Version,
    response: ApprovalResponse,
    *,
    now: datetime,
    lock: Lock,
) -> ApprovalOutcome:
    """Carry out an answer; what may not be promoted any more is told, and nothing is moved.

    It is looked up and kept under the lock: of two people who answer at once, the second is told what the first said.

    Raises:
        ArtifactError: the version's stored files are not what was registered.
        BusyError: another process is moving the alias.
    """
    by, yes = person(response.by), response.decision == "approve"
    reason = (approval_reason if yes else rejection_reason)(response.reason, by)
    with lock:
        recorded = recorded_approval(ledger, version.tags.decision_id)
        if recorded is not None:
            return recorded
        held, words = nullcontext(), {"reason": response.reason, "by": by}
        try:
            if yes:
                promotion.promote(spec, registry, promotions, version, **words, now=now, lock=held)
            else:
                decline(spec, registry, version, **words, lock=held)
            ruling = ApprovalOutcome("promoted" if yes else "rejected", reason)
        except RefusedError as refused:
            ruling = ApprovalOutcome("inconclusive", f"{reason}; but {refused}")
        record_approval(ledger, version, ruling.outcome, ruling.explanation, by=by, now=now)
    return ruling


def decline(spec: ModelSpec, registry: ModelRegistry, version: Version, *, reason: str, by: str, lock: Lock) -> None:
    """Take a version out of the running: it is tagged with who said so and why, and is challenger no longer.

    Raises:
        RefusedError: it never passed its gates, or it is in production.
    """
    with lock:
        champion = registry.champion(spec.name)
        if champion is not None and champion.number == version.number:
            raise RefusedError(
                f"{version.label} is the champion already.",
                f"To take it back: evergreen rollback {spec.name} --reason TEXT",
            )
        if version.status != "PASSED":
            raise RefusedError(
                f"{version.label} waits for nobody: its gates say {version.status}.", "Nothing to reject."
            )
        registry.tag(version, DECLINED_BY, by)
        registry.tag(version, DECLINED, reason)
        challenger = registry.by_alias(spec.name, CHALLENGER)
        if challenger is not None and challenger.number == version.number:
            registry.drop_alias(spec.name, CHALLENGER)
