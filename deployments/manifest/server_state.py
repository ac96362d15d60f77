"""What the server has: whether a deployment is as `prefect.yaml` says, and what a person paused there.

What Prefect stores is compared, not what was sent last, so that a change in the UI is seen. What cannot be compared (an
unknown key, a value from another build step) counts as different, and the deployment is deployed again.

A few requests read it all, whatever the number of deployments.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deployments.connection import read_json_pages, read_pages
from deployments.manifest.build_step import STEP, here

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.events.schemas.automations import Automation, AutomationCore
    from prefect.flows import Flow

_KEYS = {
    *("name", "description", "entrypoint", "parameters", "version", "tags", "schedules", "concurrency_limit"),
    *("triggers", "work_pool", "paused"),
}
_SCHEDULE_KEYS = {"cron", "timezone", "day_or", "slug", "parameters", "active"}
_NAMES_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class DeploymentState:
    """The deployment of an entry.

    Attributes:
        flow: the name of what the entry runs; empty where that cannot be imported.
        schema: of the parameters of the flow, as Prefect stores it.
        flow_id: the server's id of it; None where the server has none.
        deployment: as the server's JSON; None if it has none.
        automations: those that Prefect made from the deployment's triggers.
        rendered: the entry with its templates filled in; None where that takes more than is known here.
        triggers_current: the automations are as the entry says.
        current: everything is as the entry says.
    """

    flow: str
    schema: Mapping[str, Any]
    flow_id: str | None = None
    deployment: Mapping[str, Any] | None = None
    automations: tuple[Automation, ...] = ()
    rendered: Mapping[str, Any] | None = None
    triggers_current: bool = False
    current: bool = False


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


def read_states(
    client: SyncPrefectClient, document: Mapping[str, Any], tagged: Iterable[Mapping[str, Any]]
) -> tuple[DeploymentState, ...]:
    """Find the deployment of each entry, among those with Evergreen's tag or by its name, and compare the two."""
    entries = document["deployments"]
    flows = {each: _load_flow(each) for each in {str(entry.get("entrypoint")) for entry in entries}}
    schemas = {entrypoint: _schema_of(flow) for entrypoint, flow in flows.items()}
    flow_names = {entrypoint: flow.name if flow is not None else "" for entrypoint, flow in flows.items()}
    flow_ids = _read_flow_ids(client, {*flow_names.values()} - {""})
    keys = [(flow_ids.get(flow_names[str(entry.get("entrypoint"))], ""), str(entry["name"])) for entry in entries]
    deployments = _by_name(tagged)
    deployments |= _read_by_name(client, {name for flow, name in keys if flow and (flow, name) not in deployments})
    automations = _read_automations(client, [each["id"] for each in deployments.values()])
    states = []
    for entry, key in zip(entries, keys, strict=True):
        entrypoint = str(entry.get("entrypoint"))
        flow, name, schema = flows[entrypoint], flow_names[entrypoint], schemas[entrypoint]
        flow_id, deployment = key[0] or None, deployments.get(key)
        rendered = _render(document, entry, flow) if flow is not None else None
        if deployment is None:
            states.append(DeploymentState(name, schema, flow_id, rendered=rendered))
            continue
        own = tuple(_trigger_automations(automations[deployment["id"]], entry))
        same_triggers = rendered is not None and _triggers_match(own, deployment, rendered)
        current = (
            same_triggers
            and rendered is not None
            and _stored_content(deployment) == _expected_content(rendered, schema, deployment)
            and _schedules_match(deployment, rendered)
        )
        states.append(DeploymentState(name, schema, flow_id, deployment, own, rendered, same_triggers, current))
    return tuple(states)


