"""A test event through the real chain: event, automation, deployment, pool, worker, run; and which link is broken.

A rehearsal event is like any other event of the model's first trigger, but for a label. The trigger counts its cooldown
separately, no alert is sent for it, and its run ends before it reads any data.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from evergreen import naming
from evergreen.errors import EvergreenError
from evergreen.events import REHEARSAL_PREFIX, TRIGGER_EVENTS, Event
from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.events.schemas.automations import Automation

Link = Literal["server", "deployment", "automation", "parameters", "pool", "worker", "event", "slot", "run"]

CREATED_SECONDS = 20.0
"""The longest wait from the event to a flow run: 0.2 s on an idle machine, a few seconds on a busy server."""
STARTED_SECONDS = 90.0
"""The longest wait from the flow run to its end: a poll, a process and the imports."""
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The result of a rehearsal.

    Attributes:
        broken: the first link that does not work; None if all do.
        latency_s: seconds from the event to the first line of the flow's code.
        reason: what is wrong with the link.
        fix: what to do about it.
        flow_run: the run that the event started.
    """

    model: str
    ok: bool
    broken: Link | None = None
    latency_s: float | None = None
    reason: str = ""
    fix: str = ""
    flow_run: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        return asdict(self)


class _BrokenError(Exception):
    def __init__(self, link: Link, reason: str, fix: str, flow_run: str | None = None) -> None:
        super().__init__(reason)
        self.link, self.reason, self.fix, self.flow_run = link, reason, fix, flow_run


def rehearse(
    environment: str, spec: ModelSpec, *, created: float = CREATED_SECONDS, started: float = STARTED_SECONDS
) -> Rehearsal:
    """Send one rehearsal event of a model and follow it.

    Args:
        environment: whose chain it is.
        spec: the model.
        created: seconds to wait from the event to the flow run.
        started: seconds to wait from the flow run to its end.

    Raises:
        EvergreenError: no event starts a retrain of this model.
    """
    if not spec.retraining.triggers:
        raise EvergreenError(
            f"{spec.name}: retraining.triggers is empty: no event starts a retrain.", "There is nothing to rehearse."
        )
    try:
        latency, run = asyncio.run(_follow(environment, spec, created, started))
    except _BrokenError as broken:
        return Rehearsal(spec.name, False, broken.link, None, broken.reason, broken.fix, broken.flow_run)
    return Rehearsal(spec.name, True, latency_s=round(latency, 3), flow_run=run)


async def _follow(environment: str, spec: ModelSpec, created: float, started: float) -> tuple[float, str]:
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.settings import get_current_settings

    # Without it Prefect would start a temporary server, which no worker polls.
    if not get_current_settings().api.url:
        raise _BrokenError("server", "No Prefect server is set, and the local stack is not up.", "Run: evergreen up")
    async with get_client() as client:
        try:
            await client.hello()
            deployment = await _find_deployment(client, environment, spec.name)
            automation = await _find_automation(client, spec, deployment)
            await _require_worker(client, deployment)
            decision_id, sent = _emit(environment, spec)
            run = await _await_run(client, deployment, automation, decision_id, sent, created)
            return await _await_end(client, run, sent, started), str(run.id)
        except (httpx.HTTPError, OSError) as error:
            reason = f"The Prefect server at {client.api_url} does not answer ({type(error).__name__})."
            raise _BrokenError("server", reason, "Start it with: evergreen up") from None


async def _find_deployment(client: PrefectClient, environment: str, model: str) -> DeploymentResponse:
    from prefect.exceptions import ObjectNotFound

    name = naming.deployment_path(environment, "retrain", model)
    try:
        return await client.read_deployment_by_name(name)
    except ObjectNotFound:
        fix = "Run: evergreen deployments sync, then: evergreen deployments apply"
        raise _BrokenError("deployment", f"The server has no deployment {name}.", fix) from None


async def _find_automation(client: PrefectClient, spec: ModelSpec, deployment: DeploymentResponse) -> Automation:
    event = TRIGGER_EVENTS[spec.retraining.triggers[0]]
    owned = await client.read_resource_related_automations(f"prefect.deployment.{deployment.id}")
    listening = [entry for entry in owned if event in getattr(entry.trigger, "expect", ())]
    if not listening:
        reason = f"No automation starts {deployment.name} on {event}."
        raise _BrokenError("automation", reason, "Run: evergreen deployments sync, then: evergreen deployments apply")
    automation = listening[0]
    if not automation.enabled:
        reason = f"The automation {automation.name!r} is switched off."
        raise _BrokenError("automation", reason, "Switch it on in the Prefect UI, under Automations.")
    parameters: dict[str, Any] = getattr(automation.actions[0], "parameters", None) or {}
    # Without these the event would start an ordinary retrain, so they are checked before it is sent.
    if not all(str(parameters.get(name) or "").strip() for name in ("model", "reason", "decision_id")):
        reason = f"The automation {automation.name!r} does not pass model, reason and decision_id to the run."
        raise _BrokenError("parameters", reason, "Run: evergreen deployments apply")
    return automation


