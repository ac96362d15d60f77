"""Ask the services of the local stack for their health, over plain HTTP: it takes milliseconds and imports no Prefect.

A server that does not answer is None or False and no error, because it may be starting or stopping.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deployments.stack.services import Ports, own_login, worker_name
from evergreen.naming import work_pool
from evergreen.settings import Settings


def is_ours(settings: Settings, ports: Ports) -> bool:
    """Whether the Prefect server that answers stores its state in this home; another one may have taken the port."""
    server = _request(f"{ports.api}/admin/settings")
    home = os.environ.get("PREFECT_HOME", str(settings.prefect_home))
    return server is not None and server.get("home") == home


def is_online(settings: Settings, ports: Ports, since: float) -> bool:
    """Whether this home's worker has sent a heartbeat since a time (seconds since 1970) and counts as online."""
    return any(
        worker["name"] == worker_name(settings)
        and worker["status"] == "ONLINE"
        and datetime.fromisoformat(worker["last_heartbeat_time"]).timestamp() >= since
        for worker in _workers(settings, ports) or []
    )


def _workers(settings: Settings, ports: Ports) -> list[Any] | None:
    """The workers that a server knows of our pool; None where it does not answer."""
    url = f"{ports.api}/work_pools/{work_pool(settings.environment)}/workers/filter"
    login = authorization(os.environ) if ports.server else None
    found: list[Any] | None = _request(url, {"workers": None}, login)
    return found


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What a Prefect server says of the workers of the pool.

    Attributes:
        reachable: it answers.
        heartbeat: when one of them was last heard of (aware); None for never.
    """

    reachable: bool
    heartbeat: datetime | None = None


def worker_state(settings: Settings, ports: Ports) -> WorkerState:
    """Whether the server answers, and when it last heard of a worker."""
    workers = _workers(settings, ports)
    beats = [datetime.fromisoformat(each["last_heartbeat_time"]) for each in workers or []]
    return WorkerState(workers is not None, max(beats, default=None))


def mark_crashed(settings: Settings, ports: Ports) -> None:
    """Mark the runs that were in progress as crashed, unless another worker may be running them."""
    others = [each for each in _workers(settings, ports) or [] if each["name"] != worker_name(settings)]
    if any(worker["status"] == "ONLINE" for worker in others):
        return
    in_progress = {"state": {"type": {"any_": ["PENDING", "RUNNING"]}}}
    query = {"flow_runs": in_progress, "work_pools": {"name": {"any_": [work_pool(settings.environment)]}}}
    state = {"type": "CRASHED", "message": "The local stack was stopped while it ran."}
    for run in _request(f"{ports.api}/flow_runs/filter", query) or []:
        _request(f"{ports.api}/flow_runs/{run['id']}/set_state", {"state": state})


def answers(url: str) -> bool:
    """Whether an address answers with a page."""
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310
        return bool(response.status == 200)
    return False


def authorization(environ: Mapping[str, str]) -> dict[str, str]:
    """The header by which Prefect's own clients show who they are, made of the same variables; empty without one."""
    if key := environ.get("PREFECT_API_KEY"):
        return {"Authorization": f"Bearer {key}"}
    if login := environ.get("PREFECT_API_AUTH_STRING"):
        return {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
    return {}


def _request(url: str, body: Mapping[str, Any] | None = None, login: Mapping[str, str] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    # Where no login is given the server is our own, and a key is for another one.
    own = {"PREFECT_API_AUTH_STRING": os.environ.get("PREFECT_API_AUTH_STRING", ""), **own_login(os.environ)}
    headers = {"Content-Type": "application/json", **(authorization(own) if login is None else login)}
    request = urllib.request.Request(url, data, headers)  # noqa: S310
    with contextlib.suppress(OSError, ValueError), urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310
        return json.load(response)
    return None