def preserve_pauses(state: DeploymentState, entry: Mapping[str, Any]) -> PreservedEntry:
    """Copy an entry and write into the copy what is paused or switched off on the server."""
    copy, deployment = deepcopy(dict(entry)), state.deployment
    if deployment is None:
        return PreservedEntry(copy)
    paused: list[str] = []
    off: list[str] = []
    if deployment["paused"] and copy.setdefault("paused", True):
        paused.append(deployment["name"])
    inactive = {schedule["slug"] for schedule in deployment["schedules"] if not schedule["active"]}
    for schedule in copy.get("schedules") or []:
        if schedule.get("slug") in inactive and not schedule.setdefault("active", False):
            paused.append(f"{deployment['name']}/{schedule['slug']}")
    disabled = {automation.name for automation in state.automations if not automation.enabled}
    for trigger in copy.get("triggers") or []:
        if trigger.get("name") in disabled and not trigger.setdefault("enabled", False):
            off.append(trigger["name"])
    return PreservedEntry(copy, tuple(paused), tuple(off))


def is_plain_schedule(schedule: Mapping[str, Any]) -> bool:
    """Whether a schedule of the file is a cron expression with nothing beside it that is not known here."""
    return not set(schedule) - _SCHEDULE_KEYS and "cron" in schedule


def _load_flow(entrypoint: str) -> Flow[..., Any] | None:
    from prefect.flows import load_flow_from_entrypoint

    try:
        flow: Flow[..., Any] = load_flow_from_entrypoint(entrypoint)
    except (ImportError, ValueError, AttributeError):
        # Prefect explains the mistake when the entry is deployed.
        return None
    return flow


def _schema_of(flow: Flow[..., Any] | None) -> Mapping[str, Any]:
    from prefect.utilities.callables import parameter_schema

    return parameter_schema(flow).model_dump(exclude_unset=True) if flow is not None else {}


def _read_flow_ids(client: SyncPrefectClient, names: set[str]) -> dict[str, str]:
    flows = read_json_pages(client, "flows", {"name": {"any_": sorted(names)}}) if names else []
    return {flow["name"]: flow["id"] for flow in flows}


