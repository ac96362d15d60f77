"""The autocorrelation of a target at lag 1, and when it is told."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from evergreen.evaluation.autocorrelation import describe_order, lag_one


def ar(rho: float, rows: int, seed: int = 0) -> np.ndarray:
    """An AR(1) series with this autocorrelation."""
    return np.asarray(lfilter([1.0], [1.0, -rho], np.random.default_rng(seed).normal(size=rows + 200))[200:])


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_it_is_that_of_the_process(rho: float) -> None:
    """Of a number, of its sign as a class, and of text alike."""
    series = ar(rho, 20_000)
    assert lag_one(series) == pytest.approx(rho, abs=0.03)
    # The autocorrelation of the signs of a Gaussian process is 2 / pi * arcsin(rho).
    signs = (series > 0).astype(int)
    assert lag_one(signs) == pytest.approx(2 / np.pi * np.arcsin(rho), abs=0.03)
    assert lag_one(np.where(signs, "yes", "no").astype(object)) == pytest.approx(lag_one(signs))


def test_independent_rows_are_rarely_told() -> None:
    """At the limits of Bartlett one in forty is above by chance; small and large samples alike."""
    for rows in (60, 5_000):
        told = sum(bool(describe_order(ar(0.0, rows, seed))) for seed in range(200))
        assert told <= 12


def test_dependent_rows_are_told() -> None:
    """The figure and the number of rows are in the words."""
    assert describe_order(ar(0.8, 500)).startswith("rows that follow each other have alike targets (autocorrelation 0.")
    assert "of 500 rows" in describe_order(ar(0.8, 500))


@pytest.mark.parametrize(
    "target", [np.arange(50.0), np.repeat([0, 1, 2], 20), np.ones(9), np.array([1.0, 2.0]), np.array([])]
)
def test_order_by_the_target_says_nothing(target: np.ndarray) -> None:
    """A sorted file, a constant target and too few rows have no figure and no words."""
    assert np.isnan(lag_one(target))
    assert describe_order(target) == ""
