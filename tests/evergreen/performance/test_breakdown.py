"""What lies behind the one figure: probabilities that are kept, slices, and metrics against their bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.data.predictions import Predictions
from evergreen.performance.breakdown import calibration, residuals
from evergreen.spec.model import ModelSpec

BINARY = ModelSpec.model_construct(task="classification")


def _binary(share: Any, classes: tuple[Any, ...] = (0, 1)) -> Predictions:
    share = np.asarray(share, dtype="float64")
    values = np.array(classes, dtype=object)[(share > 0.5).astype(int)]
    return Predictions(values, np.stack([1 - share, share], axis=1), classes)


def test_what_is_said_with_a_probability_is_so_as_often() -> None:
    """A model that says 0.25 and is right a quarter of the time has no error; one that says 0.95 is off by 0.7."""
    y = np.array(["no", "no", "no", "yes"] * 50, dtype=object)
    found = calibration(BINARY, y, _binary([0.25] * 200, ("no", "yes")))
    assert found is not None
    assert (found.of, found.error, len(found.bins)) == ("yes", 0.0, 1)
    assert (found.bins[0].rows, found.bins[0].said, found.bins[0].was) == (200, 0.25, 0.25)
    boasting = calibration(BINARY, y, _binary([0.95] * 200, ("no", "yes")))
    assert boasting is not None
    assert boasting.error == pytest.approx(0.7)


def test_with_more_classes_the_predicted_one_counts() -> None:
    """Top label: how sure it was of what it predicted, against how often that was right."""
    probability = np.tile([0.1, 0.2, 0.7], (10, 1))
    given = Predictions(np.array(["c"] * 10, dtype=object), probability, ("a", "b", "c"))
    found = calibration(BINARY, np.array(["c"] * 5 + ["a"] * 5, dtype=object), given)
    assert found is not None
    assert (found.of, found.error) == ("top label", pytest.approx(0.2))


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_any_probabilities_fall_into_bins(rows: list[tuple[float, bool]]) -> None:
    """Every row is in one of at most ten bins, and the error is a share, whatever edges are hit."""
    y = np.array([int(was) for _, was in rows])
    found = calibration(BINARY, y, _binary([said for said, _ in rows]))
    assert found is not None
    assert sum(each.rows for each in found.bins) == len(rows)
    assert len(found.bins) <= 10
    assert 0 <= found.error <= 1
    assert np.average([each.was for each in found.bins], weights=[each.rows for each in found.bins]) == pytest.approx(
        y.mean()
    )


def test_nothing_is_said_of_what_is_not_there() -> None:
    """No probabilities, or one that is no number: no calibration; a classification leaves no residuals."""
    y = np.array([0, 1])
    assert calibration(BINARY, y, Predictions(y, None, (0, 1))) is None
    assert calibration(BINARY, y, _binary([0.5, np.nan])) is None
    assert residuals(BINARY, None, y, _binary([0.5, 0.5])) is None  # type: ignore[arg-type]