def _by_name(deployments: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Deployments by the id of their flow and their name."""
    return {(each["flow_id"], each["name"]): each for each in deployments}


def _read_by_name(client: SyncPrefectClient, names: Iterable[str]) -> dict[tuple[str, str], Mapping[str, Any]]:
    wanted = sorted(names)
    chunks = (wanted[start : start + _NAMES_AT_ONCE] for start in range(0, len(wanted), _NAMES_AT_ONCE))
    return _by_name(
        each for chunk in chunks for each in read_json_pages(client, "deployments", {"name": {"any_": chunk}})
    )


def _read_automations(client: SyncPrefectClient, deployments: Iterable[str]) -> dict[str, list[Automation]]:
    """The automations that start runs of some deployments, by the id of the deployment."""
    related: dict[str, list[Automation]] = {each: [] for each in deployments}
    if not related:
        return related
    for automation in read_pages(lambda offset: client.read_automations(limit=_NAMES_AT_ONCE, offset=offset)):
        for deployment in {str(getattr(action, "deployment_id", None)) for action in automation.actions}:
            if deployment in related:
                related[deployment].append(automation)
    return related


def _trigger_automations(automations: Iterable[Automation], entry: Mapping[str, Any]) -> Iterator[Automation]:
    """Those that Prefect made of the deployment's triggers.

    The server does not say who created an automation. One that a person made for a deployment has another name.
    """
    names = {trigger.get("name") for trigger in entry.get("triggers") or ()}
    for automation in automations:
        if automation.name in names or automation.name.startswith(entry["name"]):
            yield automation


def _render(document: Mapping[str, Any], entry: Mapping[str, Any], flow: Flow[..., Any]) -> dict[str, Any] | None:
    """Fill in the templates of an entry as Prefect does; None where that takes more than is known here."""
    from prefect.utilities.templating import apply_values, find_placeholders

    build = document.get("build") or []
    if document.get("push") or set(entry) - _KEYS or any(set(step) != {STEP} for step in build):
        return None
    outputs = {step[STEP].get("id", "here"): here(step[STEP].get("environment", "")) for step in build}
    templates = {key: value for key, value in entry.items() if key != "triggers"} | {"pull": document.get("pull")}
    rendered: Any = apply_values(templates, outputs, remove_notset=False)
    # Without pull steps Prefect stores the folder in which it was called. Templates in them are stored as they are.
    rest = {key: value for key, value in rendered.items() if key != "pull"}
    if rendered["pull"] is None or find_placeholders(rest):
        return None
    own = {"description": rendered.get("description") or flow.description, "version": rendered.get("version")}
    return {**rendered, **own, "triggers": entry.get("triggers") or []}


def _expected_content(
    entry: Mapping[str, Any], schema: Mapping[str, Any], deployment: Mapping[str, Any]
) -> dict[str, Any]:
    pool, limit = entry.get("work_pool") or {}, entry.get("concurrency_limit")
    options = limit if isinstance(limit, dict) else {"limit": limit}
    return {
        "entrypoint": entry.get("entrypoint"),
        "description": entry["description"],
        # Where the file says none, Prefect takes the commit or the flow's, and whichever it took is right.
        "version": entry["version"] or deployment["version"],
        "tags": {*(entry.get("tags") or ())},
        "parameters": entry.get("parameters") or {},
        "schema": schema,
        "pull": entry["pull"],
        "pool": pool.get("name"),
        "queue": pool.get("work_queue_name") or "default",
        "job": pool.get("job_variables") or {},
        "limit": options.get("limit"),
        "collision": options.get("collision_strategy"),
    }


def _stored_content(deployment: Mapping[str, Any]) -> dict[str, Any]:
    limit, options = deployment["global_concurrency_limit"], deployment["concurrency_options"]
    return {
        "entrypoint": deployment["entrypoint"],
        "description": deployment["description"],
        "version": deployment["version"],
        "tags": {*deployment["tags"]},
        "parameters": deployment["parameters"],
        "schema": deployment["parameter_openapi_schema"],
        "pull": deployment["pull_steps"],
        "pool": deployment["work_pool_name"],
        "queue": deployment["work_queue_name"],
        "job": deployment["job_variables"],
        "limit": limit["limit"] if limit else None,
        "collision": options["collision_strategy"] if options else None,
    }


def _schedules_match(deployment: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    expected = entry.get("schedules") or []
    if "paused" in entry and entry["paused"] != deployment["paused"]:
        return False
    if len(expected) != len(deployment["schedules"]):
        return False
    stored = {schedule["slug"]: schedule for schedule in deployment["schedules"]}
    return all(_schedule_matches(stored.get(schedule.get("slug")), schedule) for schedule in expected)


def _schedule_matches(stored: Mapping[str, Any] | None, expected: Mapping[str, Any]) -> bool:
    if stored is None or not is_plain_schedule(expected) or "cron" not in stored["schedule"]:
        return False
    schedule, day_or = stored["schedule"], expected.get("day_or")
    return (schedule["cron"], schedule["timezone"], schedule["day_or"], stored["parameters"], stored["active"]) == (
        expected["cron"],
        expected.get("timezone") or "UTC",
        True if day_or is None else day_or,
        expected.get("parameters") or {},
        expected.get("active", stored["active"]),
    )


def _triggers_match(automations: Sequence[Automation], deployment: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    from uuid import UUID

    from pydantic import ValidationError

    try:
        triggers = read_triggers(entry)
    except ValidationError:
        return False
    expected: list[tuple[AutomationCore, Any]] = []
    for text, trigger in zip(entry["triggers"], triggers, strict=True):
        trigger.set_deployment_id(UUID(deployment["id"]))
        expected.append((trigger.as_automation(), text.get("enabled")))
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


def read_triggers(entry: Mapping[str, Any]) -> list[Any]:
    """The triggers of an entry as Prefect's own objects, with the names that it gives to those that have none.

    Raises:
        ValidationError: one of them is none.
    """
    names = (f"{entry['name']}__automation_{number}" for number in range(1, len(entry["triggers"]) + 1))
    named = ({"name": name, **text} for name, text in zip(names, entry["triggers"], strict=True))
    return [_trigger_reader().validate_python(text) for text in named]


@functools.cache
def _trigger_reader() -> Any:
    from prefect.events import DeploymentTriggerTypes
    from pydantic import TypeAdapter

    return TypeAdapter(DeploymentTriggerTypes)
