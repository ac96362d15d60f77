"""Starting runs of deployments and following them: their lines as they come, their end, and what led to them.

Everything is asked of the Prefect server, as a person in its UI would: runs are somebody else's processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from evergreen.errors import EvergreenError
from evergreen.events import GROUNDS
from evergreen.naming import dashed

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun
    from prefect.events import Event

_ASK_SECONDS = 0.3
_LAST_LINES_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Link:
    """One moment on the way from an event to a promoted alias; `seconds` count from the event."""

    what: str
    seconds: float
    link: str = ""


@dataclass(frozen=True, slots=True)
class Chain:
    """What a decision led to; every id as the Prefect UI shows it."""

    decision_id: str
    event_id: str
    flow_run: str
    links: tuple[Link, ...]


def deployed(flow: str, model: str) -> str:
    """The full name of a model's deployment of a flow."""
    return f"{flow}/{dashed(flow, model)}"


def run(name: str, parameters: Mapping[str, Any], *, told: Callable[[str], None], timeout: float) -> FlowRun:
    """Run a deployment and follow it to its end.

    Raises:
        EvergreenError: it did not end as completed within `timeout` seconds.
    """
    with _client() as client:
        deployment = client.read_deployment_by_name(name)
        started = client.create_flow_run_from_deployment(deployment.id, parameters=dict(parameters))
        return _followed(client, started.id, told=told, timeout=timeout)


@contextmanager
def no_schedule(*names: str) -> Iterator[None]:
    """Keep the schedules of deployments from starting runs until the end of the block."""
    with _client() as client:
        found = [client.read_deployment_by_name(name).id for name in names]
        for deployment in found:
            client.pause_deployment(deployment)
    try:
        yield
    finally:
        with _client() as client:
            for deployment in found:
                client.resume_deployment(deployment)


def follow_decision(model: str, decision_id: str, *, told: Callable[[str], None], timeout: float) -> FlowRun:
    """Wait for the retrain that answers a decision, whoever starts it, and follow it to its end.

    Raises:
        EvergreenError: none was started, or it did not end as completed, within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    with _client() as client:
        deployment = client.read_deployment_by_name(deployed("retrain", model))
        while time.monotonic() < deadline:
            for found in runs_of(client, deployment.id):
                if found.parameters.get("decision_id") == decision_id:
                    return _followed(client, found.id, told=told, timeout=deadline - time.monotonic())
            time.sleep(_ASK_SECONDS)
    raise EvergreenError(
        f"No retrain of {model} answered decision {decision_id} within {timeout:.0f} s.",
        f"Run: evergreen rehearse {model}",
    )


def runs_of(client: SyncPrefectClient, deployment: UUID, limit: int = 50) -> list[FlowRun]:
    """The newest runs of a deployment."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
    from prefect.client.schemas.sorting import FlowRunSort

    return client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=limit,
    )


def chain(ground: str, decision_id: str, answer: FlowRun, moved_at: datetime | None) -> Chain:
    """The moments from the event to the alias: `answer` is the run, `moved_at` when the alias moved, if it did.

    Raises:
        EvergreenError: the server holds no event of this decision.
    """
    with _client() as client:
        event = _event(client, ground, decision_id, answer.created)
        fired = _fired(client, event)
    start = event.occurred.timestamp()
    day = f"{event.occurred:%Y-%m-%d}"
    page = f"{ui()}/runs/flow-run/{answer.id}"
    moments: list[tuple[str, datetime | None, str]] = [
        (f"event {event.event}", event.occurred, f"{ui()}/events/event/{day}/{event.id}"),
        ("automation fired", fired.occurred if fired else None, f"{ui()}/automations"),
        ("run created", answer.created, page),
        ("first line of the flow", answer.start_time, page),
        ("champion alias moved", moved_at, page),
        ("run ended", answer.end_time, page),
    ]
    links = tuple(Link(what, round(at.timestamp() - start, 2), url) for what, at, url in moments if at is not None)
    return Chain(decision_id, str(event.id), str(answer.id), links)


def ui() -> str:
    """Where the Prefect UI is."""
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    url = settings.server.ui.api_url if settings.api.url is None else settings.api.url
    return str(url).removesuffix("/").removesuffix("/api")


def _client() -> SyncPrefectClient:
    from prefect.client.orchestration import get_client

    return get_client(sync_client=True)


def _followed(client: SyncPrefectClient, run: UUID, *, told: Callable[[str], None], timeout: float) -> FlowRun:
    deadline, shown, ended = time.monotonic() + timeout, 0, 0.0
    while True:
        found = client.read_flow_run(run)
        shown, last = _tell(client, run, shown, told)
        if found.state is not None and found.state.is_final():
            ended = ended or time.monotonic()
            # A run sends its last lines as its process ends, a moment after its state.
            if last or time.monotonic() - ended > _LAST_LINES_SECONDS:
                break
        if time.monotonic() >= deadline:
            raise EvergreenError(f"The run {found.name} has not ended within {timeout:.0f} s.", f"See {_page(run)}")
        time.sleep(_ASK_SECONDS)
    if not found.state.is_completed():
        raise EvergreenError(f"The run {found.name} ended as {found.state.name}: {found.state.message}.", _page(run))
    return found


def _tell(client: SyncPrefectClient, run: UUID, shown: int, told: Callable[[str], None]) -> tuple[int, bool]:
    """Tell the lines after the first `shown`; how many there are now, and whether the run's last one is among them."""
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
    from prefect.client.schemas.sorting import LogSort

    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run]))
    lines = client.read_logs(wanted, sort=LogSort.TIMESTAMP_ASC, offset=shown, limit=200)
    for line in lines:
        if line.name == "prefect.task_runs":
            told(line.message)
    last = any(line.name == "prefect.flow_runs" and line.message.startswith("Finished in state") for line in lines)
    return shown + len(lines), last


def _event(client: SyncPrefectClient, ground: str, decision_id: str, before: datetime | None) -> Event:
    from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter

    # Without a time the server looks at today's events only.
    since = (before or datetime.now(UTC)) - timedelta(days=7)
    wanted = EventFilter(
        event=EventNameFilter(name=[GROUNDS[ground]]), occurred=EventOccurredFilter.model_validate({"since": since})
    )
    for event in client.read_events(wanted, limit=50).events:
        if event.payload.get("decision_id") == decision_id:
            return event
    raise EvergreenError(f"The server holds no event of decision {decision_id}.", "Was it down when it was emitted?")


def _fired(client: SyncPrefectClient, event: Event) -> Event | None:
    from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventRelatedFilter

    wanted = EventFilter(
        event=EventNameFilter(name=["prefect.automation.triggered"]),
        occurred=EventOccurredFilter.model_validate({"since": event.occurred}),
        related=EventRelatedFilter(id=[f"prefect.event.{event.id}"]),
    )
    found = client.read_events(wanted, limit=1).events
    return found[0] if found else None


def _page(run: UUID) -> str:
    return f"{ui()}/runs/flow-run/{run}"
