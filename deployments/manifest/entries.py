"""The deployments that a model gets in `prefect.yaml`, as its model file asks for them."""

from __future__ import annotations

import zlib
from typing import Any

from evergreen import naming
from evergreen.events import REHEARSAL, TRIGGER_EVENTS
from evergreen.spec.model import ModelSpec

ENTRYPOINTS = ("flows.monitor.monitor", "flows.retrain.retrain", "flows.score.score")
DEFAULTS = {
    "concurrency_limit": {"limit": 1, "collision_strategy": "CANCEL_NEW"},
    "work_pool": {"name": naming.work_pool(""), "job_variables": {"command": "python -m prefect.engine"}},
}
"""What an entry gets if the file has no other entry to share it with."""


def entries_of(spec: ModelSpec) -> tuple[dict[str, Any], ...]:
    """The monitor, retrain and score deployments of a model, as entries of the file."""
    return _monitor(spec), _retrain(spec), _score(spec)


def _monitor(spec: ModelSpec) -> dict[str, Any]:
    return {
        "name": naming.deployment("", "monitor", spec.name),
        "description": "Hourly look at what came since the champion was trained.",
        "entrypoint": "flows.monitor.monitor",
        "parameters": {"model": spec.name},
        "tags": naming.run_tags("", spec.name, "monitor"),
        "schedules": [{"cron": f"{_minute(spec)} * * * *", "timezone": "UTC", "slug": "hourly"}],
    }


def _retrain(spec: ModelSpec) -> dict[str, Any]:
    weekly = {"cron": f"{_minute(spec)} 3 * * 1", "timezone": "UTC", "slug": "weekly"}
    triggers = [_trigger(spec, name) for name in spec.retraining.triggers]
    return {
        "name": naming.deployment("", "retrain", spec.name),
        "description": "Weekly retrain; does nothing when nothing is new.",
        "entrypoint": "flows.retrain.retrain",
        "parameters": {"model": spec.name},
        "tags": naming.run_tags("", spec.name, "retrain"),
        "schedules": [weekly | {"parameters": {"reason": "schedule"}}],
    } | ({"triggers": triggers} if triggers else {})


def _score(spec: ModelSpec) -> dict[str, Any]:
    # Half an hour after the monitor run, so that the two do not load the machine at the same time.
    hourly = {"cron": f"{(_minute(spec) + 30) % 60} * * * *", "timezone": "UTC", "slug": "hourly"}
    return {
        "name": naming.deployment("", "score", spec.name),
        "description": "Hourly predictions for the rows that have none yet.",
        "entrypoint": "flows.score.score",
        "parameters": {"model": spec.name},
        "tags": naming.run_tags("", spec.name, "score"),
        "schedules": [hourly],
    }


def _minute(spec: ModelSpec) -> int:
    """A minute that follows from the model's name, so that not every model runs on the hour."""
    return zlib.crc32(spec.name.encode()) % 60


def _trigger(spec: ModelSpec, name: str) -> dict[str, Any]:
    """The trigger that starts the retrain on an event; a key that the event lacks becomes null and no error."""
    return {
        "type": "event",
        "name": naming.trigger("", "retrain", spec.name, name),
        "posture": "Reactive",
        "expect": [TRIGGER_EVENTS[name]],
        "match": {"prefect.resource.id": naming.model_resource("", spec.name)},
        "for_each": ["prefect.resource.id", REHEARSAL],
        "threshold": 1,
        "within": int(spec.retraining.cooldown.total_seconds()),
        "parameters": {
            "model": spec.name,
            "reason": name,
            "decision_id": "{{ event.payload.decision_id | default(none) }}",
            "event_id": "{{ event.id | string }}",
        },
    }
