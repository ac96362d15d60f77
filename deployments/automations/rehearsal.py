"""A canary through the real chain: event, automation, deployment, pool, worker, run; and which link is broken.

The canary is a `drift failed` event like any other, with a label of its own: it has its own bucket of the trigger's
cooldown, nobody is told of it, and its run ends before it touches any data.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from evergreen.errors import EvergreenError
from evergreen.events import CANARY, GROUNDS, Event
from evergreen.naming import dashed
from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.events.schemas.automations import Automation

Link = Literal["server", "deployment", "automation", "parameters", "pool", "worker", "event", "slot", "run"]

CREATED_SECONDS = 20.0
"""From the event to a flow run: 0.2 s on an idle machine; a busy server takes a few seconds."""
STARTED_SECONDS = 90.0
"""From the flow run to its end: a poll, a process, the imports, and nothing to do."""
_ASK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a rehearsal found.

    Attributes:
        broken: the first link that does not hold; None where all do.
        latency_s: from the event to the first line of the flow's code.
        flow_run: the run that the canary came to.
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


def rehearse(spec: ModelSpec, *, created: float = CREATED_SECONDS, started: float = STARTED_SECONDS) -> Rehearsal:
    """Send one canary of a model, and follow it; the waits are in seconds.

    Raises:
        EvergreenError: nothing but the schedule retrains this model.
    """
    if not spec.retraining.triggers:
        raise EvergreenError(f"{spec.name}: retrain_on is empty: no event starts a retrain.", "Nothing to rehearse.")
    try:
        latency, run = asyncio.run(_follow(spec, created, started))
    except _BrokenError as broken:
        return Rehearsal(spec.name, False, broken.link, None, broken.reason, broken.fix, broken.flow_run)
    return Rehearsal(spec.name, True, latency_s=round(latency, 3), flow_run=run)


async def _follow(spec: ModelSpec, created: float, started: float) -> tuple[float, str]:
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.settings import get_current_settings

    # Prefect would start a temporary one, where no worker ever looks.
    if not get_current_settings().api.url:
        raise _BrokenError("server", "No Prefect server is set, and the local stack is not up.", "Run: evergreen up")
    async with get_client() as client:
        try:
            await client.hello()
            deployment = await _deployment(client, spec.name)
            automation = await _automation(client, spec, deployment)
            await _pool(client, deployment)
            token, sent = _emit(spec)
            run = await _created(client, deployment, automation, token, sent, created)
            return await _started(client, run, sent, started), str(run.id)
        except (httpx.HTTPError, OSError) as error:
            reason = f"The Prefect server at {client.api_url} does not answer ({type(error).__name__})."
            raise _BrokenError("server", reason, "Start it: evergreen up") from None


async def _deployment(client: PrefectClient, model: str) -> DeploymentResponse:
    from prefect.exceptions import ObjectNotFound

    name = f"retrain/{dashed('retrain', model)}"
    try:
        return await client.read_deployment_by_name(name)
    except ObjectNotFound:
        fix = "Run: evergreen deployments sync, then: evergreen deployments apply"
        raise _BrokenError("deployment", f"The server has no deployment {name}.", fix) from None


async def _automation(client: PrefectClient, spec: ModelSpec, deployment: DeploymentResponse) -> Automation:
    event = GROUNDS[spec.retraining.triggers[0]]
    owned = await client.read_resource_related_automations(f"prefect.deployment.{deployment.id}")
    found = [entry for entry in owned if event in getattr(entry.trigger, "expect", ())]
    if not found:
        reason = f"No automation starts {deployment.name} on {event}."
        raise _BrokenError("automation", reason, "Run: evergreen deployments sync, then: evergreen deployments apply")
    automation = found[0]
    if not automation.enabled:
        reason = f"The automation {automation.name!r} is switched off."
        raise _BrokenError("automation", reason, "Switch it on in the Prefect UI, under Automations.")
    given: dict[str, Any] = getattr(automation.actions[0], "parameters", None) or {}
    # Without these the run that the event starts would be an ordinary retrain: found out before it is sent.
    if not all(str(given.get(name) or "").strip() for name in ("model", "reason", "decision_id")):
        reason = f"The automation {automation.name!r} does not pass model, reason and decision_id on."
        raise _BrokenError("parameters", reason, "Run: evergreen deployments apply")
    return automation


async def _pool(client: PrefectClient, deployment: DeploymentResponse) -> None:
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
        fix = f"Run: evergreen up, or on the machine that is to do the work: prefect worker start --pool {name}"
        raise _BrokenError("worker", f"The work pool {name!r} has no worker that is online.", fix)


def _emit(spec: ModelSpec) -> tuple[str, datetime]:
    from prefect.events import emit_event

    token = f"{CANARY}{secrets.token_hex(6)}"
    payload = {"decision_id": token, "share": 1.0, "columns": []}
    event = Event(GROUNDS[spec.retraining.triggers[0]], spec.name, payload, rehearsal=token)
    sent = datetime.now(UTC)
    emit_event(event=event.name, resource=event.resource, payload=dict(event.payload), occurred=sent)
    return token, sent


async def _created(
    client: PrefectClient,
    deployment: DeploymentResponse,
    automation: Automation,
    token: str,
    sent: datetime,
    seconds: float,
) -> FlowRun:
    """The flow run that the canary's event was made into."""
    async for _ in _until(seconds):
        for run in await _runs(client, deployment):
            if run.parameters.get("decision_id") == token:
                return run
        refused = await _action_failed(client, automation, sent)
        if refused is not None:
            reason = f"The automation {automation.name!r} fired and could not start a run: {refused}."
            raise _BrokenError(
                "parameters", reason, "Compare its parameters with prefect.yaml; evergreen deployments apply"
            )
    fix = "Look at the automation and at the event feed in the Prefect UI; is there a second server?"
    reason = f"The event was sent, and within {seconds:.0f} s the automation {automation.name!r} started no run."
    raise _BrokenError("event", reason, fix)


