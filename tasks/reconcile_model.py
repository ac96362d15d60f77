"""Start the retraining that a stored decision calls for, where nothing has answered it.

The ledger is looked at first; Prefect is asked only where something may be due, and MLflow is never opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId, FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run

import models
from evergreen import naming
from evergreen.decision import Decision, reconciled, suppressed
from evergreen.events import is_rehearsal
from evergreen.ledger import reconciliation
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.reconciliation import Action, Attempt, PendingRetrain
from evergreen.settings import Settings
from tasks import run_logger

_TURNED_AWAY = "Deployment concurrency limit reached"
_MOST_RUNS = 200


@dataclass(frozen=True, slots=True)
class Followed:
    """What was done for one model.

    Attributes:
        asked: a person was asked to approve a version and has not answered, or the answer was not carried out.
        in_canary: a challenger meets live traffic.
        escalation: what a person is to be told; stored already.
    """

    model: str
    asked: bool = False
    steps: tuple[Action, ...] = ()
    escalation: Decision | None = None
    in_canary: bool = False


@task(cache_policy=NO_CACHE, timeout_seconds=120, task_run_name="reconcile-{model}")
def reconcile_model(settings: Settings, model: str, now: datetime, grace: timedelta) -> Followed:
    """Look at one model's ledger, and start or escalate what nobody else has."""
    spec = models.load(model, settings.models).spec
    ledger = reconciliation.read_ledger(settings, spec)
    awaits_approval, in_canary = reconciliation.is_asking(ledger), reconciliation.is_in_canary(ledger)
    finding = reconciliation.find_pending(spec, ledger, now=now, grace=grace)
    _keep_held(settings, model, finding, now)
    if finding.status != "due" and (
        reconciliation.is_escalated(ledger) or not reconciliation.unsuccessful_retrains(ledger)
    ):
        return Followed(model, awaits_approval, in_canary=in_canary)
    steps: list[Action] = []
    with get_client(sync_client=True) as client:
        runs = _Runs(client, settings.environment, model)
        attempts = runs.attempts(finding, ledger.since, now)
        finding = reconciliation.find_pending(spec, ledger, attempts, now=now, grace=grace)
        _keep_held(settings, model, finding, now)
        if finding.status == "due":
            steps.extend(runs.start(finding))
            _keep_started(settings, model, finding, steps, attempts, now)
    escalation = reconciliation.escalation(spec, ledger, attempts, now=now)
    if escalation is not None:
        Decisions(settings.lake_uri, model).record(escalation)
        steps.append(Action(model, escalation.id, now, f"told a person: {escalation.reason}"))
    for step in steps:
        run_logger(model, step.about).info("reconcile: %s, %s: %s", model, step.about, step.what)
    return Followed(model, awaits_approval, tuple(steps), escalation, in_canary)


def _keep_held(settings: Settings, model: str, finding: PendingRetrain, now: datetime) -> None:
    """Note why a decision is not answered now, once for each reason."""
    if finding.held and finding.decision is not None:
        run = flow_run.get_id() or ""
        note = suppressed(model, finding.decision, why=finding.reason, at=now, flow_run=run)
        Decisions(settings.lake_uri, model).record(note)


def _keep_started(
    settings: Settings,
    model: str,
    finding: PendingRetrain,
    steps: Sequence[Action],
    attempts: Sequence[Attempt],
    now: datetime,
) -> None:
    """Note that a decision got the run that its event had not brought, or that had failed."""
    if finding.decision is None:
        return
    for step in steps:
        failed = sum(each.status == "failed" and each.decision_id == step.about for each in attempts)
        runs = "a run" if failed == 1 else f"{failed} runs"
        lost = f"{runs} for it failed" if failed else "no run came of its event"
        why = f"{lost}; open since {step.since:%Y-%m-%d %H:%M} UTC; {step.what}"
        note = reconciled(model, finding.decision, why=why, at=now, flow_run=flow_run.get_id() or "", run=step.run)
        Decisions(settings.lake_uri, model).record(note)


class _Runs:
    """The runs of a model's retrain deployment."""

    def __init__(self, client: SyncPrefectClient, environment: str, model: str) -> None:
        self.client, self.environment, self.model = client, environment, model
        self.name = naming.deployment_path(environment, "retrain", model)
        self.runs: list[FlowRun] = []
        try:
            self.deployment: UUID | None = client.read_deployment_by_name(self.name).id
        except ObjectNotFound:
            self.deployment = None

    def attempts(self, finding: PendingRetrain, since: datetime | None, now: datetime) -> tuple[Attempt, ...]:
        """Those since the champion became it, the newest first; runs that are scheduled for later are left out."""
        if self.deployment is None:
            return ()
        window = {"before_": now + timedelta(hours=1)} | ({"after_": since} if since else {})
        self.runs = self.client.read_flow_runs(
            flow_run_filter=FlowRunFilter.model_validate({"expected_start_time": window}),
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[self.deployment])),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=_MOST_RUNS,
        )
        decision = finding.decision.id if finding.decision else ""
        return tuple(filter(None, (_attempt(run, decision, now) for run in self.runs)))

    def start(self, finding: PendingRetrain) -> tuple[Action, ...]:
        """Start one run of the deployment; two that look at the same time start one."""
        decision = finding.decision
        if decision is None or finding.since is None:
            return ()
        if self.deployment is None:
            run_logger(self.model, decision.id).warning(
                "reconcile: decision %s of %s is due, and there is no deployment %s. Run: evergreen deployments apply",
                *(decision.id, self.model, self.name),
            )
            return ()
        parameters = {"model": self.model, "reason": decision.kind, "decision_id": decision.id, "event_id": None}
        earlier = [run for run in self.runs if run.parameters.get("decision_id") == decision.id]
        run = self.client.create_flow_run_from_deployment(
            self.deployment,
            parameters=parameters,
            idempotency_key=naming.reconcile_key(
                self.environment, self.model, decision.id, str(earlier[0].id) if earlier else "first"
            ),
        )
        return (Action(self.model, decision.id, finding.since, f"started {run.name} for {decision.kind}", str(run.id)),)


def _attempt(run: FlowRun, decision: str, now: datetime) -> Attempt | None:
    """A run as the ledger's questions need it; None for one that says nothing about them."""
    state, decision_id = run.state, run.parameters.get("decision_id")
    if state is None or is_rehearsal(decision_id):
        return None
    trigger = reconciliation.trigger_of(str(run.parameters.get("reason", "")))
    at = run.end_time or run.expected_start_time or now
    if state.is_running() or state.is_pending() or state.is_cancelling():
        return Attempt(str(run.id), decision_id, trigger, at, "open")
    if not state.is_final():
        # A schedule's next run, or one that waits for a person's word on another decision, is not on this one.
        concerns = bool(decision_id) if state.is_scheduled() else decision_id == decision
        return Attempt(str(run.id), decision_id, trigger, at, "open") if concerns else None
    if state.is_cancelled() and _TURNED_AWAY in (state.message or ""):
        return None
    return Attempt(str(run.id), decision_id, trigger, at, "completed" if state.is_completed() else "failed")
