"""Features that predict the target almost alone: often they are known only afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from evergreen.model_files.column_types import Column, as_numbers, quote_name
from evergreen.model_files.target import Target

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

TOLD_AUC = 0.98
"""From this area under the ROC curve on, a single feature of a classification is told of; a guess has 0.5."""

TOLD_R2 = 0.95
"""From this share of a target's variance on, a single feature of a regression is told of; a constant has 0."""

MAX_ROWS = 20_000
MIN_ROWS = 40
MAX_LEAVES = 32


def score_single_features(
    frame: pd.DataFrame, features: Sequence[Column], target: Target, *, seed: int = 42
) -> dict[str, float]:
    """How well each feature alone predicts the target: R² of a regression, area under the ROC curve of classes.

    A tree of at most `MAX_LEAVES` leaves is fitted to each feature on a random half of the rows, at most `MAX_ROWS`,
    and scored on the other half.

    Args:
        frame: the rows as they are meant.
        features: the columns to try.
        target: what is predicted.
        seed: of the halves.

    Returns:
        The scores by feature, the best first; empty where the rows are too few to tell.
    """
    import numpy as np

    answers = _answers(frame[target.column.name], target)
    known = np.flatnonzero(~np.isnan(answers))
    rng = np.random.default_rng(seed)
    rows = rng.permutation(known)[:MAX_ROWS]
    if len(rows) < MIN_ROWS or len(np.unique(answers[rows])) < 2:
        return {}
    halves = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    scores = {feature.name: _score(frame[feature.name], answers, halves, target) for feature in features}
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


def describe_single_features(scores: Mapping[str, float], target: Target) -> tuple[str, ...]:
    """A note for each feature that predicts the target almost alone, with its score."""
    told = TOLD_R2 if target.task == "regression" else TOLD_AUC
    measure = "R²" if target.task == "regression" else "ROC AUC"
    return tuple(
        f"{quote_name(name)} predicts the target almost alone ({measure} {score:.3f} of 1 on held-out rows): if it is "
        "known only afterwards, take it out of the features"
        for name, score in scores.items()
        if score >= told
    )


def _answers(column: pd.Series, target: Target) -> npt.NDArray[np.float64]:
    """The target as numbers, NaN where it is missing; classes by their place."""
    import numpy as np

    if target.task == "regression":
        numbers = as_numbers(column)
        values = np.full(len(column), np.nan) if numbers is None else numbers.to_numpy(dtype="float64", copy=True)
        values[~np.isfinite(values)] = np.nan
        return values
    codes = {str(label): float(place) for place, (label, _) in enumerate(target.classes)}
    return column.astype("object").map(lambda value: codes.get(str(value), np.nan)).to_numpy(dtype="float64")


def _score(
    column: pd.Series,
    answers: npt.NDArray[np.float64],
    halves: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]],
    target: Target,
) -> float:
    """The score of one feature alone on the second half; 0 where it cannot be had."""
    import numpy as np
    from sklearn.metrics import r2_score, roc_auc_score
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    first, second = halves
    values = _as_values(column, answers, first)
    leaf = max(5, len(first) // 200)
    if target.task == "regression":
        tree = DecisionTreeRegressor(max_leaf_nodes=MAX_LEAVES, min_samples_leaf=leaf, random_state=0)
        tree.fit(values[first], answers[first])
        return float(r2_score(answers[second], tree.predict(values[second])))
    scores = []
    for place in range(len(target.classes)) if len(target.classes) > 2 else (1,):
        is_class = answers == place
        if all(len(np.unique(is_class[half])) > 1 for half in halves):
            tree = DecisionTreeClassifier(max_leaf_nodes=MAX_LEAVES, min_samples_leaf=leaf, random_state=0)
            tree.fit(values[first], is_class[first])
            scores.append(float(roc_auc_score(is_class[second], tree.predict_proba(values[second])[:, 1])))
    # A feature that tells one class from the others leaves those.
    return min(scores, default=0.0)


def _as_values(
    column: pd.Series, answers: npt.NDArray[np.float64], first: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64]:
    """A feature as one column of numbers, shape (n, 1); a category as the mean target that it has in the first half."""
    import numpy as np
    import pandas as pd

    numbers = as_numbers(column)
    if numbers is not None:
        values = numbers.to_numpy(dtype="float64", copy=True)
        values[~np.isfinite(values)] = np.nan
        return np.asarray(values.reshape(-1, 1))
    texts = column.astype("object").map(str).to_numpy()
    means = pd.Series(answers[first]).groupby(texts[first]).mean()
    return np.asarray(pd.Series(texts).map(means), dtype=np.float64).reshape(-1, 1)
