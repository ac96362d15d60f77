"""Comparing is bounded in time, fair in turns, and never in the way of what is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from evergreen.spec.canary import Canary
from serving import comparison
from serving.challenger import OpenCanary
from serving.comparison import SAVED_SECONDS, SHARE, Comparer
from serving.prediction_queue import PredictionQueue
from serving.protocols.call import Call
from serving.served import OnTrial, Served
from serving.version import ServedVersion

ROW = {"x": 1.0, "kind": "a"}
TAKES = 1 / 64


@dataclass
class Clock:
    """A clock that each prediction of the challenger moves."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Plan:
    """Takes its time, and writes down whose turn it was."""

    name: str
    clock: Clock
    seconds: float = 0.0
    turns: list[str] = field(default_factory=list)
    classes: None = None

    def predict(self, _values: Any) -> Any:
        self.clock.now += self.seconds
        self.turns.append(self.name)
        return 1.0, None


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def canary(make_version: Callable[..., ServedVersion], clock: Clock) -> OpenCanary:
    """A challenger that takes a 64th of a second for each row."""
    turns: list[str] = []
    champion = replace(make_version(), plan=Plan("champion", clock, turns=turns))  # type: ignore[arg-type]
    plan = Plan("challenger", clock, TAKES, turns)
    challenger = replace(champion, number=2, alias="challenger", plan=plan)  # type: ignore[arg-type]
    return OpenCanary(champion, challenger, 0, Canary())


def served(canary: OpenCanary, rows: int = 1) -> Served:
    each = [ROW] * rows
    values = [[1.0, "a"]] * rows
    trial = OnTrial(canary, Call(each))
    return Served(canary.champion, "r-1", 0.0, 1, values, [(1.0, None)] * rows, each, trial=trial)


def test_comparing_takes_its_share_of_the_time_and_the_rest_is_counted(canary: OpenCanary, clock: Clock) -> None:
    """A quiet while leaves a little more; then a twentieth of the time that passes."""
    comparer = Comparer(clock=clock)
    requests = [served(canary) for _ in range(40)]
    assert len(comparer.compare(requests)) == SAVED_SECONDS / TAKES
    assert (comparer.compared["toy"], comparer.not_compared["toy"]) == (16, 24)
    began = clock.now
    clock.now += 60.0
    done = 0
    for _ in range(100):
        clock.now += 0.5
        done += len(comparer.compare(requests))
    spent = done * TAKES
    assert spent <= SAVED_SECONDS + SHARE * (clock.now - began)
    assert spent >= 0.8 * SHARE * 50.0
    assert comparer.compared["toy"] + comparer.not_compared["toy"] == 101 * 40


def test_both_are_measured_in_turns(canary: OpenCanary, clock: Clock) -> None:
    """Who begins meets the colder cache: each of the two begins with every other row."""
    found = Comparer(clock=clock).compare([served(canary, 4)])
    assert isinstance(canary.champion.plan, Plan)
    turns = canary.champion.plan.turns
    # Who is first and who second, row by row.
    one, other = ["challenger", "champion"], ["champion", "challenger"]
    assert [turns[place : place + 2] for place in range(0, 8, 2)] in ([one, other] * 2, [other, one] * 2)
    (compared,) = found.values()
    assert set(compared.champion.times) == set(compared.challenger.times) == {0, 1, 2, 3}


def test_requests_without_a_canary_cost_nothing(canary: OpenCanary) -> None:
    """Nothing is predicted, and nothing counted."""
    comparer = Comparer()
    assert comparer.compare([replace(served(canary), trial=None)]) == {}
    assert (comparer.compared, comparer.not_compared) == ({}, {})


def test_a_comparison_that_breaks_costs_no_answer_its_place(
    canary: OpenCanary, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong in it: the answers are in the lake."""
    queue = PredictionQueue(str(tmp_path / "lake"))

    def fail(*_arguments: Any, **_more: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(comparison, "_directly", fail)
    queue.put(served(canary))
    queue.write()
    assert (queue.counts.kept, queue.comparer.not_compared["toy"]) == (1, 1)
