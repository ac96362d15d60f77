"""Parts that are down, or die in the middle: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any
from xmlrpc.client import ServerProxy

import pandas as pd
import psutil
import pytest

from evergreen.details.decision import RetrainDetail
from evergreen.ledger.decisions import Decisions
from evergreen.registry.client import Registry
from tests.live.clone import Stack, until

pytestmark = pytest.mark.slow


def _process(stack: Stack, *words: str) -> psutil.Process:
    """The process of this stack whose command line has all of `words`."""
    for process in psutil.process_iter(["cmdline", "environ"]):
        line = " ".join(process.info["cmdline"] or ())
        mine = (process.info["environ"] or {}).get("EVERGREEN_HOME") == str(stack.home)
        if mine and all(word in line for word in words):
            return process
    pytest.fail(f"no process {words}")


@contextlib.contextmanager
def _without(stack: Stack, part: str) -> Iterator[None]:
    """The stack with one of its parts stopped, until the end of the block."""
    from supervisor.xmlrpc import SupervisorTransport

    from deployments.stack.supervisor import socket_path

    transport = SupervisorTransport(None, None, f"unix://{socket_path(stack.settings)}")
    asked: Any = ServerProxy("http://localhost", transport)
    asked.supervisor.stopProcess(part)
    try:
        yield
    finally:
        asked.supervisor.startProcess(part)
        transport.close()
        until(lambda: stack.ask("health"), "the server answers again")


def _running(stack: Stack, run: str) -> dict[str, Any]:
    return until(lambda: (found := stack.ask(f"flow_runs/{run}"))["state_type"] == "RUNNING" and found, "the run runs")  # type: ignore[no-any-return]


def test_a_server_that_is_killed_in_the_middle_of_a_retrain(
    stack: Stack, make_rows: Callable[..., pd.DataFrame]
) -> None:
    """The stack starts it again, the run keeps its slot and ends well: completed, its version champion."""
    stack.land("long_one", "history", make_rows(240))
    run = stack.start("retrain", "retrain-long-one", reason="first")
    lease = _running(stack, run)["state"]["state_details"]["deployment_concurrency_lease_id"]
    _process(stack, "prefect_server").kill()
    until(lambda: stack.ask("health"), "the server answers again")
    # What a run asks for when it begins, and is ended by if the server has forgotten its lease.
    stack.ask(f"v2/concurrency_limits/leases/{lease}/renew", lease_duration=300)
    stack.completed(run)
    champion = Registry(stack.settings).champion("long_one")
    assert champion is not None
    assert champion.tags.raw["flow_run"] == run


def test_an_event_that_nobody_heard(
    stack: Stack, make_rows: Callable[..., pd.DataFrame], champion: Callable[[str], int]
) -> None:
    """The report fails while the server is down: the decision stands, and the reconciler starts its retrain after."""
    known = champion("east")
    stack.land("east", "drifted", make_rows(240, start=known, shift=4.0))
    with _without(stack, "prefect-server"):
        # Otherwise the command's temporary server, which is on the same database, hears it.
        seen = stack.evergreen("monitor", "east", PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED="false")
    assert (seen["verdict"], seen["confirmed"]) == ("FAIL", True)
    mine = [run for run in stack.runs("retrain-east") if run["parameters"].get("decision_id") == seen["decision_id"]]
    assert not mine

    stack.completed(stack.start("reconcile", "reconcile", grace_minutes=0.001))

    def answers() -> list[dict[str, Any]]:
        return [
            run for run in stack.runs("retrain-east") if run["parameters"].get("decision_id") == seen["decision_id"]
        ]

    runs = until(answers, "the reconciler starts the retrain")
    stack.completed(runs[0]["id"])
    stack.completed(stack.start("reconcile", "reconcile", grace_minutes=0.001))
    assert len(answers()) == 1
    answer = Decisions(stack.settings.lake_uri, "east").find("retrain", seen["decision_id"])
    assert answer is not None
    assert (answer.flow_run, answer.detail_as(RetrainDetail).reason) == (runs[0]["id"], "drift")


def test_a_worker_that_is_killed_in_the_middle(stack: Stack, make_rows: Callable[..., pd.DataFrame]) -> None:
    """Worker and run killed with -9: the run is marked crashed, its slot is free, and the next run answers."""
    stack.land("long_two", "history", make_rows(240))
    run = stack.start("retrain", "retrain-long-two", reason="first", decision_id="killed")
    _running(stack, run)
    worker = _process(stack, "stack.worker")
    engine = until(lambda: worker.children(recursive=True), "the run has a process")
    for process in [worker, *engine]:
        os.kill(process.pid, signal.SIGKILL)
    crashed = stack.ended(run)
    assert crashed["state_type"] == "CRASHED", crashed["state"]
    assert Decisions(stack.settings.lake_uri, "long_two").find("retrain", "killed") is None

    stack.completed(stack.start("retrain", "retrain-long-two", reason="first", decision_id="killed"))
    answer = Decisions(stack.settings.lake_uri, "long_two").find("retrain", "killed")
    assert answer is not None
    assert answer.outcome == "promoted"
    assert len(Registry(stack.settings).versions("long_two")) == 1
