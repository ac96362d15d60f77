"""How much a fitted pipeline leans on each feature: permutation importance, kept with the version.

A feature's importance is how much the model's metric worsens on rows it was not trained on when that feature's values
are shuffled among them (Breiman 2001, Machine Learning 45). Of features that say the same, each can stand in for the
others, and all of them seem less important than they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evergreen import naming
from evergreen.data.frames import model_frame
from evergreen.data.sampling import sample
from evergreen.evaluation.measure import measure
from evergreen.spec.model import ModelSpec
from evergreen.training.predict import predict, target_of

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

IMPORTANCE = "importance.json"
ROWS, FEWEST_ROWS = 2_000, 30
REPEATS = 3
PREDICTED = 100_000
"""Rows predicted in all; with many features fewer rows are taken, so that the cost does not grow with them."""
SHOWN = 20


def importances(pipeline: Pipeline, spec: ModelSpec, held: pd.DataFrame, *, seed: int) -> dict[str, float]:
    """By feature, how much worse the metric becomes without it, in the metric's unit; 0 where it does not.

    Args:
        held: labelled rows that the pipeline was not trained on; at most 2,000 of them are taken.
        seed: of the rows taken and the shuffling.

    Returns:
        Empty where nothing can be said: fewer than 30 rows, or a metric or a pipeline that refuses shuffled ones.
    """
    features = spec.features.all
    rows = sample(held, min(ROWS, max(PREDICTED // (REPEATS * len(features)), 10 * FEWEST_ROWS)), seed=seed)
    if len(rows) < FEWEST_ROWS:
        return {}
    try:
        losses = _losses(pipeline, spec, rows, np.random.default_rng(seed))
    except Exception:
        # A shuffled row may be one that cannot be, and a pipeline or a metric of the user's own may refuse it.
        return {}
    if not np.isfinite(losses).all():
        return {}
    return {name: max(value, 0.0) for name, value in zip(features, losses, strict=True)}


def _losses(pipeline: Pipeline, spec: ModelSpec, rows: pd.DataFrame, rng: np.random.Generator) -> list[float]:
    """The mean loss of the metric by feature.

    The shuffles of a feature go through the pipeline together: with 50 features that takes half the time of
    scikit-learn's `permutation_importance`, which predicts them one by one.
    """
    import pandas as pd

    x, y = model_frame(rows, spec.features), target_of(spec, rows)
    many, truth = pd.concat([x] * REPEATS, ignore_index=True), np.tile(y, REPEATS)
    best = measure(spec.metric, y, predict(pipeline, spec, x))
    losses = []
    for name in spec.features.all:
        order = np.concatenate([rng.permutation(len(x)) for _ in range(REPEATS)])
        shuffled = many.assign(**{name: x[name].to_numpy()[order]})
        losses.append(best - measure(spec.metric, truth, predict(pipeline, spec, shuffled)))
    return [loss if spec.metric.kind.greater_is_better else -loss for loss in losses]


def write(folder: Path, spec: ModelSpec, found: Mapping[str, float]) -> None:
    """Store importances beside a version's other files."""
    (folder / IMPORTANCE).write_text(json.dumps({"metric": spec.metric.name, "columns": dict(found)}, indent=1))


def read(folder: Path) -> dict[str, float] | None:
    """A version's stored importances; None where it was stored without any."""
    file = folder / IMPORTANCE
    if not file.exists():
        return None
    columns: dict[str, float] = json.loads(file.read_text())["columns"]
    return columns or None


def shown(found: Mapping[str, float]) -> dict[str, float]:
    """The largest as metrics of a run, `importance_<column>`; characters that MLflow refuses are replaced."""
    largest = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]
    return {naming.importance_metric(_plain(name)): value for name, value in largest}


def weights(found: Mapping[str, float], features: Sequence[str], whole: Sequence[str]) -> dict[str, float]:
    """What each watched column counts: features by their importance, adding up to 1, each column of `whole` 1.

    `whole` is what the features come to together: the prediction, and the target where it is watched. Empty where no
    watched feature matters.
    """
    total = sum(found.get(name, 0.0) for name in features)
    if total <= 0:
        return {}
    return {name: found.get(name, 0.0) / total for name in features} | dict.fromkeys(whole, 1.0)


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "_-. " else "_" for letter in name)