async def _started(client: PrefectClient, created: FlowRun, sent: datetime, seconds: float) -> float:
    """Seconds from the event to the flow's first line, once the run has ended as a rehearsal does."""
    run = created
    async for _ in _until(seconds):
        run = await client.read_flow_run(created.id)
        if run.state is not None and run.state.is_final():
            break
    state = run.state
    number, name = str(run.id), state.name if state else "unknown"
    if state is not None and state.is_completed() and run.start_time is not None:
        return run.start_time.timestamp() - sent.timestamp()
    if state is not None and state.is_cancelled():
        reason = f"The run was cancelled: {state.message}"
        raise _BrokenError("slot", reason, "A retrain is going on, or a dead one holds the slot: try later.", number)
    if run.start_time is None:
        reason = f"The run was made and no worker took it up within {seconds:.0f} s; it is {name}."
        raise _BrokenError("worker", reason, "Look at the worker's log.", number)
    message = (state.message or "").splitlines() if state else []
    reason = f"The run ended {name}: {message[-1] if message else 'no message'}"
    raise _BrokenError("run", reason, "Look at its log in the Prefect UI.", number)


async def _runs(client: PrefectClient, deployment: DeploymentResponse) -> list[FlowRun]:
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
    from prefect.client.schemas.sorting import FlowRunSort

    return await client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=50,
    )


async def _action_failed(client: PrefectClient, automation: Automation, since: datetime) -> str | None:
    from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventResourceFilter

    wanted = EventFilter(
        event=EventNameFilter(name=["prefect.automation.action.failed"]),
        resource=EventResourceFilter(id=[f"prefect.automation.{automation.id}"]),
        occurred=EventOccurredFilter(since=since),
    )
    page = await client.read_events(wanted, limit=1)
    return str(page.events[0].payload.get("reason", "no reason given")) if page.events else None


async def _until(seconds: float) -> AsyncIterator[None]:
    deadline = time.monotonic() + seconds
    while True:
        yield
        if time.monotonic() >= deadline:
            return
        await asyncio.sleep(_ASK_SECONDS)
