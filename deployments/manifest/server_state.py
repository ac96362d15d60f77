"""What stands on the server: whether a deployment is there as `prefect.yaml` says, and what a person switched off.

Compared is what Prefect keeps, not what was sent last: a change made in the UI counts as one. What cannot be compared
(a key that is not known here, a value that another build step gives) counts as different, and is deployed again.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.events.schemas.automations import Automation, AutomationCore
    from prefect.flows import Flow

_HERE = "deployments.manifest.build_step.here"
_KEYS = {
    *("name", "description", "entrypoint", "parameters", "version", "tags", "schedules", "concurrency_limit"),
    *("triggers", "work_pool", "paused"),
}
_SCHEDULE_KEYS = {"cron", "timezone", "slug", "parameters", "active"}


@dataclass(frozen=True, slots=True)
class Standing:
    """A deployment of the file, on the server; None where it is not there."""

    deployment: DeploymentResponse | None
    same: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """An entry of the file with what a person paused or switched off on the server, unless the file rules on it."""

    entry: dict[str, Any]
    paused: tuple[str, ...] = ()
    off: tuple[str, ...] = ()


def stands(client: SyncPrefectClient, document: Mapping[str, Any], entry: Mapping[str, Any]) -> Standing:
    """Find an entry's deployment, and whether it is as the entry says."""
    from prefect.exceptions import ObjectNotFound
    from prefect.flows import load_flow_from_entrypoint

    try:
        flow: Flow[..., Any] = load_flow_from_entrypoint(str(entry.get("entrypoint")))
        found = client.read_deployment_by_name(f"{flow.name}/{entry['name']}")
    except ObjectNotFound:
        return Standing(None, False)
    except (ImportError, ValueError, AttributeError):
        # Prefect tells what is wrong with it when it is deployed.
        return Standing(None, False)
    rendered = _rendered(document, entry)
    if rendered is None:
        return Standing(found, False)
    same = _content(found) == _wanted(rendered, flow) and _schedules_stand(found, rendered)
    return Standing(found, same and _triggers_stand(client, found, rendered))


def switched_off(client: SyncPrefectClient, found: DeploymentResponse | None, entry: Mapping[str, Any]) -> Kept:
    """What is paused or off on the server, written into a copy of the entry."""
    kept = deepcopy(dict(entry))
    if found is None:
        return Kept(kept)
    paused: list[str] = []
    off: list[str] = []
    if found.paused and kept.setdefault("paused", True):
        paused.append(found.name)
    resting = {one.slug for one in found.schedules if not one.active}
    for schedule in kept.get("schedules") or []:
        if schedule.get("slug") in resting and not schedule.setdefault("active", False):
            paused.append(f"{found.name}/{schedule['slug']}")
    resting = {one.name for one in _owned(client, found) if not one.enabled}
    for trigger in kept.get("triggers") or []:
        if trigger.get("name") in resting and not trigger.setdefault("enabled", False):
            off.append(trigger["name"])
    return Kept(kept, tuple(paused), tuple(off))


def _rendered(document: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any] | None:
    """The entry with its templates filled in as Prefect does; None where that takes more than is known here."""
    from prefect.utilities.templating import apply_values, find_placeholders

    from deployments.manifest.build_step import here

    build = document.get("build") or []
    if document.get("push") or set(entry) - _KEYS or any(set(step) != {_HERE} for step in build):
        return None
    outputs = {step[_HERE].get("id", "here"): here() for step in build}
    plain = {key: value for key, value in entry.items() if key != "triggers"} | {"pull": document.get("pull")}
    rendered: Any = apply_values(plain, outputs, remove_notset=False)
    # Without pull steps Prefect stores the folder that it was called from.
    if rendered["pull"] is None or find_placeholders(rendered):
        return None
    return {**rendered, "triggers": entry.get("triggers") or []}


def _wanted(entry: Mapping[str, Any], flow: Flow[..., Any]) -> dict[str, Any]:
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


def _content(found: DeploymentResponse) -> dict[str, Any]:
    limit, options = found.global_concurrency_limit, found.concurrency_options
    return {
        "entrypoint": found.entrypoint,
        "description": found.description,
        "version": found.version,
        "tags": set(found.tags),
        "parameters": found.parameters,
        "schema": found.parameter_openapi_schema,
        "pull": found.pull_steps,
        "pool": found.work_pool_name,
        "queue": found.work_queue_name,
        "job": found.job_variables,
        "limit": limit.limit if limit else None,
        "collision": options.collision_strategy.value if options else None,
    }


def _schedules_stand(found: DeploymentResponse, entry: Mapping[str, Any]) -> bool:
    from prefect.client.schemas.schedules import CronSchedule

    wanted = entry.get("schedules") or []
    standing = {one.slug: one for one in found.schedules}
    if "paused" in entry and entry["paused"] != found.paused:
        return False
    if len(wanted) != len(found.schedules) or any(set(one) - _SCHEDULE_KEYS or "cron" not in one for one in wanted):
        return False
    for one in wanted:
        there = standing.get(one.get("slug"))
        if there is None or not isinstance(there.schedule, CronSchedule):
            return False
        told = (there.schedule.cron, there.schedule.timezone, there.parameters)
        if told != (one["cron"], one.get("timezone") or "UTC", one.get("parameters") or {}):
            return False
        if one.get("active", there.active) != there.active:
            return False
    return True


def _triggers_stand(client: SyncPrefectClient, found: DeploymentResponse, entry: Mapping[str, Any]) -> bool:
    from prefect.events import DeploymentTriggerTypes
    from pydantic import TypeAdapter, ValidationError

    wanted: list[tuple[AutomationCore, Any]] = []
    for spec in entry["triggers"]:
        try:
            trigger: Any = TypeAdapter(DeploymentTriggerTypes).validate_python(spec)
        except ValidationError:
            return False
        trigger.set_deployment_id(found.id)
        wanted.append((trigger.as_automation(), spec.get("enabled")))
    owned = _owned(client, found)
    standing = {one.name: one for one in owned}
    if len(owned) != len(wanted):
        return False
    return all(
        (there := standing.get(core.name)) is not None
        and (there.description, there.trigger, there.actions) == (core.description, core.trigger, core.actions)
        and enabled in (None, there.enabled)
        for core, enabled in wanted
    )


def _owned(client: SyncPrefectClient, found: DeploymentResponse) -> list[Automation]:
    """The automations that Prefect made of the deployment's triggers; the server does not say whose one is.

    One of a person that starts this deployment bears another name.
    """
    related = client.read_resource_related_automations(f"prefect.deployment.{found.id}")
    return [one for one in related if one.name.startswith(found.name)]