async def _require_worker(client: PrefectClient, deployment: DeploymentResponse) -> None:
    from prefect.exceptions import ObjectNotFound

    name = deployment.work_pool_name or ""
    try:
        pool = await client.read_work_pool(name)
    except ObjectNotFound:
        raise _BrokenError("pool", f"There is no work pool {name!r}.", "Run: evergreen deployments apply") from None
    if pool.is_paused:
        raise _BrokenError("pool", f"The work pool {name!r} is paused.", f"Run: prefect work-pool resume {name}")
    workers = await client.read_workers_for_work_pool(name)
    if not any(worker.status == "ONLINE" for worker in workers):
        fix = f"Run: evergreen up, or on the machine for the work: prefect worker start --pool {name}"
        raise _BrokenError("worker", f"No worker of the work pool {name!r} is online.", fix)


def _emit(environment: str, spec: ModelSpec) -> tuple[str, datetime]:
    from prefect.events import emit_event

    decision_id = f"{REHEARSAL_PREFIX}{secrets.token_hex(6)}"
    payload = {"decision_id": decision_id, "share": 1.0, "columns": []}
    event = Event(TRIGGER_EVENTS[spec.retraining.triggers[0]], spec.name, payload, rehearsal=decision_id)
    sent = datetime.now(UTC)
    emit_event(event=event.name, resource=event.resource(environment), payload=dict(event.payload), occurred=sent)
    return decision_id, sent


async def _await_run(
    client: PrefectClient,
    deployment: DeploymentResponse,
    automation: Automation,
    decision_id: str,
    sent: datetime,
    seconds: float,
) -> FlowRun:
    """Wait for the flow run that the rehearsal event starts."""
    async for _ in _poll(seconds):
        for run in await _read_runs(client, deployment):
            if run.parameters.get("decision_id") == decision_id:
                return run
        failure = await _read_failure(client, automation, sent)
        if failure is not None:
            reason = f"The automation {automation.name!r} fired and could not start a run: {failure}."
            fix = "Compare its parameters with prefect.yaml, then run: evergreen deployments apply"
            raise _BrokenError("parameters", reason, fix)
    fix = "See the automation and the event feed in the Prefect UI; is there a second server?"
    reason = f"The event was sent, but the automation {automation.name!r} started no run within {seconds:.0f} s."
    raise _BrokenError("event", reason, fix)


async def _await_end(client: PrefectClient, created: FlowRun, sent: datetime, seconds: float) -> float:
    """Wait for the end of the run; returns the seconds from the event to the flow's first line."""
    run = created
    async for _ in _poll(seconds):
        run = await client.read_flow_run(created.id)
        if run.state is not None and run.state.is_final():
            break
    state = run.state
    number, name = str(run.id), state.name if state else "unknown"
    if state is not None and state.is_completed() and run.start_time is not None:
        return run.start_time.timestamp() - sent.timestamp()
    if state is not None and state.is_cancelled():
        reason = f"The run was cancelled: {state.message}"
        raise _BrokenError(
            "slot", reason, "A retrain is running, or a dead one holds the slot: try again later.", number
        )
    if run.start_time is None:
        reason = f"The run was created, but no worker started it within {seconds:.0f} s; it is {name}."
        raise _BrokenError("worker", reason, "See the worker's log.", number)
    message = (state.message or "").splitlines() if state else []
    reason = f"The run ended {name}: {message[-1] if message else 'no message'}"
    raise _BrokenError("run", reason, "See its log in the Prefect UI.", number)


async def _read_runs(client: PrefectClient, deployment: DeploymentResponse) -> list[FlowRun]:
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
    from prefect.client.schemas.sorting import FlowRunSort

    return await client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=50,
    )


async def _read_failure(client: PrefectClient, automation: Automation, since: datetime) -> str | None:
    from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventResourceFilter

    wanted = EventFilter(
        event=EventNameFilter(name=["prefect.automation.action.failed"]),
        resource=EventResourceFilter(id=[f"prefect.automation.{automation.id}"]),
        occurred=EventOccurredFilter(since=since),
    )
    page = await client.read_events(wanted, limit=1)
    return str(page.events[0].payload.get("reason", "no reason given")) if page.events else None


async def _poll(seconds: float) -> AsyncIterator[None]:
    deadline = time.monotonic() + seconds
    while True:
        yield
        if time.monotonic() >= deadline:
            return
        await asyncio.sleep(_POLL_SECONDS)
