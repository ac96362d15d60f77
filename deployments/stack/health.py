"""What the parts of the local stack answer, asked over plain HTTP: each look costs milliseconds and imports nothing.

A server that does not answer is None or False, never an error: it may be on its way up, or down.
"""

from __future__ import annotations

import contextlib
import json
import os
import urllib.request
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from deployments.manifest.work_pool import POOL
from deployments.stack.services import WORKER_NAME, Ports
from evergreen.settings import Settings


def is_ours(settings: Settings, ports: Ports) -> bool:
    """Whether the Prefect server that answers keeps its state in this home: another's may have got the port."""
    told = _asked(f"{ports.api}/admin/settings")
    home = os.environ.get("PREFECT_HOME", str(settings.root / "prefect"))
    return told is not None and told.get("home") == home


def online(ports: Ports, since: float) -> bool:
    """Whether the worker has sent a heartbeat since a time (seconds since 1970) and counts as online."""
    found = _asked(f"{ports.api}/work_pools/{POOL}/workers/filter", {"workers": None}) or []
    return any(
        worker["name"] == WORKER_NAME
        and worker["status"] == "ONLINE"
        and datetime.fromisoformat(worker["last_heartbeat_time"]).timestamp() >= since
        for worker in found
    )


def mark_ended(ports: Ports) -> None:
    """Mark the runs that were in progress; not where another worker may be the one that runs them."""
    workers = _asked(f"{ports.api}/work_pools/{POOL}/workers/filter", {"workers": None}) or []
    if any(worker["name"] != WORKER_NAME and worker["status"] == "ONLINE" for worker in workers):
        return
    going_on = {"state": {"type": {"any_": ["PENDING", "RUNNING"]}}}
    wanted = {"flow_runs": going_on, "work_pools": {"name": {"any_": [POOL]}}}
    state = {"type": "CRASHED", "message": "The local stack ended while it ran."}
    for run in _asked(f"{ports.api}/flow_runs/filter", wanted) or []:
        _asked(f"{ports.api}/flow_runs/{run['id']}/set_state", {"state": state})


def answers(url: str) -> bool:
    """Whether a page is there."""
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
        return bool(answer.status == 200)
    return False


def _asked(url: str, body: Mapping[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310
    with contextlib.suppress(OSError, ValueError), urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        return json.load(answer)
    return None
