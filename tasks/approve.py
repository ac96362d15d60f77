"""Carry out what a person answered about a challenger, and tell the run that waits for it."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.exceptions import FlowPauseTimeout, NotPausedError, ObjectNotFound
from prefect.flow_runs import resume_flow_run
from prefect.logging import get_run_logger

from evergreen.actor import rejected_because
from evergreen.errors import BusyError, RegistryError
from evergreen.ledger.decisions import Decisions
from evergreen.registry import approval
from evergreen.registry.approval import Answer, Ruling
from evergreen.registry.version import CHALLENGER, Version
from evergreen.runs.context import Workspace
from tasks import passing, retried


def _worth_another_try(task: object, run: object, state: object) -> bool:
    """A promotion that is under way ends within seconds."""
    return passing(task, run, state) or isinstance(state.result(raise_on_failure=False), BusyError)  # type: ignore[attr-defined]


@retried("approve", timeout_seconds=300, worth_retrying=_worth_another_try)
def approve(workspace: Workspace, number: int, answer: Answer) -> Ruling:
    """Promote the version or take it out of the running, as was answered."""
    spec, registry = workspace.spec, workspace.registry
    version = registry.get(spec.name, number)
    ruling = approval.rule(spec, workspace.settings, registry, version, answer, now=datetime.now(UTC))
    get_run_logger().info("approve: %s, %s", ruling.outcome, ruling.explanation)
    return ruling


@task(cache_policy=NO_CACHE, timeout_seconds=300, task_run_name="reject")
def reject_by_hand(workspace: Workspace, number: int | None, reason: str, by: str) -> Version:
    """Take a version out of the running because a person says so; the challenger where none is named."""
    spec, registry, now = workspace.spec, workspace.registry, datetime.now(UTC)
    version = registry.by_alias(spec.name, CHALLENGER) if number is None else registry.get(spec.name, number)
    if version is None:
        raise RegistryError(f"{spec.name} has no challenger.", f"Name a version, or run: evergreen retrain {spec.name}")
    approval.decline(spec, workspace.settings, registry, version, reason=reason, by=by, now=now)
    ledger = Decisions(workspace.settings.lake_uri, spec.name)
    approval.keep_word(ledger, version, "rejected", rejected_because(reason, by), by=by, now=now)
    return version


@task(cache_policy=NO_CACHE, timeout_seconds=120, task_run_name="resume-the-waiting-run")
def resume_waiting(workspace: Workspace, number: int, answer: Answer) -> None:
    """Let the run that waits for this answer go on and end; there may be none, or it may have ended."""
    model = workspace.spec.name
    decision = workspace.registry.get(model, number).tags.get("decision_id", "")
    asked = Decisions(workspace.settings.lake_uri, model).find("retrain", decision)
    if asked is None or not asked.flow_run or asked.outcome != "awaiting-approval":
        return
    run = UUID(asked.flow_run)
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(run).state
        if state is not None and state.is_paused():
            # A run that was suspended before the form asked for a name refuses one.
            resume_flow_run(run, run_input=answer.model_dump(exclude_defaults=True))
            get_run_logger().info("approve: flow run %s goes on", run)
    except (ObjectNotFound, NotPausedError, FlowPauseTimeout):
        get_run_logger().info("approve: flow run %s waits no more", run)
