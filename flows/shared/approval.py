"""Waiting for a person, in the Prefect UI: the run is suspended with the gate table and a form, and holds nothing.

Its process ends. When it is resumed the flow starts from its first line, finds in the ledger the question that it had
put, and goes on from there: nothing is landed, fitted or judged again. Only the run of a deployment can be resumed by a
worker; any other ends as `awaiting-approval`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput, read_flow_run_input
from prefect.input.run_input import keyset_from_base_key
from prefect.runtime import deployment
from pydantic import ValidationError

from evergreen.decision import Decision
from evergreen.errors import EvergreenError
from evergreen.events import MODEL_PROMOTED, MODEL_REJECTED, Event
from evergreen.registry.approval import ApprovalOutcome, ApprovalResponse, asked_by, recorded_approval, unanswered
from evergreen.reports.approval_question import question
from evergreen.runs.context import RunContext
from evergreen.runs.results import MoveResult, RetrainResult
from flows.shared.conclude import update_cards
from tasks.announce import announce
from tasks.approve import approve, reject_by_hand, resume_waiting
from tasks.report import report_move, report_retrain

_KEY = "approval"


def suspended_result(context: RunContext) -> RetrainResult | None:
    """What this very run came to before it was suspended; None in its first execution."""
    asked = asked_by(context.ledger, context.flow_run)
    return None if asked is None else _result(context, asked)


def await_approval(context: RunContext, result: RetrainResult) -> RetrainResult:
    """Where a person has to approve, wait for one, and carry out the answer; otherwise the result as it is."""
    if result.outcome != "awaiting-approval" or result.version is None or not deployment.get_id():
        return result
    known = recorded_approval(context.ledger, result.decision_id)
    return _concluded(context, result, known or approve(context, result.version, _answer(context, result)))


def recover_answers(context: RunContext) -> tuple[RetrainResult, ...]:
    """Carry out answers whose run could not go on: cancelled for want of a slot, or killed, after it was resumed."""
    found = []
    for asked in unanswered(context.ledger):
        answer = _left_behind(asked)
        result = _result(context, asked)
        if answer is not None and result.version is not None:
            found.append(_concluded(context, result, approve(context, result.version, answer)))
    return tuple(found)


def reject_challenger(context: RunContext, number: int | None, reason: str, by: str) -> MoveResult:
    """Reject the challenger, or a named version, by hand; the run that waits for it ends."""
    version = reject_by_hand(context, number, reason, by)
    champion = context.registry.champion(version.model)
    result = MoveResult(
        model=version.model,
        action="reject",
        champion=champion.number if champion else 0,
        previous=None,
        reason=reason,
        changed=True,
        rejected=version.number,
    )
    decision = version.tags.decision_id
    told = {"decision_id": decision, "version": version.number, "outcome": "rejected", "reason": reason}
    announce(Event(MODEL_REJECTED, version.model, told))
    report_move(result)
    update_cards(context, version.number)
    resume_waiting(context, version.number, ApprovalResponse(decision="reject", reason=reason))
    return result


def _answer(context: RunContext, result: RetrainResult) -> ApprovalResponse:
    """Suspend this run until a person answers; in the execution after that, the answer."""
    timeout = context.spec.approval.timeout
    form = RunInput.subclass_from_base_model_type(ApprovalResponse)
    asked = form.with_initial_data(description=question(result, datetime.now(UTC) + timeout))
    try:
        given = suspend_flow_run(wait_for_input=asked, timeout=int(timeout.total_seconds()), key=_KEY)
    except ValidationError:
        # A run suspends once: one that nobody answered in time, and that was started anew, finds no answer.
        what = f"{result.model}: nobody answered in time for version {result.version}."
        fix = f"Run: evergreen promote {result.model} {result.version} --reason TEXT"
        raise EvergreenError(what, fix) from None
    return ApprovalResponse.model_validate(given.model_dump())


def _concluded(context: RunContext, result: RetrainResult, ruling: ApprovalOutcome) -> RetrainResult:
    """Announce and show what became of a challenger; what was known already was announced already."""
    model = context.spec.name
    champion = context.registry.champion(model)
    final = replace(
        result,
        outcome=ruling.outcome,
        explanation=ruling.explanation,
        champion=champion.number if champion else None,
    )
    if ruling.fresh:
        name = MODEL_PROMOTED if ruling.outcome == "promoted" else MODEL_REJECTED
        told = {"decision_id": final.decision_id, "version": final.version, "outcome": final.outcome}
        announce(Event(name, model, told | {"reason": final.explanation}))
        update_cards(context, final.version, result.champion if final.outcome == "promoted" else None)
    report_retrain(final)
    return final


def _left_behind(asked: Decision) -> ApprovalResponse | None:
    """The answer that a run was resumed with, where that run has ended without carrying it out."""
    if not asked.flow_run:
        return None
    run = UUID(asked.flow_run)
    with get_client(sync_client=True) as client:
        try:
            state = client.read_flow_run(run).state
        except ObjectNotFound:
            return None
    if state is None or not state.is_final():
        return None
    given = read_flow_run_input(keyset_from_base_key(f"suspended-{_KEY}")["response"], run)
    return None if given is None else ApprovalResponse.model_validate(given)


def _result(context: RunContext, asked: Decision) -> RetrainResult:
    return RetrainResult.of_json(asked.detail, context.observations.snapshot(asked.snapshot))
