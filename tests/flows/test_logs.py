"""One decision in the JSON logs: one filter joins event, run, gates, promotion and alias."""

from __future__ import annotations

import io
import json
import logging
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evergreen.logs import JsonFormatter
from evergreen.registry.client import Registry
from evergreen.settings import Settings
from flows.monitor import monitor
from flows.retrain import retrain

pytestmark = pytest.mark.usefixtures("in_process")
MODELS = Path(__file__).resolve().parents[1] / "faults" / "models"
MODEL = "toy"
Run = Callable[..., subprocess.CompletedProcess[str]]
JSON = {
    "EVERGREEN_LOGS": "json",
    "EVERGREEN_MODELS": str(MODELS),
    # The session's other processes are quiet.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO",
}


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[io.StringIO]:
    """What the flows of this process log, as JSON lines."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("prefect")
    logger.addHandler(handler)
    yield written
    logger.removeHandler(handler)


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_one_decision_is_followed_from_the_event_to_the_alias(
    evergreen: Run, land_toy: Callable[..., None], settings: Settings
) -> None:
    """Each line of both commands is JSON; those of the decision tell its whole course in order, with run and version.

    The result on stdout is what it always was.
    """
    land_toy("a", 300)
    assert retrain(MODEL).outcome == "promoted"
    land_toy("b", 300, start=1000, slope=5.0)
    asked = evergreen("monitor", MODEL, "--json", **JSON)
    decision = json.loads(asked.stdout)["performance"]["decision_id"]
    answer = evergreen("retrain", MODEL, "--reason", "performance", "--decision", decision, "--json", **JSON)
    result = json.loads(answer.stdout)
    assert (result["outcome"], result["version"], result["decision_id"]) == ("promoted", 2, decision)

    lines = [line for line in _lines(asked.stderr + answer.stderr) if line.get("decision") == decision]
    told = [(line["flow"], line["task"], line["message"].partition(",")[0]) for line in lines]
    assert told == [
        ("monitor", "measure", "measure: performance FAIL"),
        ("monitor", "record-performance", "decision: performance FAIL is recorded"),
        ("monitor", "announce", "event: evergreen.performance.failed of toy"),
        ("retrain", "plan", "run: a retraining of toy begins for performance"),
        ("retrain", "plan", "plan: 480 rows to learn from"),
        ("retrain", "fit", "fit: toy on 480 rows"),
        ("retrain", "register", "register: toy version 2"),
        ("retrain", "gate", "gate: PASS"),
        ("retrain", "promote", "promote: promoted"),
        ("retrain", "promote", "alias: champion is version 2 now"),
        ("retrain", "record-retrain", "decision: the retraining is recorded as promoted"),
        ("retrain", "announce", "event: evergreen.model.promoted of toy"),
    ]
    assert {line["model"] for line in lines} == {MODEL}
    assert {line["version"] for line in lines if "version" in line} == {2}
    champion = Registry(settings).champion(MODEL)
    assert champion is not None
    assert {line["flow_run"] for line in lines if line["flow"] == "retrain"} == {champion.tags.raw["flow_run"]}
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)


def test_a_run_that_fails_tells_no_value_of_a_row(
    land_toy: Callable[..., None], log: io.StringIO, broken_ingest: str
) -> None:
    """Each of Prefect's lines about the failure is there, with the type and the traceback and without the message."""
    land_toy("a", 300)
    with pytest.raises(ValueError, match=broken_ingest):
        retrain(MODEL)
    lines = _lines(log.getvalue())
    assert broken_ingest not in log.getvalue()
    failed = [line for line in lines if "exception" in line]
    assert {line["exception"]["type"] for line in failed} == {"ValueError"}
    assert {line["logger"] for line in failed} == {"prefect.task_runs", "prefect.flow_runs"}
    assert all("in fail" in line["exception"]["traceback"] for line in failed)
    assert any(line["message"].startswith("Finished in state Failed") for line in lines)


def test_a_line_for_the_log_is_no_step_of_a_command(evergreen: Run, land_toy: Callable[..., None]) -> None:
    """By default a command prints its steps as text, none of them about events, stored decisions or the alias."""
    land_toy("a", 300)
    done = evergreen("retrain", MODEL, EVERGREEN_MODELS=str(MODELS))
    assert done.returncode == 0, done.stderr
    steps = [line.split()[0] for line in done.stderr.splitlines()]
    assert steps == ["start", "ingest", "plan", "fit", "register", "gate", "promote"]


def test_a_monitor_run_without_a_champion_names_no_decision(land_toy: Callable[..., None], log: io.StringIO) -> None:
    """What belongs to no decision has no such field, and what is logged in the run names flow, run and model."""
    land_toy("a", 300)
    seen = monitor(MODEL)
    lines = _lines(log.getvalue())
    ours = [line for line in lines if "model" in line]
    assert ours and not [line for line in lines if "decision" in line]
    assert seen.decision_id is None
    assert {(line["flow"], line["model"]) for line in ours} == {("monitor", MODEL)}
