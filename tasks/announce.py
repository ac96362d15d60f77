"""Emit events, always after the decision was stored: an event may be lost, a decision may not."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from evergreen.events import Event
from tasks import run_logger


@task(cache_policy=NO_CACHE, timeout_seconds=60, task_run_name="announce")
def announce(environment: str, event: Event) -> None:
    """Emit one event of a model of an environment."""
    emit_event(event=event.name, resource=event.resource(environment), payload=dict(event.payload))
    payload = event.payload
    logger = run_logger(event.model, payload.get("decision_id") or "", payload.get("version"), step=False)
    logger.info("event: %s of %s", event.name, event.model)
