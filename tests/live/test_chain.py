"""From a failed drift report to the promoted alias, with nobody's hand in between."""

from __future__ import annotations

import shutil
import subprocess
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from evergreen.registry.client import Registry
from evergreen.sources.simulator import simulate
from tests.live.clone import Stack, until

CHANGE = date(2011, 8, 29)
MODEL = "bike_demand"


@pytest.fixture(scope="module")
def answered(stack: Stack) -> dict[str, Any]:
    """History lands, a first champion is made, other weather lands, the monitor runs: the retrain that came of it."""
    start = date(2011, 6, 6)
    stack.land(MODEL, "1-history", simulate(start, 84, seed=42))
    first = stack.ended(stack.start("retrain", "retrain-bike-demand", reason="first champion"))
    assert first["state_type"] == "COMPLETED", first["state"]
    stack.land(MODEL, "2-drifted", simulate(CHANGE, 21, seed=42, scenario="covariate", change=CHANGE))
    seen = stack.ended(stack.start("monitor", "monitor-bike-demand"))
    assert seen["state_type"] == "COMPLETED", seen["state"]

    def by_automation() -> list[dict[str, Any]]:
        return [run for run in stack.runs("retrain-bike-demand") if run["parameters"]["reason"] == "drift"]

    runs = until(by_automation, "the automation starts a retrain")
    assert len(runs) == 1
    return stack.ended(runs[0]["id"])


def test_the_event_starts_the_retrain_with_what_it_said(stack: Stack, answered: dict[str, Any]) -> None:
    """The run completes; reason, decision and event are those of the stored decision and the sent event."""
    assert answered["state_type"] == "COMPLETED", answered["state"]
    told = stack.evergreen("status", MODEL)["last_drift"]
    given = answered["parameters"]
    assert given["model"] == MODEL
    assert given["decision_id"] == told["decision_id"] or told["outcome"] != "FAIL"
    event = _event(stack, given["event_id"])
    assert event["payload"]["decision_id"] == given["decision_id"]
    assert event["payload"]["share"] >= 0.3


def test_the_whole_chain_is_linked(stack: Stack, answered: dict[str, Any]) -> None:
    """Event, decision, flow run and version lead to one another: on the version, in the log, and in `history`."""
    given = answered["parameters"]
    now = Registry(stack.settings).champion(MODEL)
    assert now is not None
    assert now.number == 2
    assert now.tags.raw["decision_id"] == given["decision_id"]
    assert now.tags.raw["event_id"] == given["event_id"]
    assert now.tags.raw["flow_run"] == answered["id"]
    last = stack.evergreen("history", MODEL)["moves"][-1]
    linked = {key: last[key] for key in ("champion", "before", "decision_id", "event_id", "flow_run", "reason")}
    assert linked == {
        "champion": 2,
        "before": 1,
        "decision_id": given["decision_id"],
        "event_id": given["event_id"],
        "flow_run": answered["id"],
        "reason": "drift",
    }


def test_the_run_leaves_its_tables_where_a_person_looks(stack: Stack, answered: dict[str, Any]) -> None:
    """The gate table and the drift table are artifacts of the run."""
    wanted = {"artifacts": {"flow_run_id": {"any_": [answered["id"]]}}}
    keys = {artifact["key"] for artifact in stack.ask("artifacts/filter", **wanted)}
    assert {"gates-bike-demand", "drift-bike-demand"} <= keys


@pytest.mark.slow
def test_the_artifacts_are_on_the_page(stack: Stack, answered: dict[str, Any], tmp_path: Path) -> None:
    """In a real browser the run's page shows its state and its artifacts, and the gate table reads as a table."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here: the Prefect UI is not looked at")
    ui = stack.url.removesuffix("/api")
    page = _rendered(browser, f"{ui}/v2/runs/flow-run/{answered['id']}?tab=Artifacts", tmp_path)
    assert "gates-bike-demand" in page
    assert "drift-bike-demand" in page
    wanted = {"artifacts": {"flow_run_id": {"any_": [answered["id"]]}, "key": {"any_": ["gates-bike-demand"]}}}
    artifact = stack.ask("artifacts/filter", **wanted)[0]
    table = _rendered(browser, f"{ui}/artifacts/artifact/{artifact['id']}", tmp_path)
    assert "<table" in table
    assert "better by" in table


def _rendered(browser: str, url: str, folder: Path) -> str:
    words = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    words += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    words += [f"--user-data-dir={folder / 'profile'}", "--window-size=1400,1500", "--virtual-time-budget=20000"]
    done = subprocess.run([*words, "--dump-dom", url], capture_output=True, text=True, timeout=300, check=True)
    return done.stdout


def _event(stack: Stack, event: str) -> dict[str, Any]:
    since = f"{date.today() - timedelta(days=1)}T00:00:00Z"
    wanted = {"filter": {"id": {"id": [event]}, "occurred": {"since": since}}}
    found: list[dict[str, Any]] = until(
        lambda: stack.ask("events/filter", **wanted)["events"], f"event {event} is in the feed"
    )
    return found[0]
