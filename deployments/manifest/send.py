"""Bring an entry of `prefect.yaml` to a Prefect server in three requests, with what `prefect deploy` would send.

Prefect's command opens seven connections for each deployment, and each reads the certificates of the machine anew: 0.4
seconds of processor time, two minutes for 100 models. It is still called for what is not known here, and for Prefect
Cloud, which keeps more of a deployment than a server does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic_core import to_jsonable_python

from deployments.manifest.server_state import DeploymentState, is_plain_schedule, read_triggers
from evergreen.errors import EvergreenError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


def is_sendable(client: SyncPrefectClient, state: DeploymentState) -> bool:
    """Whether all that Prefect would do with an entry is known here."""
    from prefect.client.base import ServerType
    from prefect.utilities.templating import find_placeholders

    entry = state.rendered
    if entry is None or client.server_type == ServerType.CLOUD or not (entry.get("work_pool") or {}).get("name"):
        return False
    if not entry["version"]:
        # Prefect asks git for one.
        return False
    # Prefect fills in the templates of a trigger, but not those of its parameters, which an event fills in.
    rest = [{key: value for key, value in each.items() if key != "parameters"} for each in entry["triggers"]]
    return all(map(is_plain_schedule, entry.get("schedules") or ())) and not find_placeholders(rest)


def send(client: SyncPrefectClient, state: DeploymentState, entry: Mapping[str, Any], flow_ids: dict[str, str]) -> None:
    """Create the deployment of an entry, or make it what the entry says.

    Triggers that are as they should be are left alone, so that a cooldown goes on.

    Args:
        client: of the server.
        state: what the server has.
        entry: with its templates filled in.
        flow_ids: of the flows that were created, by name; what is created here is added.

    Raises:
        EvergreenError: the server refuses it, or a trigger is none.
    """
    from prefect.exceptions import PrefectHTTPStatusError
    from pydantic import ValidationError

    try:
        triggers = read_triggers(entry)
        if state.deployment is None:
            deployment = _create(client, state, entry, state.flow_id or _create_flow(client, state, flow_ids))
        else:
            deployment = _update(client, state, entry)
        # Where the file has no trigger, the server may still have one of another name.
        if not (triggers and state.triggers_current):
            if state.deployment:
                client.delete_resource_owned_automations(f"prefect.deployment.{deployment}")
            for trigger in triggers:
                trigger.set_deployment_id(UUID(deployment))
                client.create_automation(trigger.as_automation())
    except PrefectHTTPStatusError as error:
        raise refusal(f"{entry['name']}: {_detail(error)}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise refusal(
            f"{entry['name']}: triggers: {first['loc'][-1] if first['loc'] else ''}: {first['msg']}"
        ) from None


def refusal(why: str, more: str = "") -> EvergreenError:
    """The error for an entry that Prefect does not take; `more` says where there is more to read."""
    return EvergreenError(f"Prefect refused a deployment: {why}", f"Fix prefect.yaml{more}.")


def _detail(error: Any) -> str:
    """What the server says of a request that it refused."""
    try:
        detail = error.response.json()
    except ValueError:
        return str(error.response.status_code)
    told = detail.get("detail") or detail.get("exception_detail") or detail if isinstance(detail, dict) else detail
    return " ".join(str(told).split())[:500]


def _create_flow(client: SyncPrefectClient, state: DeploymentState, flow_ids: dict[str, str]) -> str:
    if state.flow not in flow_ids:
        flow_ids[state.flow] = str(client.create_flow_from_name(state.flow))
    return flow_ids[state.flow]


def _create(client: SyncPrefectClient, state: DeploymentState, entry: Mapping[str, Any], flow_id: str) -> str:
    schedules = [_schedule(each) for each in entry.get("schedules") or ()]
    own = {"name": entry["name"], "flow_id": flow_id, "enforce_parameter_schema": True, "schedules": schedules}
    body = to_jsonable_python(_content(state, entry) | own)
    return str(client.request("POST", "/deployments/", json=body).json()["id"])


def _update(client: SyncPrefectClient, state: DeploymentState, entry: Mapping[str, Any]) -> str:
    deployment = str((state.deployment or {})["id"])
    schedules = [_schedule(each) for each in entry.get("schedules") or ()]
    # As Prefect does it: schedules of which the file has none are left alone.
    body = _content(state, entry) | ({"schedules": schedules} if schedules else {})
    client.request("PATCH", "/deployments/{id}", path_params={"id": deployment}, json=to_jsonable_python(body))
    return deployment


def _schedule(schedule: Mapping[str, Any]) -> dict[str, Any]:
    """A schedule of the file as Prefect's API has it."""
    cron = {key: schedule[key] for key in ("cron", "timezone", "day_or") if schedule.get(key) is not None}
    rest = {key: schedule[key] for key in ("slug", "parameters") if schedule.get(key)}
    return {"schedule": cron} | rest | ({"active": schedule["active"]} if schedule.get("active") is not None else {})


def _content(state: DeploymentState, entry: Mapping[str, Any]) -> dict[str, Any]:
    pool, limit = entry["work_pool"], entry.get("concurrency_limit")
    options = None
    if isinstance(limit, dict):
        options = {key: limit[key] for key in ("collision_strategy", "grace_period_seconds") if limit.get(key)}
    return {
        "entrypoint": entry["entrypoint"],
        "description": entry["description"],
        "version": entry["version"],
        "tags": entry.get("tags") or [],
        "parameters": entry.get("parameters") or {},
        "parameter_openapi_schema": state.schema,
        "pull_steps": entry["pull"],
        "work_pool_name": pool["name"],
        "work_queue_name": pool.get("work_queue_name"),
        "job_variables": pool.get("job_variables") or {},
        "concurrency_limit": limit.get("limit") if isinstance(limit, dict) else limit,
        "concurrency_options": options,
        "paused": bool(entry.get("paused")),
    }
