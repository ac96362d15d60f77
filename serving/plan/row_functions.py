"""What a plan calls while it predicts one row. Each does what scikit-learn does, on Python floats."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

FLOAT32 = 2.0**128 - 2.0**103
"""The least number that float32 rounds to infinity: half a step beyond its largest."""


BEFORE_OVERFLOW = 709.0
"""exp of this is still finite."""


class NoAnswerError(ValueError):
    """The pipeline itself refuses this row; ask it for the reason."""


def no_infinity(values: Sequence[float]) -> None:
    """Raise if a number is infinite."""
    if any(math.isinf(value) for value in values):
        raise NoAnswerError("The pipeline takes no infinite number in one of its columns.")


def no_gap(values: Sequence[float]) -> None:
    """Raise if a number is missing or infinite."""
    if not all(math.isfinite(value) for value in values):
        raise NoAnswerError("The pipeline takes no missing and no infinite number in one of its columns.")


def in_float32(values: Sequence[float]) -> None:
    """Raise if a number is too large for float32; a missing one is not."""
    if any(abs(value) >= FLOAT32 for value in values):
        raise NoAnswerError("The pipeline takes no number in one of its columns that float32 cannot hold.")


def known(found: Any) -> None:
    """Raise if an encoder found no category."""
    if found is None:
        raise NoAnswerError("The pipeline takes no category in one of its columns that training had not seen.")


def exp(value: float) -> float:
    """Numpy's exp, which is not always the C library's to the bit; infinite beyond the largest float."""
    return float(np.exp(value)) if value < BEFORE_OVERFLOW else call(np.exp, value)


def call(function: np.ufunc, value: float) -> float:
    """A function of NumPy; where it has no value, NaN or infinity without a warning."""
    with np.errstate(all="ignore"):
        return float(function(value))


def expit(value: float) -> float:
    """1 / (1 + exp(-x)), as scipy.special.expit has it."""
    try:
        return 1.0 / (1.0 + math.exp(-value))
    except OverflowError:
        return 0.0


def softmax(scores: Sequence[float]) -> tuple[float, ...]:
    """As sklearn.utils.extmath.softmax: exp(x - max) / sum. NaN for all if a score is NaN or infinitely large."""
    largest = max(scores)
    powers = np.exp(np.array([score - largest for score in scores])).tolist()
    total = 0.0
    for power in powers:
        total += power
    return tuple([power / total for power in powers])


def shares(scores: Sequence[float]) -> tuple[float, ...]:
    """Probabilities of one class against the rest, made to add up to 1; equal ones if all are 0."""
    chances = [expit(score) for score in scores]
    total = math.fsum(chances)
    if total == 0.0:
        return tuple([1.0 / len(chances)] * len(chances))
    return tuple([chance / total for chance in chances])


def most_likely(probabilities: Sequence[float]) -> int:
    """The place of the largest probability, the first of equal ones; NaN counts as less than 0."""
    largest = max(probabilities)
    if math.isnan(largest):
        probabilities = [-1.0 if math.isnan(each) else each for each in probabilities]
        largest = max(probabilities)
    return probabilities.index(largest)


def largest(scores: Sequence[float]) -> int:
    """numpy.argmax: the first of equal ones, and of NaN the first."""
    return next((place for place, score in enumerate(scores) if math.isnan(score)), scores.index(max(scores)))


FUNCTIONS = (no_infinity, no_gap, in_float32, known, call, exp, expit, softmax, shares, most_likely, largest)

BY_NAME: Mapping[str, Any] = {
    "INF": math.inf,
    "NAN": math.nan,
    "FLOAT32": FLOAT32,
    **{function.__name__: function for function in FUNCTIONS},
}
"""What the lines of a plan may name beside what they have counted."""
