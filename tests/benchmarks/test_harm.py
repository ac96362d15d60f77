"""The measure of harmful promotions: planted ones are as bad as they are called, and the shadow's looks find them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.burden import more_often
from benchmarks.harm import proven_worse, watch, worsened
from benchmarks.streams import WEEK, Stream, autocorrelated_classes, seasons
from evergreen.data.predictions import Predictions
from evergreen.evaluation.measure import measure
from evergreen.training.predict import target_of


def model_of(stream: Stream, weeks: int, error: float) -> tuple[Predictions, Predictions]:
    """Predictions for the first weeks of a stream: sound ones, and others of the same quality."""
    rows = stream.between(stream.first, stream.first + weeks * WEEK)
    truth, rng = target_of(stream.spec, rows), np.random.default_rng(3)
    if stream.spec.task == "regression":
        one, other = (Predictions(truth + error * rng.normal(size=len(rows))) for _ in range(2))
        return one, other
    shares = [np.clip(0.2 + 0.6 * truth + error * rng.normal(size=len(rows)), 0.05, 0.95) for _ in range(2)]
    one, other = (
        Predictions((share > 0.5).astype(int), np.column_stack([1 - share, share]), (0, 1)) for share in shares
    )
    return one, other


@pytest.mark.parametrize(("build", "error"), [(seasons, 20.0), (autocorrelated_classes, 0.1)])
def test_a_planted_promotion_is_as_bad_as_it_is_called(build: Callable[[int], Stream], error: float) -> None:
    """A fifth worse on the rows of four weeks is taken back within them; one of the same quality is not."""
    stream = build(0)
    rows = stream.between(stream.first, stream.first + 4 * WEEK)
    former, equal = model_of(stream, 4, error)
    truth = target_of(stream.spec, rows)
    worse = worsened(stream.spec, rows, former, 1.2, seed=1)
    ratio = measure(stream.spec.metric, truth, worse) / measure(stream.spec.metric, truth, former)
    assert ratio == pytest.approx(1.2, abs=1e-3)
    assert watch(stream.spec, rows, worse, former) in (1, 2, 3, 4)
    assert proven_worse(stream.spec, rows, worse, former)
    assert watch(stream.spec, rows, equal, former) is None
    assert not proven_worse(stream.spec, rows, equal, former)
    assert watch(stream.spec, rows, former, worse) is None


def test_more_often_than_by_chance() -> None:
    """Three of four against one of four, as of Fisher's lady, is chance; ten of ten against none is not."""
    assert more_often((3, 4), (1, 4)) == pytest.approx(17 / 70)
    assert more_often((10, 10), (0, 10)) < 1e-4
    assert more_often((0, 0), (1, 4)) == 1.0
