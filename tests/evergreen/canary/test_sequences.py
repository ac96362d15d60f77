"""Intervals for all looks together: held against another implementation, and against what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from ville import AsymptoticCS
from ville.proportions import BernoulliCS

from evergreen.canary.sequences import MIN_BLOCKS, PRIOR, UNKNOWN, bound_ratio, bound_share, mixture_radius
from evergreen.evaluation.block_length import variance_inflation

ALPHA = 0.05 / 3


@given(st.integers(0, 2**32 - 1), st.integers(MIN_BLOCKS, 600), st.floats(-2, 2), st.floats(0.01, 5))
def test_a_mean_is_bounded_as_another_implementation_does(seed: int, n: int, mean: float, spread: float) -> None:
    """With denominators of one the ratio is a mean; the two choose their mixture a little differently."""
    x = np.random.default_rng(seed).normal(mean, spread, n)
    # Neighbours that are alike by chance count as fewer, which the other one does not know.
    assume(variance_inflation(x) == 1)
    other = AsymptoticCS(alpha=ALPHA, t_opt=84, min_samples=MIN_BLOCKS).fit(x)
    low, high = bound_ratio(x, np.ones(n), alpha=ALPHA, best_at=84)
    width = other.upper_[-1] - other.lower_[-1]
    assert low == pytest.approx(other.lower_[-1], abs=0.01 * width)
    assert high == pytest.approx(other.upper_[-1], abs=0.01 * width)


@given(st.integers(1, 5000).flatmap(lambda rows: st.tuples(st.integers(0, rows), st.just(rows))))
def test_a_share_is_bounded_as_another_implementation_does(counts: tuple[int, int]) -> None:
    """To the ninth digit."""
    hits, rows = counts
    x = np.zeros(rows)
    x[:hits] = 1
    other = BernoulliCS(alpha=ALPHA, prior=PRIOR, intersect=False).fit(x)
    assert bound_share(hits, rows, alpha=ALPHA) == pytest.approx((other.lower_[-1], other.upper_[-1]), abs=1e-9)


def test_too_few_blocks_say_nothing() -> None:
    """Neither do blocks in which the champion lost nothing, or no row at all."""
    few = np.arange(float(MIN_BLOCKS - 1))
    assert bound_ratio(few, few + 1, alpha=ALPHA, best_at=84) == UNKNOWN
    enough = np.arange(float(MIN_BLOCKS))
    assert bound_ratio(enough, np.zeros(MIN_BLOCKS), alpha=ALPHA, best_at=84) == UNKNOWN
    assert bound_share(0, 0, alpha=ALPHA) == (0.0, 1.0)


def test_the_same_answers_are_known_to_be_the_same() -> None:
    """Without any difference the interval is a point, as soon as there are enough blocks."""
    assert bound_ratio(np.zeros(30), np.ones(30), alpha=ALPHA, best_at=84) == (0.0, 0.0)


@pytest.mark.parametrize("share", [0.002, 0.05, 0.5])
def test_a_share_is_hardly_ever_missed_by_any_look(share: float) -> None:
    """Looked at after each of 2,000 rows, in 400 draws: the truth is outside in no more than the level says."""
    random, missed = np.random.default_rng(1), 0
    for _ in range(400):
        hits = np.cumsum(random.random(2000) < share)
        looks = np.unique(np.geomspace(1, 2000, 60).astype(int))
        bounds = [bound_share(int(hits[at - 1]), int(at), alpha=0.05) for at in looks]
        missed += any(not low <= share <= high for low, high in bounds)
    assert missed <= 0.05 * 400


def test_a_ratio_is_hardly_ever_missed_by_any_look() -> None:
    """Blocks of unequal size with skewed losses, looked at after each of 336, in 400 draws."""
    random, missed = np.random.default_rng(2), 0
    for _ in range(400):
        size = 1 + 0.8 * np.sin(2 * np.pi * np.arange(336) / 24)
        lost = size * random.gamma(4, 0.25, 336)
        worse = size * (random.gamma(2, 0.1, 336) - 0.2)
        bounds = [bound_ratio(worse[:n], lost[:n], alpha=0.05, best_at=84) for n in range(MIN_BLOCKS, 337, 6)]
        missed += any(not low <= 0 <= high for low, high in bounds)
    assert missed <= 0.05 * 400


def test_blocks_that_depend_on_each_other_are_not_taken_for_independent() -> None:
    """Hours correlated at 0.6: a fifth of equal challengers would be refused, and half as many are."""
    refused = {"taken for independent": 0, "as they are": 0}
    for seed in range(100):
        random = np.random.default_rng(seed)
        hours = np.zeros(312)
        for hour in range(1, 312):
            hours[hour] = 0.6 * hours[hour - 1] + 0.8 * random.standard_normal()
        bounds = [bound_ratio(hours[:n], np.ones(n), alpha=0.05, best_at=84) for n in range(MIN_BLOCKS, 313, 4)]
        refused["as they are"] += any(low > 0 for low, _ in bounds)
        spread = [(hours[:n].mean(), hours[:n].std(ddof=1)) for n in range(MIN_BLOCKS, 313, 4)]
        radii = [mixture_radius(n, alpha=0.05, best_at=84) for n in range(MIN_BLOCKS, 313, 4)]
        refused["taken for independent"] += any(m - s * r > 0 for (m, s), r in zip(spread, radii, strict=True))
    assert refused["taken for independent"] >= 20
    assert refused["as they are"] <= 0.6 * refused["taken for independent"]


def test_more_blocks_narrow_it_and_none_makes_it_as_narrow_as_one_look() -> None:
    """The price of looking at any time is between half and one and a half times the width of one look."""
    radii = [mixture_radius(n, alpha=0.05, best_at=84) for n in (24, 84, 336, 10_000)]
    assert radii == sorted(radii, reverse=True)
    for n in (24, 84, 336):
        assert 1.3 < mixture_radius(n, alpha=0.05, best_at=84) * math.sqrt(n) / 1.96 < 2.5
