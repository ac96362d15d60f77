"""What the dashboards make of series, on series that were written down: promtool evaluates the queries."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.monitoring.events import events
from deployments.monitoring.expressions import VERDICTS, verdict, worry
from evergreen.runs.fleet import WEIGHTS, WORRIES
from tests.deployments.monitoring.queries import as_prometheus_is_asked

PROMTOOL = shutil.which("promtool")
pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: apt-get install prometheus")
OF = {event.name: as_prometheus_is_asked(event.expr, window="1m") for event in events()}
HEALTHY = {
    "evergreen_model_problem{}": 0.0,
    "evergreen_champion_version{}": 1,
    "evergreen_champion_since_timestamp_seconds{}": 0,
    "evergreen_champion_resolvable{}": 1,
    "evergreen_drift_watched_timestamp_seconds{}": 0,
    "evergreen_drift_silence_seconds{}": 3600,
    "evergreen_windows_measured{}": 2,
    "evergreen_windows_waiting{}": 1,
    "evergreen_decisions_open{}": 0,
    "evergreen_escalated{}": 0,
    "evergreen_approval_waiting{}": 0,
    'evergreen_report_info{report="drift", verdict="PASS"}': 1,
}
"""The series of a model about which there is nothing to worry, a minute after it became champion."""
CAUSES: Mapping[str, Mapping[str, float | None]] = {
    "problem": dict.fromkeys(HEALTHY, None) | {"evergreen_model_problem{}": 1},
    "escalated": {"evergreen_escalated{}": 1},
    "open": {"evergreen_decisions_open{}": 3},
    "performance": {'evergreen_report_info{report="performance", verdict="FAIL"}': 1},
    "drift": {'evergreen_report_info{report="drift", verdict="FAIL"}': 1},
    "skew": {'evergreen_report_info{report="skew", verdict="FAIL"}': 1},
    "shadow": {'evergreen_report_info{report="shadow", verdict="FAIL"}': 1},
    "none": dict.fromkeys(
        (
            "evergreen_champion_version{}",
            "evergreen_champion_since_timestamp_seconds{}",
            "evergreen_drift_watched_timestamp_seconds{}",
        ),
        None,
    ),
    "silent": {"evergreen_drift_watched_timestamp_seconds{}": -3600},
    "labels": {"evergreen_windows_waiting{}": 3},
    "waits": {"evergreen_approval_waiting{}": 1},
    "old": {"evergreen_champion_since_timestamp_seconds{}": -91 * 86_400},
}
"""What is otherwise where there is one worry; None for a series that is not there."""


def evaluate(folder: Path, series: Mapping[str, str], wanted: Mapping[tuple[str, str], Mapping[str, float]]) -> str:
    """What promtool says against the series that queries are to find, by query and time; empty where it agrees."""
    asked = [
        {
            "expr": expr,
            "eval_time": at,
            "exp_samples": [{"labels": labels, "value": value} for labels, value in found.items()],
        }
        for (expr, at), found in wanted.items()
    ]
    given = [{"series": name, "values": values} for name, values in series.items()]
    written: Mapping[str, Any] = {"tests": [{"interval": "15s", "input_series": given, "promql_expr_test": asked}]}
    (folder / "tests.yml").write_text(yaml.safe_dump(written))
    words = [str(PROMTOOL), "test", "rules", "tests.yml"]
    told = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    return "" if told.returncode == 0 else told.stdout + told.stderr


def of_model(series: Mapping[str, float | None], model: str = "toy") -> dict[str, str]:
    """Series that stay as they are for two minutes."""
    named = {name.replace("{", f'{{model="{model}", ').replace(", }", "}"): value for name, value in series.items()}
    return {name: f"{value}x8" for name, value in named.items() if value is not None}


@pytest.mark.parametrize("cause", WORRIES)
def test_each_worry_weighs_what_it_does_elsewhere(cause: str, tmp_path: Path) -> None:
    """A model with one worry has its weight, and one without any has none."""
    series = of_model(HEALTHY | CAUSES[cause]) | of_model(HEALTHY, "fine")
    wanted = {'{model="toy"}': float(WEIGHTS[cause]), '{model="fine"}': 0.0}
    assert evaluate(tmp_path, series, {(worry(), "1m"): wanted}) == ""


def test_a_canary_that_is_held_waits_for_a_person(tmp_path: Path) -> None:
    """As long as it is in its canary; what was the last word of one that is over says nothing."""
    held = {'evergreen_report_info{report="canary", verdict="paused"}': 1.0}
    series = of_model(HEALTHY | held | {'evergreen_canary_share_ratio{version="2"}': 0.0}) | of_model(
        HEALTHY | held, "fine"
    )
    wanted = {'{model="toy"}': float(WEIGHTS["waits"]), '{model="fine"}': 0.0}
    assert evaluate(tmp_path, series, {(worry(), "1m"): wanted}) == ""


@pytest.mark.parametrize("word", VERDICTS)
def test_a_verdict_is_its_number(word: str, tmp_path: Path) -> None:
    """Of the report that is asked for."""
    series = of_model({f'evergreen_report_info{{report="drift", verdict="{word}"}}': 1.0})
    series |= of_model({'evergreen_report_info{report="skew", verdict="FAIL"}': 1.0})
    assert evaluate(tmp_path, series, {(verdict("drift"), "1m"): {'{model="toy"}': VERDICTS[word]}}) == ""


def test_promotions_and_rollbacks_are_told_apart(tmp_path: Path) -> None:
    """Within a minute of the change, and each once; a first champion is neither."""
    series = {'evergreen_champion_version{model="toy"}': "_x4 1x7 2x7 1x7"}
    found = {'{model="toy"}': 1.0}
    wanted = {
        (OF["Promotions"], "1m15s"): {},
        (OF["Promotions"], "2m45s"): {},
        (OF["Promotions"], "3m"): found,
        (OF["Promotions"], "5m"): {},
        (OF["Rollbacks"], "3m"): {},
        (OF["Rollbacks"], "5m"): found,
        (OF["Rollbacks"], "6m15s"): {},
    }
    assert evaluate(tmp_path, series, wanted) == ""


def test_a_retraining_is_told_by_its_outcome(tmp_path: Path) -> None:
    """The counter begins with 0, so that the first one is told as well."""
    series = {
        'evergreen_retrains_total{model="toy", outcome="promoted"}': "0x7 1x7",
        'evergreen_retrains_total{model="toy", outcome="rejected"}': "0x15",
    }
    expr = f"({OF['Retrainings']}) > bool 0"
    wanted = {(expr, "1m45s"): {}, (expr, "2m15s"): {'{model="toy", outcome="promoted"}': 1.0}, (expr, "3m45s"): {}}
    assert evaluate(tmp_path, series, wanted) == ""


def test_a_canary_is_told_when_it_begins_and_at_each_step(tmp_path: Path) -> None:
    """One that only compares begins with a share of 0."""
    series = {'evergreen_canary_share_ratio{model="toy", version="2"}': "_x4 0x7 0.1x7"}
    found = {'{model="toy", version="2"}': 1.0}
    wanted = {
        (OF["Canary steps"], "45s"): {},
        (OF["Canary steps"], "1m15s"): found,
        (OF["Canary steps"], "2m45s"): {},
        (OF["Canary steps"], "3m"): found,
        (OF["Canary steps"], "4m45s"): {},
    }
    assert evaluate(tmp_path, series, wanted) == ""
