"""What the server has: whether a deployment is as `prefect.yaml` says, and what a person paused there.

What Prefect stores is compared, not what was sent last, so that a change in the UI is seen. What cannot be compared (an
unknown key, a value from another build step) counts as different, and the deployment is deployed again.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deployments.manifest.build_step import STEP, here

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.events.schemas.automations import Automation, AutomationCore
    from prefect.flows import Flow

_KEYS = {
    *("name", "description", "entrypoint", "parameters", "version", "tags", "schedules", "concurrency_limit"),
    *("triggers", "work_pool", "paused"),
}
_SCHEDULE_KEYS = {"cron", "timezone", "day_or", "slug", "parameters", "active"}


@dataclass(frozen=True, slots=True)
class DeploymentState:
    """The deployment of an entry, None if the server has none; `current` if it is as the entry says."""

    deployment: DeploymentResponse | None
    current: bool


@dataclass(frozen=True, slots=True)
class PreservedEntry:
    """An entry of the file with what a person paused or switched off on the server, unless the entry decides on it.

    Attributes:
        entry: what is deployed.
        paused: the deployment, and its schedules, that stay paused.
        off: the triggers that stay switched off.
    """

    entry: dict[str, Any]
    paused: tuple[str, ...] = ()
    off: tuple[str, ...] = ()


def read_state(client: SyncPrefectClient, document: Mapping[str, Any], entry: Mapping[str, Any]) -> DeploymentState:
    """Find the deployment of an entry, and compare the two."""
    from prefect.exceptions import ObjectNotFound
    from prefect.flows import load_flow_from_entrypoint

    try:
        flow: Flow[..., Any] = load_flow_from_entrypoint(str(entry.get("entrypoint")))
        deployment = client.read_deployment_by_name(f"{flow.name}/{entry['name']}")
    except ObjectNotFound:
        return DeploymentState(None, False)
    except (ImportError, ValueError, AttributeError):
        # Prefect explains the mistake when the entry is deployed.
        return DeploymentState(None, False)
    rendered = _render(document, entry)
    current = (
        rendered is not None
        and _stored_content(deployment) == _expected_content(rendered, flow)
        and _schedules_match(deployment, rendered)
        and _triggers_match(client, deployment, rendered)
    )
    return DeploymentState(deployment, current)


def preserve_pauses(
    client: SyncPrefectClient, deployment: DeploymentResponse | None, entry: Mapping[str, Any]
) -> PreservedEntry:
    """Copy an entry and write into the copy what is paused or switched off on the server."""
    copy = deepcopy(dict(entry))
    if deployment is None:
        return PreservedEntry(copy)
    paused: list[str] = []
    off: list[str] = []
    if deployment.paused and copy.setdefault("paused", True):
        paused.append(deployment.name)
    inactive = {schedule.slug for schedule in deployment.schedules if not schedule.active}
    for schedule in copy.get("schedules") or []:
        if schedule.get("slug") in inactive and not schedule.setdefault("active", False):
            paused.append(f"{deployment.name}/{schedule['slug']}")
    disabled = {automation.name for automation in _trigger_automations(client, deployment) if not automation.enabled}
    for trigger in copy.get("triggers") or []:
        if trigger.get("name") in disabled and not trigger.setdefault("enabled", False):
            off.append(trigger["name"])
    return PreservedEntry(copy, tuple(paused), tuple(off))


def _render(document: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any] | None:
    """Fill in the templates of an entry as Prefect does; None where that takes more than is known here."""
    from prefect.utilities.templating import apply_values, find_placeholders

    build = document.get("build") or []
    if document.get("push") or set(entry) - _KEYS or any(set(step) != {STEP} for step in build):
        return None
    outputs = {step[STEP].get("id", "here"): here(step[STEP].get("environment", "")) for step in build}
    templates = {key: value for key, value in entry.items() if key != "triggers"} | {"pull": document.get("pull")}
    rendered: Any = apply_values(templates, outputs, remove_notset=False)
    # Without pull steps Prefect stores the folder in which it was called.
    if rendered["pull"] is None or find_placeholders(rendered):
        return None
    return {**rendered, "triggers": entry.get("triggers") or []}


def _expected_content(entry: Mapping[str, Any], flow: Flow[..., Any]) -> dict[str, Any]:
    from prefect.utilities.callables import parameter_schema

    pool, limit = entry.get("work_pool") or {}, entry.get("concurrency_limit")
    options = limit if isinstance(limit, dict) else {"limit": limit}
    return {
        "entrypoint": entry.get("entrypoint"),
        "description": entry.get("description") or flow.description,
        "version": entry.get("version") or flow.version,
        "tags": {*(entry.get("tags") or ())},
        "parameters": entry.get("parameters") or {},
        "schema": parameter_schema(flow).model_dump(exclude_unset=True),
        "pull": entry["pull"],
        "pool": pool.get("name"),
        "queue": pool.get("work_queue_name") or "default",
        "job": pool.get("job_variables") or {},
        "limit": options.get("limit"),
        "collision": options.get("collision_strategy"),
    }


def _stored_content(deployment: DeploymentResponse) -> dict[str, Any]:
    limit, options = deployment.global_concurrency_limit, deployment.concurrency_options
    return {
        "entrypoint": deployment.entrypoint,
        "description": deployment.description,
        "version": deployment.version,
        "tags": set(deployment.tags),
        "parameters": deployment.parameters,
        "schema": deployment.parameter_openapi_schema,
        "pull": deployment.pull_steps,
        "pool": deployment.work_pool_name,
        "queue": deployment.work_queue_name,
        "job": deployment.job_variables,
        "limit": limit.limit if limit else None,
        "collision": options.collision_strategy.value if options else None,
    }


def _schedules_match(deployment: DeploymentResponse, entry: Mapping[str, Any]) -> bool:
    expected = entry.get("schedules") or []
    if "paused" in entry and entry["paused"] != deployment.paused:
        return False
    if len(expected) != len(deployment.schedules):
        return False
    stored = {schedule.slug: schedule for schedule in deployment.schedules}
    return all(_schedule_matches(stored.get(schedule.get("slug")), schedule) for schedule in expected)


def _schedule_matches(stored: Any, expected: Mapping[str, Any]) -> bool:
    from prefect.client.schemas.schedules import CronSchedule

    if set(expected) - _SCHEDULE_KEYS or "cron" not in expected:
        return False
    if stored is None or not isinstance(stored.schedule, CronSchedule):
        return False
    schedule, day_or = stored.schedule, expected.get("day_or")
    return (schedule.cron, schedule.timezone, schedule.day_or, stored.parameters, stored.active) == (
        expected["cron"],
        expected.get("timezone") or "UTC",
        True if day_or is None else day_or,
        expected.get("parameters") or {},
        expected.get("active", stored.active),
    )


def _triggers_match(client: SyncPrefectClient, deployment: DeploymentResponse, entry: Mapping[str, Any]) -> bool:
    from prefect.events import DeploymentTriggerTypes
    from pydantic import TypeAdapter, ValidationError

    expected: list[tuple[AutomationCore, Any]] = []
    for text in entry["triggers"]:
        try:
            trigger: Any = TypeAdapter(DeploymentTriggerTypes).validate_python(text)
        except ValidationError:
            return False
        trigger.set_deployment_id(deployment.id)
        expected.append((trigger.as_automation(), text.get("enabled")))
    automations = _trigger_automations(client, deployment)
    if len(automations) != len(expected):
        return False
    stored = {automation.name: automation for automation in automations}
    return all(
        (automation := stored.get(core.name)) is not None
        and (automation.description, automation.trigger, automation.actions)
        == (core.description, core.trigger, core.actions)
        and enabled in (None, automation.enabled)
        for core, enabled in expected
    )


def _trigger_automations(client: SyncPrefectClient, deployment: DeploymentResponse) -> list[Automation]:
    """The automations that Prefect created from the deployment's triggers.

    The server does not say who created an automation. One that a person made for this deployment has another name.
    """
    related = client.read_resource_related_automations(f"prefect.deployment.{deployment.id}")
    return [automation for automation in related if automation.name.startswith(deployment.name)]
