"""Emit events, always after the decision was stored: an event may be lost, a decision may not."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from evergreen.events import Event


@task(cache_policy=NO_CACHE, timeout_seconds=60, task_run_name="announce")
def announce(event: Event) -> None:
    """Emit one event of a model."""
    emit_event(event=event.name, resource=event.resource, payload=dict(event.payload))
