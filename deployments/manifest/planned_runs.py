"""When the flows of a model run, as `prefect.yaml` says it, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deployments.manifest.apply import read_document
from deployments.manifest.sync import PATH


def describe_runs(model: str, path: Path = PATH) -> tuple[str, ...]:
    """One sentence for each of the model's deployments; empty where it has none.

    Raises:
        EvergreenError: the file cannot be read, or has a mistake.
    """
    entries = read_document(path)["deployments"]
    return tuple(_describe(entry) for entry in entries if (entry.get("parameters") or {}).get("model") == model)


def _describe(entry: Mapping[str, Any]) -> str:
    starts = [*_schedules(entry), *_events(entry)]
    return f"{entry['name']} runs {' and '.join(starts) if starts else 'only when somebody starts it'}."


def _schedules(entry: Mapping[str, Any]) -> Iterator[str]:
    for schedule in entry.get("schedules") or ():
        paused = "" if schedule.get("active", True) else " (paused)"
        if "cron" in schedule:
            yield f"at {schedule['cron']!r} {schedule.get('timezone') or 'UTC'} (cron){paused}"
        elif "interval" in schedule:
            yield f"every {schedule['interval']:g} seconds{paused}"
        else:
            yield f"by a rule of the calendar{paused}"


def _events(entry: Mapping[str, Any]) -> Iterator[str]:
    for trigger in entry.get("triggers") or ():
        if expected := trigger.get("expect"):
            paused = "" if trigger.get("enabled", True) else " (paused)"
            yield f"on the event {' or '.join(expected)}{paused}"
