"""A canary through the real server, trigger, pool and worker; each link is broken once and named."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import models
from deployments.automations.rehearsal import Rehearsal, rehearse
from tests.live.clone import API, Stack, until

NAME, MODEL = "retrain-iris", "iris"


@pytest.fixture
def rehearsed(stack: Stack) -> Callable[..., Rehearsal]:
    """Rehearse in this process, against the stack's server or another."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    spec = models.load(MODEL, stack.settings.models).spec

    def run(url: str = stack.url, **waits: float) -> Rehearsal:
        with temporary_settings({PREFECT_API_URL: url}):
            # Only what is broken takes that long: how fast a sound chain is says how busy the machine is.
            return rehearse("", spec, **({"created": 120, "started": 300} | waits))

    return run


def test_the_chain_holds_and_nothing_is_touched(stack: Stack) -> None:
    """The command says ok with the seconds from the event to the run, which took no step."""
    told = stack.evergreen("rehearse", MODEL)
    assert (told["ok"], told["broken"]) == (True, None)
    assert 0 < told["latency_s"] < 60
    assert stack.ask(f"flow_runs/{told['flow_run']}")["state_type"] == "COMPLETED"
    assert stack.ask("task_runs/filter", flow_runs={"id": {"any_": [told["flow_run"]]}}) == []


@pytest.mark.slow
def test_a_second_canary_is_not_held_back_by_the_cooldown(rehearsed: Callable[..., Rehearsal]) -> None:
    """Two rehearsals within the trigger's cooldown both come through."""
    assert [rehearsed().ok, rehearsed().ok] == [True, True]


def test_no_server(rehearsed: Callable[..., Rehearsal]) -> None:
    """Nothing answers at the server's address."""
    found = rehearsed("http://127.0.0.1:9/api")
    assert (found.ok, found.broken) == (False, "server")
    assert "evergreen up" in found.fix


def test_no_server_is_set(stack: Stack, tmp_path: Path) -> None:
    """Neither PREFECT_API_URL nor a stack of this home: told at once, and no temporary server is started."""
    elsewhere = dataclasses.replace(stack, environment={**stack.environment, "EVERGREEN_HOME": str(tmp_path)})
    found = elsewhere.evergreen("rehearse", MODEL, check=False)
    assert (found["ok"], found["broken"]) == (False, "server")
    assert not (tmp_path / "prefect" / "prefect.db").exists()


def test_no_deployment(stack: Stack) -> None:
    """The model was never deployed."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    spec = models.load(MODEL, stack.settings.models).spec.model_copy(update={"name": "never_deployed"})
    with temporary_settings({PREFECT_API_URL: stack.url}):
        found = rehearse("", spec)
    assert found.broken == "deployment"
    assert "deployments sync" in found.fix


def test_automation_switched_off_or_missing_or_emptied(stack: Stack, rehearsed: Callable[..., Rehearsal]) -> None:
    """Each is seen before anything is sent, so that no ordinary retrain starts by mistake."""
    made = len(stack.runs(NAME))
    with _changed(stack, enabled=False):
        found = rehearsed()
        assert found.broken == "automation"
        assert "switched off" in found.reason
    with _changed(stack, trigger={"expect": ["something.else"]}):
        assert rehearsed().broken == "automation"
    with _changed(stack, actions=[{"parameters": {}}]):
        assert rehearsed().broken == "parameters"
    assert len(stack.runs(NAME)) == made


def test_parameters_that_cannot_be_rendered(stack: Stack, rehearsed: Callable[..., Rehearsal]) -> None:
    """Prefect's own sign is an event of the automation that nobody reads: it is found and told."""
    given = _automation(stack)["actions"][0]["parameters"] | {"event_id": "{{ event.id }}"}
    with _changed(stack, actions=[{"parameters": given}]):
        found = rehearsed()
    assert found.broken == "parameters"
    assert "could not start a run" in found.reason


