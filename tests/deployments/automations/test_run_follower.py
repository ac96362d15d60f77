"""Runs that are followed on a real server; the test takes the worker's place and proposes their states."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deployments.automations import run_follower
from evergreen.errors import EvergreenError
from tests.live.clone import until

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient

pytestmark = pytest.mark.slow
NAME = "follow-me/followed"


@pytest.fixture
def client(prefect_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SyncPrefectClient]:
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    # Nobody writes log lines here, and a turn is awaited for no longer than a test needs.
    monkeypatch.setattr(run_follower, "_LAST_LINES_SECONDS", 0.2)
    monkeypatch.setattr(run_follower, "_TURN_SECONDS", 0.2)
    with ExitStack() as stack:
        stack.enter_context(temporary_settings({PREFECT_API_URL: prefect_server, PREFECT_HOME: tmp_path}))
        yield stack.enter_context(get_client(sync_client=True))


@pytest.fixture
def deployment(client: SyncPrefectClient) -> Iterator[UUID]:
    """A deployment of which one run goes on at a time, as those of prefect.yaml are."""
    from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions

    flow = client.create_flow_from_name("follow-me")
    made = client.create_deployment(
        flow,
        "followed",
        concurrency_limit=1,
        concurrency_options=ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
    )
    yield made
    client.delete_deployment(made)


@pytest.fixture
def follow(client: SyncPrefectClient, deployment: UUID) -> Iterator[Any]:
    """Follow a new run in a thread of its own: follow() -> what comes of it."""
    from contextvars import copy_context

    with ThreadPoolExecutor(1) as pool:

        def start(timeout: float = 60.0) -> Future[Any]:
            words = {"show": lambda _: None, "timeout": timeout}
            return pool.submit(copy_context().run, lambda: run_follower.run(NAME, {}, **words))  # type: ignore[arg-type]

        yield start


def _next_run(client: SyncPrefectClient, deployment: UUID) -> UUID:
    """The run that waits for a worker."""

    def waiting() -> Any:
        runs = run_follower.runs_of(client, deployment)
        return [run for run in runs if run.state is not None and run.state.is_scheduled()]

    found: UUID = until(waiting, "a run is created", 60)[0].id
    return found


def _propose(client: SyncPrefectClient, run: UUID, *states: Any) -> None:
    for state in states:
        client.set_flow_run_state(run, state)


def test_a_run_that_is_turned_away_is_started_again(client: SyncPrefectClient, deployment: UUID, follow: Any) -> None:
    """The server cancels it while another one has the slot; its successor completes once the slot is free."""
    from prefect.states import Completed, Pending, Running

    other = client.create_flow_run_from_deployment(deployment).id
    _propose(client, other, Pending(), Running())
    followed = follow()
    first = _next_run(client, deployment)
    _propose(client, first, Pending())
    state = client.read_flow_run(first).state
    assert state is not None
    assert state.is_cancelled()
    _propose(client, other, Completed())
    second = _next_run(client, deployment)
    assert second != first
    _propose(client, second, Pending(), Running(), Completed())
    assert followed.result(60).id == second


def test_a_run_that_waits_for_a_person_is_at_its_end(client: SyncPrefectClient, deployment: UUID, follow: Any) -> None:
    """Its process has ended, and nobody knows when the answer comes."""
    from prefect.states import Pending, Running, Suspended

    followed = follow()
    run = _next_run(client, deployment)
    _propose(client, run, Pending(), Running(), Suspended(timeout_seconds=3600))
    assert followed.result(60).state.name == "Suspended"


def test_a_run_that_fails_or_stays_is_told_in_a_sentence(
    client: SyncPrefectClient, deployment: UUID, follow: Any
) -> None:
    """With the state that it is in and where it is seen."""
    from prefect.states import Failed, Pending, Running

    followed = follow()
    run = _next_run(client, deployment)
    _propose(client, run, Pending(), Running(), Failed(message="the disk is full."))
    with pytest.raises(EvergreenError, match=rf"ended as Failed: the disk is full\. See .*{run}$"):
        followed.result(60)
    with pytest.raises(EvergreenError, match=r"has not ended within 1 s: it is (Scheduled|Late)\. See http"):
        follow(1.0).result(60)


@pytest.mark.usefixtures("client")
def test_a_deployment_that_is_not_there() -> None:
    """What to do next is said."""
    with pytest.raises(EvergreenError, match=r"no deployment retrain/absent\. Run: evergreen deployments sync"):
        run_follower.run("retrain/absent", {}, show=print, timeout=1.0)
