"""The automatic block length: that of `arch` to the last digit, and what it comes to on streams of a known law."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evergreen.evaluation.block_length import LEAST, automatic_length, block_length, without_change


def ar(rho: float, rows: int, seed: int) -> np.ndarray:
    """An AR(1) series that starts at its first shock."""
    shocks = np.random.default_rng(seed).normal(size=rows)
    series = np.empty(rows)
    series[0] = shocks[0]
    for at in range(1, rows):
        series[at] = rho * series[at - 1] + shocks[at]
    return series


@pytest.mark.parametrize(
    ("rho", "rows", "seed", "length"),
    [
        (0.0, 50, 1, 1.213715),
        (0.0, 500, 2, 0.932962),
        (0.3, 200, 3, 3.36646),
        (0.5, 100, 4, 13.371706),
        (0.8, 100, 5, 12.778087),
        (0.8, 1000, 6, 27.611284),
        (0.95, 300, 7, 24.470054),
        (-0.5, 200, 8, 4.500842),
        (0.5, 20, 9, 1.759188),
        (0.9, 40, 10, 6.900466),
    ],
)
def test_it_is_what_arch_answers(rho: float, rows: int, seed: int, length: float) -> None:
    """The circular block length of arch 8.0.0, `arch.bootstrap.optimal_block_length`, on the same series."""
    assert automatic_length(ar(rho, rows, seed)) == pytest.approx(length, abs=1e-6)


def test_it_nears_the_optimum_of_a_known_law() -> None:
    """Of an AR(1) the optimum is (6 rho^2 n / (1 - rho^2)^2)^(1/3): Politis and White (2004), their equation for D."""
    rho, rows = 0.5, 20_000
    found = [automatic_length(ar(rho, rows, seed)) for seed in range(10)]
    assert np.median(found) == pytest.approx((6 * rho**2 * rows / (1 - rho**2) ** 2) ** (1 / 3), rel=0.1)


def test_independent_neighbours_are_drawn_one_by_one() -> None:
    """Rarely anything is merged where nothing depends, and never where neighbours err the other way."""
    lengths = [block_length(ar(0.0, rows, seed)) for rows in (30, 100, 400) for seed in range(100)]
    assert np.mean(np.array(lengths) > 1) < 0.06
    assert {block_length(ar(-0.6, 100, seed)) for seed in range(50)} == {1}


@pytest.mark.parametrize(
    "series", [np.zeros(50), np.full(50, 3.0), np.arange(LEAST - 1.0), np.array([]), np.array([1.0])]
)
def test_without_anything_to_see_it_is_one(series: np.ndarray) -> None:
    """A constant series and one that is too short."""
    assert block_length(series) == 1


@settings(max_examples=100)
@given(series=st.lists(st.floats(-1e6, 1e6), max_size=80))
def test_any_series_has_a_length(series: list[float]) -> None:
    """Between one and a third of the series, whatever it holds."""
    assert 1 <= block_length(np.array(series)) <= max(1, -(-len(series) // 3))


def test_a_change_of_level_is_no_dependence() -> None:
    """Independent neighbours around a step are independent again; those that depend on each other stay so."""
    rng = np.random.default_rng(3)
    noise = rng.normal(size=60)
    stepped = noise + np.repeat([0.0, 3.0], [23, 37])
    assert block_length(stepped) > 3
    assert block_length(without_change(stepped)) == 1
    assert np.allclose(without_change(stepped)[:23].mean(), 0)
    wandering = np.convolve(rng.normal(size=300), 0.9 ** np.arange(40), mode="valid")
    assert block_length(without_change(wandering)) > 3


@given(st.lists(st.floats(-1e6, 1e6), max_size=60), st.floats(-1e6, 1e6))
def test_a_level_is_no_change(values: list[float], level: float) -> None:
    """Whatever is added to all of a series is taken away; a short one is left as it is."""
    series = np.array(values)
    found = without_change(series)
    assert found.shape == series.shape
    if len(series) < LEAST:
        assert (found == series).all()
    else:
        assert abs(found.sum()) <= 1e-6 * max(1.0, np.abs(series).sum())
