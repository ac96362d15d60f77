"""Wait for manual approval in the Prefect UI: the run is suspended with the gate table and a form.

The process of the run ends. When a person resumes the run, the flow starts from its first line, finds its question in
the ledger and carries out the answer: it does not ingest, fit or evaluate again. A worker can resume only the run of a
deployment; any other run ends as `awaiting-approval`.
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
from evergreen.details.decision import RetrainDetail
from evergreen.errors import EvergreenError
from evergreen.events import MODEL_PROMOTED, MODEL_REJECTED, Event
from evergreen.pages.links import report_url
from evergreen.registry.approval import ApprovalOutcome, ApprovalResponse, asked_by, recorded_approval, unanswered
from evergreen.reports.approval_question import question
from evergreen.runs.context import RunContext
from evergreen.runs.results import MoveResult
from flows.shared.conclude import update_cards
from tasks.announce import announce
from tasks.approve import approve, reject_by_hand, resume_waiting
from tasks.report import report_move, report_retrain

_KEY = "approval"


def suspended_result(context: RunContext) -> RetrainDetail | None:
    """The result of this run before it was suspended; None in its first execution."""
    decision = asked_by(context.ledger, context.flow_run)
    return None if decision is None else decision.detail_as(RetrainDetail)


def await_approval(context: RunContext, result: RetrainDetail) -> RetrainDetail:
    """Wait for manual approval if the result needs it, and apply the answer; else return the result unchanged."""
    if result.outcome != "awaiting-approval" or result.version is None or not deployment.get_id():
        return result
    known = recorded_approval(context.ledger, result.decision_id)
    return _conclude(context, result, known or approve(context, result.version, _await_answer(context, result)))


def recover_answers(context: RunContext) -> tuple[RetrainDetail, ...]:
    """Apply the answers whose run was cancelled (no free slot) or killed after it was resumed."""
    results = []
    for decision in unanswered(context.ledger):
        answer = _read_lost_answer(decision)
        result = decision.detail_as(RetrainDetail)
        if answer is not None and result.version is not None:
            results.append(_conclude(context, result, approve(context, result.version, answer)))
    return tuple(results)


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
    payload = {"decision_id": decision, "version": version.number, "outcome": "rejected", "reason": reason}
    announce(context.settings.environment, Event(MODEL_REJECTED, version.model, payload))
    report_move(context.settings.environment, result)
    update_cards(context, version.number)
    resume_waiting(context, version.number, ApprovalResponse(decision="reject", reason=reason))
    return result


def _await_answer(context: RunContext, result: RetrainDetail) -> ApprovalResponse:
    """Suspend this run until a person answers; in the execution after that, the answer."""
    timeout = context.spec.approval.timeout
    form = RunInput.subclass_from_base_model_type(ApprovalResponse)
    form_input = form.with_initial_data(description=question(result, datetime.now(UTC) + timeout))
    try:
        response = suspend_flow_run(wait_for_input=form_input, timeout=int(timeout.total_seconds()), key=_KEY)
    except ValidationError:
        # A run suspends once: one that nobody answered in time, and that was started anew, finds no answer.
        what = f"{result.model}: nobody answered in time for version {result.version}."
        fix = f"Run: evergreen promote {result.model} {result.version} --reason TEXT"
        raise EvergreenError(what, fix) from None
    return ApprovalResponse.model_validate(response.model_dump())


def _conclude(context: RunContext, result: RetrainDetail, approval: ApprovalOutcome) -> RetrainDetail:
    """Report the outcome for a challenger; announce it unless an earlier run already did."""
    model = context.spec.name
    champion = context.registry.champion(model)
    final = replace(
        result,
        outcome=approval.outcome,
        explanation=approval.explanation,
        champion=champion.number if champion else None,
    )
    if approval.fresh:
        name = MODEL_PROMOTED if approval.outcome == "promoted" else MODEL_REJECTED
        payload = {"decision_id": final.decision_id, "version": final.version, "outcome": final.outcome}
        announce(context.settings.environment, Event(name, model, payload | {"reason": final.explanation}))
        update_cards(context, final.version, result.champion if final.outcome == "promoted" else None)
    link = report_url(context.settings, model, final.decision_id, final.drift.report)
    report_retrain(context.settings.environment, final, link)
    return final


def _read_lost_answer(decision: Decision) -> ApprovalResponse | None:
    """The answer that a run was resumed with, where that run has ended without carrying it out."""
    if not decision.flow_run:
        return None
    run = UUID(decision.flow_run)
    with get_client(sync_client=True) as client:
        try:
            state = client.read_flow_run(run).state
        except ObjectNotFound:
            return None
    if state is None or not state.is_final():
        return None
    answer = read_flow_run_input(keyset_from_base_key(f"suspended-{_KEY}")["response"], run)
    return None if answer is None else ApprovalResponse.model_validate(answer)
