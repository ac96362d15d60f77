"""Intervals that may be looked at at any time: confidence sequences for a mean and for a share.

An interval of the textbook holds for one look that was settled beforehand. Whoever looks each minute and stops at the
first that is favourable is wrong far more often than it says. These hold for all looks together: the chance that any
of them, now or later, misses the truth is at most `alpha`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from evergreen.evaluation.block_length import variance_inflation

Interval = tuple[float, float]
UNKNOWN: Interval = (-math.inf, math.inf)

MIN_BLOCKS = 24
"""Below this many blocks nothing is said of a ratio: the spread of few is not known well enough."""
PRIOR = (0.5, 0.5)
"""Of the mixture over shares (Jeffreys): any is valid, and this one is narrow also where hardly anything fails."""


def bound_ratio(
    numerators: npt.NDArray[np.float64], denominators: npt.NDArray[np.float64], *, alpha: float, best_at: float
) -> Interval:
    """The asymptotic confidence sequence of sum(numerators) / sum(denominators), over blocks of time, shape (n,).

    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024, Time-uniform central limit theory and asymptotic confidence
    sequences (Annals of Statistics 52), theorem 2.2, with what the delta method leaves of a ratio for its observations.
    Blocks may differ in size, and rows within one may depend on each other in any way. Blocks that are seen to depend
    on their neighbours count as so many independent ones as have a mean of the same variance.

    Args:
        numerators: of each block, such as by how much the challenger lost more.
        denominators: of each block, such as what the champion lost.
        alpha: the chance that the truth is ever outside.
        best_at: the number of blocks at which the interval is to be narrowest; it holds at any.
    """
    n, total = len(numerators), float(denominators.sum())
    if n < MIN_BLOCKS or total <= 0:
        return UNKNOWN
    ratio = float(numerators.sum()) / total
    residuals = (numerators - ratio * denominators) / (total / n)
    independent = max(1.0, n / variance_inflation(residuals))
    radius = float(residuals.std(ddof=1)) * mixture_radius(independent, alpha=alpha, best_at=best_at)
    return ratio - radius, ratio + radius


def mixture_radius(n: float, *, alpha: float, best_at: float) -> float:
    """Half the width, in standard deviations, of Robbins' normal mixture after n observations."""
    # The precision that makes it narrowest at `best_at`, from appendix C.3 of the same paper.
    precision = best_at / (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha)))
    grown = n + precision
    return math.sqrt(grown * math.log(grown / (precision * alpha**2))) / n


def bound_share(hits: int, rows: int, *, alpha: float) -> Interval:
    """The confidence sequence of a share, after `rows` of which `hits` have it: exact, for any number of rows.

    The beta-binomial mixture: Howard, Ramdas, McAuliffe and Sekhon 2021, Time-uniform, nonparametric, nonasymptotic
    confidence sequences (Annals of Statistics 49), section 3.2.
    """
    if rows == 0:
        return 0.0, 1.0
    from scipy.special import betaln

    a, b = PRIOR
    mixture = float(betaln(a + hits, b + rows - hits) - betaln(a, b))
    limit = mixture + math.log(alpha)

    def is_rejected(share: float) -> bool:
        return _log_likelihood(hits, rows, share) < limit

    seen = hits / rows
    low = 0.0 if hits == 0 else _last(is_rejected, 0.0, seen)
    high = 1.0 if hits == rows else _last(is_rejected, 1.0, seen)
    return low, high


def _log_likelihood(hits: int, rows: int, share: float) -> float:
    if share in (0.0, 1.0):
        return -math.inf
    return hits * math.log(share) + (rows - hits) * math.log1p(-share)


def _last(is_rejected: Callable[[float], bool], outside: float, inside: float) -> float:
    """The end of what is not rejected, by bisection between a share that is and one that is not; errs outwards."""
    for _ in range(60):
        middle = (outside + inside) / 2
        if is_rejected(middle):
            outside = middle
        else:
            inside = middle
    return outside
