"""Whether rows next to each other have alike targets: then a random holdout is among rows of its own neighbourhood."""

from __future__ import annotations

import numpy as np

from evergreen.spec.metric import Array
from evergreen.spec.model import ModelSpec

LEAST = 0.1
"""A smaller autocorrelation is not told: the variance of a mean grows by (1 + r) / (1 - r), which is 1.2 here."""
MAX_CLASSES = 20
"""Of a target with more classes only the most frequent ones are looked at."""


def lag_one(y: Array) -> float:
    """As `correlate_neighbours`; NaN, too, where rows are sorted by the target: the order of a file, not of time."""
    return float("nan") if _is_sorted(np.asarray(y)) else correlate_neighbours(y)


def correlate_neighbours(y: Array) -> float:
    """The autocorrelation at lag 1 of a target (n,) in the order of its rows; NaN where it is undefined.

    Floating numbers are numbers, all else is a class. That of classes is the one of their 0/1 indicators together: the
    sum of the covariances over the sum of the variances.
    """
    values = np.asarray(y)
    if len(values) < 3:
        return float("nan")
    if values.dtype.kind == "f":
        columns = values[:, None]
    else:
        classes, sizes = np.unique(values.astype(str), return_counts=True)
        frequent = classes[np.argsort(-sizes, kind="stable")[:MAX_CLASSES]]
        columns = (values.astype(str)[:, None] == frequent).astype(np.float64)
    with np.errstate(all="ignore"):
        centred = columns - columns.mean(axis=0)
        correlation = float((centred[1:] * centred[:-1]).sum() / (centred**2).sum())
    return correlation if np.isfinite(correlation) else float("nan")


def describe_order(y: Array) -> str:
    """Why a random holdout is no fair one for rows in this order; empty where nothing speaks against it.

    What is told lies outside of the limits 2 / sqrt(n) of independent rows (Bartlett 1946, On the Theoretical
    Specification and Sampling Properties of Autocorrelated Time-Series) and above `LEAST`.
    """
    correlation = lag_one(y)
    if not correlation > LEAST or correlation**2 * len(y) <= 4:
        return ""
    return (
        f"rows that follow each other have alike targets (autocorrelation {correlation:.2f} at lag 1, of {len(y):,} "
        "rows): a random holdout stands among its neighbours and promises too much"
    )


def order_hint(spec: ModelSpec) -> str:
    """What to set in the model file of such rows, as a sentence."""
    if spec.time is not None or spec.order is not None:
        return "Set holdout.strategy to latest or blocked."
    return "Set holdout.strategy to latest, with order='rows' where what landed first is older."


def _is_sorted(values: Array) -> bool:
    """Whether a number only rises or only falls, or each class is one stretch of rows."""
    if values.dtype.kind == "f":
        steps = np.diff(values)
        return bool((steps >= 0).all() or (steps <= 0).all())
    changes = int((values[1:] != values[:-1]).sum())
    return changes + 1 == len(set(values.tolist()))
