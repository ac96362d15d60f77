"""Start runs of deployments and follow them: their log lines, their end, and the chain from an event to its effect.

Everything is read from the Prefect server, as in its UI, because a run is a process of the worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from evergreen import naming
from evergreen.errors import EvergreenError
from evergreen.events import TRIGGER_EVENTS

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun
    from prefect.events import Event

_POLL_SECONDS = 0.3
_LAST_LINES_SECONDS = 5.0
_TURN_SECONDS = 5.0
_TURNED_AWAY = "Deployment concurrency limit reached"
"""What Prefect says of a run that it cancels because another one of its deployment goes on."""


@dataclass(frozen=True, slots=True)
class Link:
    """One moment on the way from an event to a promoted version; `seconds` count from the event."""

    what: str
    seconds: float
    link: str = ""


@dataclass(frozen=True, slots=True)
class Chain:
    """What the event of a decision led to; the ids are those of the Prefect UI."""

    decision_id: str
    event_id: str
    flow_run: str
    links: tuple[Link, ...]


def run(name: str, parameters: Mapping[str, Any], *, show: Callable[[str], None], timeout: float) -> FlowRun:
    """Run a deployment and follow it to its end, or until it waits for a person.

    Where another run of the deployment goes on, Prefect cancels the new one; it is then started again.

    Args:
        name: as Prefect finds it, such as `retrain/retrain-bike-demand`.
        parameters: those that differ from the deployment's own.
        show: gets each log line of its tasks.
        timeout: seconds in all.

    Raises:
        EvergreenError: there is no such deployment, or the run did not complete within `timeout` seconds.
    """
    from prefect.exceptions import ObjectNotFound

    deadline = time.monotonic() + timeout
    with _client() as client:
        try:
            deployment = client.read_deployment_by_name(name)
        except ObjectNotFound:
            fix = "Run: evergreen deployments sync, then: evergreen deployments apply"
            raise EvergreenError(f"The server has no deployment {name}.", fix) from None
        while True:
            started = client.create_flow_run_from_deployment(deployment.id, parameters=dict(parameters))
            run = _await_end(client, started.id, show=show, timeout=deadline - time.monotonic())
            if not _was_turned_away(run) or time.monotonic() + _TURN_SECONDS >= deadline:
                return _require_completed(run)
            time.sleep(_TURN_SECONDS)


@contextmanager
def pause_schedules(*names: str) -> Iterator[None]:
    """Pause deployments, so that their schedules start no runs, until the end of the block."""
    with _client() as client:
        deployments = [client.read_deployment_by_name(name).id for name in names]
        for deployment in deployments:
            client.pause_deployment(deployment)
    try:
        yield
    finally:
        with _client() as client:
            for deployment in deployments:
                client.resume_deployment(deployment)


def follow_decision(
    environment: str, model: str, decision_id: str, *, show: Callable[[str], None], timeout: float
) -> FlowRun:
    """Wait for the retrain that answers a decision, whoever starts it, and follow it to its end.

    Raises:
        EvergreenError: none was started, or it did not complete, within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    with _client() as client:
        deployment = client.read_deployment_by_name(naming.deployment_path(environment, "retrain", model))
        while time.monotonic() < deadline:
            for run in runs_of(client, deployment.id):
                if run.parameters.get("decision_id") == decision_id:
                    left = deadline - time.monotonic()
                    return _require_completed(_await_end(client, run.id, show=show, timeout=left))
            time.sleep(_POLL_SECONDS)
    raise EvergreenError(
        f"No retrain of {model} answered decision {decision_id} within {timeout:.0f} s.",
        f"Find the broken link with: evergreen rehearse {model}",
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


def read_chain(trigger: str, decision_id: str, answer: FlowRun, moved_at: datetime | None) -> Chain:
    """Read the moments from an event to its effect.

    Args:
        trigger: what called for the retraining, such as `drift`.
        decision_id: the decision that the event is about.
        answer: the run that the event started.
        moved_at: when the champion alias moved; None if it did not.

    Raises:
        EvergreenError: the server has no event of this decision.
    """
    with _client() as client:
        event = _find_event(client, trigger, decision_id, answer.created)
        fired = _find_firing(client, event)
    start = event.occurred.timestamp()
    day = f"{event.occurred:%Y-%m-%d}"
    page = run_page(answer.id)
    moments: list[tuple[str, datetime | None, str]] = [
        (f"event {event.event}", event.occurred, f"{ui_url()}/events/event/{day}/{event.id}"),
        ("automation fired", fired.occurred if fired else None, f"{ui_url()}/automations"),
        ("run created", answer.created, page),
        ("first line of the flow", answer.start_time, page),
        ("champion alias moved", moved_at, page),
        ("run ended", answer.end_time, page),
    ]
    links = tuple(Link(what, round(at.timestamp() - start, 2), url) for what, at, url in moments if at is not None)
    return Chain(decision_id, str(event.id), str(answer.id), links)


def ui_url() -> str:
    """The address of the Prefect UI."""
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    url = settings.server.ui.api_url if settings.api.url is None else settings.api.url
    return str(url).removesuffix("/").removesuffix("/api")


def run_page(run_id: UUID) -> str:
    """The address of a flow run in the Prefect UI."""
    return f"{ui_url()}/runs/flow-run/{run_id}"


def _client() -> SyncPrefectClient:
    from prefect.client.orchestration import get_client

    return get_client(sync_client=True)


def _await_end(client: SyncPrefectClient, run_id: UUID, *, show: Callable[[str], None], timeout: float) -> FlowRun:
    """Follow a run until it has ended, or is suspended: then a person is asked, and its process has ended."""
    began, shown, ended = time.monotonic(), 0, 0.0
    while True:
        run = client.read_flow_run(run_id)
        shown, complete = _show_lines(client, run_id, shown, show)
        if run.state is not None and (run.state.is_final() or run.state.is_paused()):
            ended = ended or time.monotonic()
            # A run sends its last lines when its process ends, a moment after its state.
            if complete or time.monotonic() - ended > _LAST_LINES_SECONDS:
                return run
        if time.monotonic() - began >= timeout:
            state = run.state.name if run.state else "unknown"
            what = f"The run {run.name} has not ended within {timeout:.0f} s: it is {state}."
            raise EvergreenError(what, f"See {run_page(run_id)}")
        time.sleep(_POLL_SECONDS)


def _was_turned_away(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_cancelled() and _TURNED_AWAY in (run.state.message or "")


def _require_completed(run: FlowRun) -> FlowRun:
    state = run.state
    if state is None or not (state.is_completed() or state.is_paused()):
        ended = f"{state.name}: {(state.message or 'no message').removesuffix('.')}" if state else "unknown"
        raise EvergreenError(f"The run {run.name} ended as {ended}.", f"See {run_page(run.id)}")
    return run


def _show_lines(client: SyncPrefectClient, run_id: UUID, shown: int, show: Callable[[str], None]) -> tuple[int, bool]:
    """Show the lines after the first `shown`; returns how many there are, and whether the run's last one is there."""
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
    from prefect.client.schemas.sorting import LogSort

    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id]))
    lines = client.read_logs(wanted, sort=LogSort.TIMESTAMP_ASC, offset=shown, limit=200)
    for line in lines:
        if line.name == "prefect.task_runs":
            show(line.message)
    complete = any(line.name == "prefect.flow_runs" and line.message.startswith("Finished in state") for line in lines)
    return shown + len(lines), complete


def _find_event(client: SyncPrefectClient, trigger: str, decision_id: str, before: datetime | None) -> Event:
    from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter

    # Without a time the server searches only the events of today.
    since = (before or datetime.now(UTC)) - timedelta(days=7)
    wanted = EventFilter(
        event=EventNameFilter(name=[TRIGGER_EVENTS[trigger]]),
        occurred=EventOccurredFilter.model_validate({"since": since}),
    )
    for event in client.read_events(wanted, limit=50).events:
        if event.payload.get("decision_id") == decision_id:
            return event
    raise EvergreenError(
        f"The server has no event of decision {decision_id}.", "Check whether it was down when the event was sent."
    )


def _find_firing(client: SyncPrefectClient, event: Event) -> Event | None:
    from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventRelatedFilter

    wanted = EventFilter(
        event=EventNameFilter(name=["prefect.automation.triggered"]),
        occurred=EventOccurredFilter.model_validate({"since": event.occurred}),
        related=EventRelatedFilter(id=[f"prefect.event.{event.id}"]),
    )
    events = client.read_events(wanted, limit=1).events
    return events[0] if events else None
