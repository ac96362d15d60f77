"""Streams without a time: what a random holdout promises does not come, and what the last rows promise does.

The figures of docs/model-files.md are those that this prints.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from evergreen.data.split import split_rows
from evergreen.data.windows import time_clusters
from evergreen.evaluation.bootstrap import bootstrap
from evergreen.evaluation.measure import measure
from evergreen.spec.data import Features
from evergreen.spec.fields import Rows
from evergreen.spec.metric import Metric
from evergreen.spec.model import ModelSpec
from evergreen.spec.monitoring import PerformanceThresholds
from evergreen.spec.training import Holdout
from evergreen.training.fit import fit
from evergreen.training.folds import split_into_folds
from evergreen.training.predict import predict, target_of
from tests.evergreen.data.test_split import Nothing

STREAMS, KNOWN, AFTER = 24, 3000, 1000


def wander(random: np.random.Generator, rows: int, memory: float) -> npt.NDArray[np.float64]:
    """A stationary autoregression of variance 1."""
    steps = random.normal(size=rows) * (1 - memory**2) ** 0.5
    values = np.empty(rows)
    values[0] = random.normal()
    for row in range(1, rows):
        values[row] = memory * values[row - 1] + steps[row]
    return values


def stream(seed: int) -> pd.DataFrame:
    """A machine runs hot or not: by its load, which is seen, and by a state that is not.

    `oil` wanders on its own and says nothing of the target, but where in the stream a row stands.
    """
    random, rows = np.random.default_rng(seed), KNOWN + AFTER
    state, load, oil = (wander(random, rows, memory) for memory in (0.99, 0.97, 0.995))
    hot = random.uniform(size=rows) < 1 / (1 + np.exp(-2.0 * (state + load)))
    return pd.DataFrame({"_row": np.arange(rows), "load": load, "oil": oil, "hot": hot.astype("int64")})


def pipeline(_seed: int) -> Any:
    """Rows vote that are near in load and oil."""
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), KNeighborsClassifier(15))


def machine(*, order: bool) -> ModelSpec:
    fields: dict[str, Any] = {"holdout": Holdout(strategy="random")}
    if order:
        fields = {"order": "rows", "holdout": Holdout(), "performance": PerformanceThresholds(window=Rows(100))}
    return ModelSpec(
        name="machine",
        task="classification",
        source=Nothing(),
        contract=lambda: None,
        target="hot",
        features=Features(numeric=("load", "oil")),
        pipeline=pipeline,
        metric=Metric(name="accuracy"),
        **fields,
    )


def promised_and_came(spec: ModelSpec, rows: pd.DataFrame) -> tuple[float, float, float, float]:
    """The holdout's figure, the width of its interval, that of the folds, and the one of rows that landed later."""
    known, after = rows[:KNOWN], rows[KNOWN:]

    def score(learned: pd.DataFrame, judged: pd.DataFrame) -> float:
        return measure(spec.metric, target_of(spec, judged), predict(fit(spec, learned, None).pipeline, spec, judged))

    split = split_rows(spec, known)
    learned, judged = known[split.train], known[split.holdout]
    predictions = predict(fit(spec, learned, None).pipeline, spec, judged)
    groups = time_clusters(spec, judged)
    estimate = bootstrap(spec.metric, target_of(spec, judged), predictions, groups=groups, level=0.05, seed=1)
    folds = split_into_folds(spec, known, target_of(spec, known))
    tested = float(np.mean([score(known.iloc[fitted], known.iloc[test]) for fitted, test in folds]))
    return estimate.value, estimate.high - estimate.low, tested, score(known, after)


@pytest.mark.slow
def test_what_is_promised_of_a_stream_comes() -> None:
    """On average over the streams; without the order the same rows promise what no later row keeps."""
    means = {}
    for order in (False, True):
        found = [promised_and_came(machine(order=order), stream(seed)) for seed in range(STREAMS)]
        means[order] = tuple(map(float, np.mean(found, axis=0)))
        holdout, width, folds, came = means[order]
        print(f"order={order}: holdout {holdout:.3f} (interval {width:.3f} wide), folds {folds:.3f}, came {came:.3f}")
    for order, (holdout, width, folds, came) in means.items():
        kept = abs(holdout - came) < 0.03 and abs(folds - came) < 0.03
        promised_too_much = min(holdout, folds) - came > 0.03
        assert (kept, promised_too_much) == (order, not order)
        # Alike rows are worth fewer than they are.
        assert (width > 0.1) is order