def test_a_paused_pool_and_a_pool_without_worker(stack: Stack, rehearsed: Callable[..., Rehearsal]) -> None:
    """A pool that hands nothing out, and one that nobody serves."""
    pool = stack.ask(f"deployments/name/retrain/{NAME}")["work_pool_name"]
    _patch(stack, f"work_pools/{pool}", is_paused=True)
    try:
        assert rehearsed().broken == "pool"
    finally:
        _patch(stack, f"work_pools/{pool}", is_paused=False)
    deployment = stack.ask(f"deployments/name/retrain/{NAME}")["id"]
    stack.ask("work_pools/", name="nobody", type="process")
    _patch(stack, f"deployments/{deployment}", work_pool_name="nobody")
    try:
        found = rehearsed()
        assert (found.broken, "nobody" in found.reason) == ("worker", True)
    finally:
        _patch(stack, f"deployments/{deployment}", work_pool_name=pool)


def test_a_run_that_ends_badly(stack: Stack, rehearsed: Callable[..., Rehearsal]) -> None:
    """The run starts and fails: here its process has no model files."""
    deployment = stack.ask(f"deployments/name/retrain/{NAME}")
    there = deployment["job_variables"]
    nowhere = there | {"env": {"EVERGREEN_MODELS": str(stack.home / "nowhere")}}
    _patch(stack, f"deployments/{deployment['id']}", job_variables=nowhere)
    try:
        found = rehearsed()
    finally:
        _patch(stack, f"deployments/{deployment['id']}", job_variables=there)
    assert found.broken == "run"
    assert "Unknown model" in found.reason
    assert found.flow_run is not None


@pytest.mark.slow
def test_a_slot_that_is_taken(stack: Stack, rehearsed: Callable[..., Rehearsal]) -> None:
    """While a retrain holds the deployment's only slot the canary is cancelled, and that is told as such."""
    deployment = stack.ask(f"deployments/name/retrain/{NAME}")["id"]
    tomorrow = {"scheduled_time": f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"}
    later = {"type": "SCHEDULED", "state_details": tomorrow}
    holder = stack.ask(f"deployments/{deployment}/create_flow_run", parameters={}, state=later)["id"]
    # Pending takes the slot, and no worker starts a run that is pending already.
    taken = stack.ask(f"flow_runs/{holder}/set_state", state={"type": "PENDING"})
    assert taken["status"] == "ACCEPT"
    try:
        found = rehearsed()
    finally:
        stack.ask(f"flow_runs/{holder}/set_state", state={"type": "CANCELLED"}, force=True)
    assert found.broken == "slot"
    assert rehearsed().ok


def _automation(stack: Stack) -> dict[str, Any]:
    deployment = stack.ask(f"deployments/name/retrain/{NAME}")["id"]
    owned: list[dict[str, Any]] = stack.ask(f"automations/related-to/prefect.deployment.{deployment}")
    found = [entry for entry in owned if "evergreen.drift.failed" in entry["trigger"].get("expect", [])]
    assert len(found) == 1
    return found[0]


@contextlib.contextmanager
def _changed(stack: Stack, **changes: Any) -> Iterator[None]:
    """The automation with some of it changed, until the end of the block."""
    before = _automation(stack)
    after = before | {key: value for key, value in changes.items() if key == "enabled"}
    if "trigger" in changes:
        after["trigger"] = before["trigger"] | changes["trigger"]
    if "actions" in changes:
        after["actions"] = [before["actions"][0] | changes["actions"][0]]
    _put(stack, after)
    try:
        yield
    finally:
        _put(stack, before)
        until(lambda: _automation(stack)["enabled"], "the automation is as it was")


def _put(stack: Stack, automation: dict[str, Any]) -> None:
    body = {key: automation[key] for key in ("name", "description", "enabled", "trigger", "actions")}
    API.put(f"{stack.url}/automations/{automation['id']}", json=body).raise_for_status()


def _patch(stack: Stack, path: str, **body: Any) -> None:
    API.patch(f"{stack.url}/{path}", json=body).raise_for_status()
