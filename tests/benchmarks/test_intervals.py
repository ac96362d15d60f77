"""Equal models on rows that depend on their neighbours: the gate's judge keeps its level, the invalid one is caught."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import intervals

PAIRS = 150
LEVEL_KEPT = intervals.LEVEL + 2 * np.sqrt(intervals.LEVEL * (1 - intervals.LEVEL) / PAIRS)
"""What a rate of 5 % stays below in 98 of 100 draws of so many pairs."""


def test_the_streams_are_what_they_say() -> None:
    """Variance one, and the autocorrelation of an hour that was asked for."""
    series = intervals.wander(0.9, 50_000, np.random.default_rng(0))
    assert series.var() == pytest.approx(1, abs=0.1)
    assert np.corrcoef(series[1:], series[:-1])[0, 1] == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize("hourly", [0.0, 0.98])
def test_blocks_keep_their_level_on_dependent_days(hourly: float) -> None:
    """Of equal models no more pass than the level says; judged row by row, or day by day, the same test fails."""
    shares = intervals.judge_pairs(intervals.simulated_pairs(120, hourly, PAIRS))
    caught = {name for name, (passed, _) in shares.items() if passed > LEVEL_KEPT}
    assert caught == ({"days", "rows (invalid)"} if hourly else set())
    assert hourly or shares["blocks"][1] < 0.05


def test_a_better_model_is_still_proven_better() -> None:
    """An improvement of a quarter passes on dependent days, so that the level is no mere refusal."""
    pairs = list(intervals.simulated_pairs(120, 0.9, 30))
    shares = intervals.judge_pairs((y, 0.75 * one, two, days) for y, one, two, days in pairs)
    assert shares["blocks"][0] > 0.4


@pytest.mark.slow
def test_real_pairs_are_of_the_days_before(uci: Path) -> None:
    """Both halves learn, and the days that judge come after them."""
    y, one, two, days = next(intervals.real_pairs(uci, 1))
    assert len(y) == len(one) == len(two) == len(days)
    assert (days.min(), days.max()) == (120, 160)
    assert np.abs(one - y).mean() < np.abs(y - y.mean()).mean()


@pytest.mark.parametrize("name", ["mae", "roc_auc"])
def test_an_interval_is_timed(name: str) -> None:
    """Some time goes by."""
    assert intervals.interval_seconds(name, 2_000) > 0
