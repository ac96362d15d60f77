"""The arithmetic of thresholds: comparing with the widened one is rounding to float32 first."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serving.plan.row_functions import FLOAT32, expit, largest, most_likely, softmax
from serving.plan.trees import widened

floats = st.floats(allow_nan=False, allow_infinity=False)
narrow = st.floats(width=32, allow_nan=False, allow_infinity=False).map(float)


@given(st.one_of(floats, narrow, st.tuples(narrow, narrow).map(lambda pair: pair[0] / 2 + pair[1] / 2)), floats)
def test_a_widened_threshold_decides_as_rounding_does(threshold: float, value: float) -> None:
    """For any number that float32 can hold, and most of all for those next to the threshold."""
    (edge,) = widened(np.array([threshold])).tolist()
    tried = [value, edge, math.nextafter(edge, -math.inf), math.nextafter(edge, math.inf), threshold]
    with np.errstate(over="ignore"):
        for number in tried:
            if abs(number) < FLOAT32:
                assert (number <= edge) == bool(np.float32(number) <= np.float64(threshold))


def test_a_threshold_of_infinity_parts_the_missing_from_the_others() -> None:
    """As scikit-learn has it where every number goes left."""
    assert widened(np.array([math.inf])).tolist() == [math.inf]


def test_the_limit_of_float32_is_the_least_that_it_cannot_hold() -> None:
    """So a plan refuses what scikit-learn's check of a rounded number refuses."""
    with np.errstate(over="ignore"):
        assert np.isinf(np.float32(FLOAT32))
        assert np.isfinite(np.float32(math.nextafter(FLOAT32, 0.0)))


def test_the_first_of_equal_classes_is_taken() -> None:
    """As numpy.argmax does; NaN, which only an overflow gives, counts as evergreen's own prediction counts it."""
    assert most_likely((0.2, 0.4, 0.4)) == 1
    assert most_likely((math.nan, 0.0, 0.5)) == 2
    assert most_likely((math.nan, math.nan)) == 0
    assert largest((1.0, 3.0, 3.0)) == np.argmax([1.0, 3.0, 3.0])
    assert largest((1.0, math.nan, 3.0, math.nan)) == np.argmax([1.0, math.nan, 3.0, math.nan])


def test_links_hold_at_their_ends() -> None:
    """No overflow of a large score, and NaN for all where a score is infinite."""
    assert expit(-1000.0) == 0.0 and expit(1000.0) == 1.0 and expit(0.0) == 0.5
    assert softmax((1000.0, 1000.0)) == (0.5, 0.5)
    assert all(math.isnan(each) for each in softmax((math.nan, 1.0)))
