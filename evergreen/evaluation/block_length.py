"""How long the blocks of a bootstrap have to be, from the dependence that a series shows.

The rule of Politis and White (2004, Automatic Block-Length Selection for the Dependent Bootstrap, Econometric Reviews
23:53), corrected by Patton, Politis and White (2009, Econometric Reviews 28:372), for the circular block bootstrap. It
is written out here instead of taken from `arch`: see docs/decisions/0013-own-block-length.md.
"""

from __future__ import annotations

import math

import numpy as np

from evergreen.spec.metric import Array

LEAST = 12
"""A shorter series shows no dependence that can be told from chance."""
INSIGNIFICANT = 5
"""So many autocorrelations in a row have to be within chance before the later ones are taken for zero; the paper's
max(5, sqrt(log10(n))) is larger for no series that fits into memory."""


def block_length(series: Array) -> int:
    """How many neighbours a block takes, of a series (n,) in the order of time; 1 where neighbours are independent.

    It is 1, too, where the dependence is such that blocks would only narrow the interval, and for fewer than `LEAST`.
    """
    length, widens, _ = _dependence(np.asarray(series, dtype=np.float64))
    return max(1, math.ceil(length)) if widens else 1


def automatic_length(series: Array) -> float:
    """The rule's length of a series (n >= `LEAST`), not rounded, at most min(3 sqrt(n), n / 3)."""
    return _dependence(np.asarray(series, dtype=np.float64))[0]


def variance_inflation(series: Array) -> float:
    """How many times the variance of the mean of a series (n,) is what independent neighbours would have; 1 at least.

    The spectrum at zero by the flat-top window of Politis and Romano (1995, Bias-Corrected Nonparametric Spectral
    Estimation, Journal of Time Series Analysis 16:67), as the rule for the length takes it. It is 1, too, where no
    autocorrelation can be told from chance, and for fewer than `LEAST`.
    """
    _, widens, inflation = _dependence(np.asarray(series, dtype=np.float64))
    return max(1.0, inflation) if widens else 1.0


def without_change(series: Array) -> Array:
    """A series (n,) less the mean of each side of its largest change of level, that of the least squares.

    A change in the middle makes neighbours look alike that are not (Crainiceanu and Vogelsang 2007, Nonmonotonic Power
    for Tests of a Mean Shift in a Time Series, Journal of Statistical Computation and Simulation 77:457).
    """
    series, count = np.asarray(series, dtype=np.float64), len(series)
    if count < LEAST:
        return series
    sizes = np.arange(1, count)
    left = np.cumsum(series)[:-1]
    right = series.sum() - left
    split = int(np.argmax(left**2 / sizes + right**2 / (count - sizes))) + 1
    return np.concatenate([series[:split] - series[:split].mean(), series[split:] - series[split:].mean()])


def _dependence(series: Array) -> tuple[float, bool, float]:
    """The length, whether blocks of it widen an interval, and the variance of a mean by that of independent ones."""
    count = len(series)
    centred = series - series.mean() if count else series
    if count < LEAST or not np.isfinite(centred).all() or np.allclose(centred, 0, atol=1e-300):
        return 1.0, False, 1.0
    lags = math.ceil(math.sqrt(count)) + INSIGNIFICANT
    lags = min(lags, count - 2)
    products = np.array([centred[lag:] @ centred[: count - lag] for lag in range(lags + 1)])
    covariance = products / count
    scales = [math.sqrt((centred[lag + 1 :] @ centred[lag + 1 :]) * (centred[: -lag - 1] @ centred[: -lag - 1]))
              for lag in range(lags + 1)]  # fmt: skip
    within = np.abs(products) < 2 * math.sqrt(math.log10(count) / count) * np.array(scales)
    # The first lag from which on a run of autocorrelations is within chance; lag 1 means that none is significant.
    runs = (lag for lag in range(1, lags - INSIGNIFICANT + 1) if within[lag : lag + INSIGNIFICANT].all())
    first = next(runs, None)
    bandwidth = lags if first is None else min(2 * first, lags)
    lag = np.arange(1, bandwidth + 1)
    # The flat-top window of Politis and Romano (1995).
    window = np.minimum(1.0, 2 * (1 - lag / bandwidth))
    weighted = 2 * window * covariance[1 : bandwidth + 1]
    spectrum = covariance[0] + weighted.sum()
    most = math.ceil(min(3 * math.sqrt(count), count / 3))
    slope = (lag * weighted).sum()
    # Neighbours that err the other way narrow an interval; they are taken for independent.
    widens = first != 1 and bool(covariance[1] > 0)
    inflation = float(spectrum / covariance[0])
    if spectrum == 0:
        return float(most), widens, inflation
    length = (2 * slope**2 / (4 / 3 * spectrum**2) * count) ** (1 / 3)
    return float(min(length, most)), widens, inflation
