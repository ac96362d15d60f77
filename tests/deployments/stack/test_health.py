"""How the services are asked, and which runs are ended, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployments.stack import health
from deployments.stack.health import authorization
from deployments.stack.services import Ports, own_login, worker_name
from evergreen.settings import Settings


def test_a_login_is_given_as_prefect_does_it() -> None:
    """A key for Cloud comes first; without either nothing is sent, and our own login goes to no other server."""
    assert authorization({"PREFECT_API_KEY": "pnu_1", "PREFECT_API_AUTH_STRING": "a:b"}) == {
        "Authorization": "Bearer pnu_1"
    }
    assert authorization({"PREFECT_API_AUTH_STRING": "ann:word"}) == {"Authorization": "Basic YW5uOndvcmQ="}
    assert authorization({"PREFECT_SERVER_API_AUTH_STRING": "ann:word"}) == {}
    assert own_login({"PREFECT_SERVER_API_AUTH_STRING": "ann:word"}) == {"PREFECT_API_AUTH_STRING": "ann:word"}
    assert own_login({"PREFECT_API_AUTH_STRING": "ann:word"}) == {}


@pytest.mark.parametrize(("other", "marked"), [("OFFLINE", True), ("ONLINE", False)])
def test_runs_that_another_worker_may_have_are_not_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str, marked: bool
) -> None:
    """Two homes on one server: each has a worker of its own name, and what the other one runs goes on."""
    one, two = Settings(home=tmp_path / "one"), Settings(home=tmp_path / "two")
    assert worker_name(one) != worker_name(two)
    told: list[str] = []

    def request(url: str, body: Any = None, _login: Any = None) -> Any:
        told.append(url.rpartition("/")[2])
        if "workers" in url:
            names = {worker_name(one): "ONLINE", worker_name(two): other}
            return [{"name": name, "status": status} for name, status in names.items()]
        return [{"id": "run"}] if url.endswith("flow_runs/filter") else None

    monkeypatch.setattr(health, "_request", request)
    health.mark_crashed(one, Ports(1, 2))
    assert ("set_state" in told) is marked


@pytest.mark.parametrize(("environment", "pool"), [("", "evergreen"), ("staging", "evergreen-staging")])
def test_runs_of_other_environments_are_not_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: str, pool: str
) -> None:
    """What is in progress is looked for in the pool of the environment alone, by its own worker."""
    settings = Settings(home=tmp_path, environment=environment)
    told: list[tuple[str, Any]] = []
    monkeypatch.setattr(health, "_request", lambda url, body=None, _login=None: told.append((url, body)))
    health.mark_crashed(settings, Ports(1, 2))
    (workers, _), (_, query) = told
    assert f"/work_pools/{pool}/workers/" in workers
    assert query["work_pools"] == {"name": {"any_": [pool]}}
    assert worker_name(settings).startswith(f"{pool}-up-")
