"""End on the server what has ended on its machine: runs without a sign of life, whose slot nobody else frees.

A safety net below the automation that listens for heartbeats: the automation forgets when the server restarts, and a
run that was killed before its first line never had one. Runs that wait for a person are left alone.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import SetStateStatus
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventResourceFilter
from prefect.logging import get_run_logger
from prefect.settings import get_current_settings
from prefect.states import Cancelled, Crashed

from evergreen.ledger.reconciliation import Action
from evergreen.naming import tag

_STUCK = ["PENDING", "RUNNING", "CANCELLING"]
_MISSED_BEATS = 3
_LATE_SECONDS = 15


@task(cache_policy=NO_CACHE, timeout_seconds=900, task_run_name="sweep")
def sweep(environment: str, now: datetime, patience: timedelta) -> tuple[Action, ...]:
    """Mark as crashed what gave no sign of life for `patience`, or for three heartbeats where that is longer.

    Only runs of the environment are looked at.

    A run that has started is watched for one more heartbeat: while the server was away those of a sound run were lost.
    With heartbeats switched off only runs that never started are swept.
    """
    beat = get_current_settings().flows.heartbeat_frequency
    with get_client(sync_client=True) as client:
        silent = _find_silent(client, environment, now, patience, beat)
        if any(not _is_pending(run) for run, _ in silent):
            pause = (beat or 0) + _LATE_SECONDS
            time.sleep(pause)
            still = {
                run.id for run, _ in _find_silent(client, environment, now + timedelta(seconds=pause), patience, beat)
            }
            silent = [(run, since) for run, since in silent if run.id in still]
        return tuple(step for run, since in silent if (step := _end_run(client, run, since)))


def _find_silent(
    client: SyncPrefectClient, environment: str, now: datetime, patience: timedelta, beat: int | None
) -> list[tuple[FlowRun, datetime]]:
    """The runs without a sign of life, and since when."""
    query = {"tags": {"all_": [tag(environment)]}, "state": {"type": {"any_": _STUCK}}}
    silent = []
    for run in client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(query), limit=200):
        since = run.state.timestamp if run.state else None
        if since is None or now - since < patience:
            continue
        if not _is_pending(run):
            since = _last_beat(client, run.id, since, now)
            if not beat or now - since < max(patience, _MISSED_BEATS * timedelta(seconds=beat)):
                continue
        silent.append((run, since))
    return silent


def _last_beat(client: SyncPrefectClient, run: UUID, since: datetime, now: datetime) -> datetime:
    query = EventFilter(
        event=EventNameFilter(name=["prefect.flow-run.heartbeat"]),
        resource=EventResourceFilter(id=[f"prefect.flow-run.{run}"]),
        occurred=EventOccurredFilter.model_validate({"since": since, "until": now}),
    )
    events = client.read_events(query, limit=1).events
    return events[0].occurred if events else since


def _end_run(client: SyncPrefectClient, run: FlowRun, since: datetime) -> Action | None:
    """End the run by the server's rules, not by force: one that has come to an end in the meantime stays as it is."""
    message = f"No sign of life since {since:%Y-%m-%d %H:%M:%S} UTC; swept."
    cancelling = run.state is not None and run.state.is_cancelling()
    ended: State[None] = Cancelled(message=message) if cancelling else Crashed(message=message)
    if client.set_flow_run_state(run.id, ended).status is not SetStateStatus.ACCEPT:
        return None
    get_run_logger().warning("sweep: %s: %s", run.name, message)
    return Action(str(run.parameters.get("model", "")), str(run.id), since, f"marked {run.name} as ended, slot freed")


def _is_pending(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_pending()
