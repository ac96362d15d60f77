"""The simulation of canaries: seeded, of the scenario that it says, and with a judge that has to be found out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import challengers
from benchmarks.challengers import CASES, RATES, Case, count_ends, draw_traffic, find, judge_by_peeking
from benchmarks.measure import Scale
from evergreen.canary.judge import judge_canary
from evergreen.spec.canary import Canary

BY_NAME = {case.name: case for case in CASES}


def test_traffic_is_seeded_and_of_the_scenario() -> None:
    """Its rhythm, the spread of a row, the correlation within an hour, and what is planted are as they are told."""
    canary, case = Canary(), Case("all", "bad", worse=0.1, failing=0.01, slowdown=2.0)
    one, again = (draw_traffic(case, 1_000, canary, 3) for _ in range(2))
    assert all(np.array_equal(getattr(one, name), getattr(again, name)) for name in ("rows", "worse", "lost"))
    hours = [draw_traffic(case, 1_000, canary, seed) for seed in range(40)]
    rows = np.concatenate([each.rows for each in hours])
    mean = np.concatenate([each.worse for each in hours])[rows > 500] / rows[rows > 500]
    assert rows.mean() == pytest.approx(1_000, rel=0.02)
    assert mean.mean() == pytest.approx(0.1, abs=0.01)
    # A mean of an hour keeps the correlated part of 0.3 and loses nearly all of the rest.
    assert mean.std() == pytest.approx(0.3 * np.sqrt(0.3), rel=0.05)
    assert sum(each.failures.sum() for each in hours) / rows.sum() == pytest.approx(0.01, rel=0.02)
    assert sum(each.slower.sum() for each in hours) / rows.sum() == pytest.approx(0.717, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_what_is_asked_of_each_case_holds(case: Case, rate: int) -> None:
    """Twelve canaries of each: none that is bad or unknown is promoted, and bad ones are refused in time."""
    ends = count_ends(case, rate, judge_canary, 12, 1)
    if case.kind != "equal":
        assert [finding for finding in find(case, rate, ends) if not finding.met] == []
    else:
        assert sum(end.move == "refuse" for end in ends) <= 2


@pytest.mark.slow
def test_a_judge_that_peeks_is_found_out() -> None:
    """A t-test at each look refuses most equal challengers."""
    ends = count_ends(BY_NAME["equal"], 1_000, judge_by_peeking, 12, 1)
    assert not all(finding.met for finding in find(BY_NAME["equal"], 1_000, ends))


@pytest.mark.proof(name="canary")
def test_canaries_are_rarely_wrong(tmp_path: Path) -> None:
    """Five hundred seeds of each case."""
    missed = [finding for finding in challengers.run(Scale(windows=1_000), tmp_path, "") if not finding.met]
    assert missed == []
