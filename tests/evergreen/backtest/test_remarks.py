"""Outcomes of a backtest that are not the same have sentences that are not the same, each with its figures."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from evergreen.backtest.remarks import Response, describe_changes, describe_left_out, describe_windows, within
from evergreen.backtest.simulation import SimulationPlan, SimulationResult, StepPredictions, Trained
from evergreen.decision import Decision
from evergreen.spec.training import Training
from tests.details import detail_of

DAY = timedelta(days=1)
START = datetime(2025, 1, 1, tzinfo=UTC)
END = START + 100 * DAY
STEPS = [START + number * DAY for number in range(100)]
CHANGE = START + 50 * DAY


def _trained(day: float, outcome: str = "promoted", reason: str = "drift") -> Trained:
    return Trained(START + day * DAY, reason, outcome, 1, 1.0, "mae 3 on the holdout; at most 2 is met.")


@pytest.mark.parametrize(
    ("trained", "late", "says"),
    [
        (
            [],
            None,
            "no retraining for drift or performance came in the 50 days .* to the end; 0 came before",
        ),
        (
            [_trained(10), _trained(60, reason="schedule")],
            None,
            "no retraining for drift or .*; 1 came before it",
        ),
        ([_trained(54)], 4, "came 4 days after the change and brought a new champion; 0 came before it"),
        ([_trained(50)], 0, "came 0 days after the change and brought a new champion"),
        (
            [_trained(10), _trained(52, "rejected"), _trained(59, reason="performance")],
            2,
            "came 2 days .* and was rejected; the first new champion came 9 days after it; 1 came before it",
        ),
        (
            [_trained(52, "rejected"), _trained(59, "inconclusive")],
            2,
            "came 2 days after the change, and none of 2 retrainings since brought a new champion; 0 came before it",
        ),
    ],
)
def test_how_a_policy_met_a_change(trained: list[Trained], late: float | None, says: str) -> None:
    """No retraining, one in time, one in vain, and none that helped, are told apart."""
    response = Response.of(trained, CHANGE, START)
    assert response.late == (None if late is None else late * DAY)
    (line,) = describe_changes({"on drift": response}, CHANGE, STEPS, END)
    assert line.startswith("on drift: ")
    assert re.search(says, line)


@pytest.mark.parametrize(("change", "side"), [(START - DAY, "before"), (END, "after"), (END + 900 * DAY, "after")])
def test_a_change_that_is_not_among_the_steps(change: datetime, side: str) -> None:
    """One sentence for all policies, with the days that were scored."""
    (line,) = describe_changes({"on drift": Response(change, (), ())}, change, STEPS, END)
    assert f"is {side} the scored steps, 2025-01-01 to 2025-04-11" in line
    assert list(describe_changes({}, None, STEPS, END)) == []


def test_a_window_that_is_longer_than_the_history() -> None:
    """It is named with the length of history, and is the window of all of it; a shorter one is let be."""
    windows = {"all": Training(), "90d": Training(last=90 * DAY), "400d": Training(last=400 * DAY)}
    (line,) = describe_windows(windows, 100 * DAY)
    assert line.startswith("The training window 400d is longer than the history of 100 days")
    assert within(windows["400d"], 100 * DAY) == windows["all"]
    assert within(windows["90d"], 100 * DAY) == windows["90d"]


def _result(trained: list[Trained], predicted: int = 0, *settled: str) -> SimulationResult:
    decisions = tuple(
        Decision(str(place), "retrain", START, "inconclusive", None, 1, "d", why, detail_of("retrain"))
        for place, why in enumerate(settled)
    )
    steps = tuple(StepPredictions(step, ()) for step in STEPS[len(STEPS) - predicted - 1 : -1])
    return SimulationResult(decisions, (), tuple(trained), steps)


@pytest.mark.parametrize(
    ("result", "why", "fix"),
    [
        (
            _result([], 0, "1 training row is fewer than the minimum of 48"),
            "nothing was ever trained in 99 steps: 1 training row is fewer than the minimum of 48",
            "longer training window",
        ),
        (
            _result([_trained(5, "rejected", "first"), _trained(6, "rejected", "first")]),
            "no version ever passed its gates, of 2 that were trained; the last, on 2025-01-07: mae 3 on the holdout",
            "Look at the gates",
        ),
        (
            _result([_trained(5, "rejected", "first"), _trained(98, "promoted", "first")], 2),
            "its first version passed its gates on 2025-04-09, and predicted 2 of the 99 steps: at least 3 are needed",
            "Wait for more rows",
        ),
    ],
)
def test_why_a_policy_was_left_out(result: Any, why: str, fix: str) -> None:
    """Nothing trained, nothing passed, and passed too late, are three causes with three ways on."""
    told, way_on = describe_left_out(result, SimulationPlan(STEPS, "hash"))
    assert told.startswith(why)
    assert fix in way_on
