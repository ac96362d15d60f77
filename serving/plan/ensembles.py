"""Models of trees: which trees there are, what they start from, and what the model takes care of before them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from serving.plan.encoders import encode
from serving.plan.program import Column, Matrix, NotCompiledError, Program, number, refuse_beyond_float32
from serving.plan.tree_code import add_trees
from serving.plan.trees import MISSING_CATEGORY, Tree, read_histogram_tree, read_tree


@dataclass(frozen=True, eq=False, slots=True)
class Ensemble:
    """The trees of a model.

    Attributes:
        trees: in the order of the sum.
        starts: the totals before the first tree.
        divisor: of the totals after the last.
    """

    trees: Sequence[Tree]
    starts: Sequence[float]
    divisor: float = 1.0


def read_ensemble(model: Any) -> Ensemble:
    """The trees of a fitted model: histogram-based or plain gradient boosting, a forest, or one tree.

    Raises:
        NotCompiledError: it predicts several targets, or begins from a model of its own.
    """
    kind = type(model).__name__
    if kind.startswith("HistGradientBoosting"):
        totals = model.n_trees_per_iteration_
        known = known_categories(model)
        return Ensemble(
            [
                read_histogram_tree(predictor, known, total, totals)
                for iteration in model._predictors
                for total, predictor in enumerate(iteration)
            ],
            np.asarray(model._baseline_prediction, dtype="float64").ravel().tolist(),
        )
    if kind.startswith("GradientBoosting"):
        return _read_boosting(model)
    if model.n_outputs_ != 1:
        raise NotCompiledError(f"{kind} predicts several targets, which is not compiled")
    trees = [read_tree(each.tree_) for each in getattr(model, "estimators_", [model])]
    totals = trees[0].values.shape[1]
    return Ensemble(trees, [0.0] * totals, float(len(trees)))


def known_categories(model: Any) -> list[int | None]:
    """How many categories each column of histogram-based boosting has, in the order of its trees; None of a number."""
    if model._preprocessor is None:
        return [None] * int(model.n_features_in_)
    found = [
        sum(1 for category in categories.tolist() if not (isinstance(category, float) and math.isnan(category)))
        for categories in model._preprocessor.named_transformers_["encoder"].categories_
    ]
    return [*found, *[None] * (int(model.n_features_in_) - len(found))]


def _read_boosting(model: Any) -> Ensemble:
    if model.init_ != "zero" and type(model.init_).__name__ not in ("DummyClassifier", "DummyRegressor"):
        raise NotCompiledError(f"{type(model).__name__} begins from a model of its own, which is not compiled")
    stages = model.estimators_
    totals = stages.shape[1]
    starts = model._raw_predict_init(np.zeros((1, model.n_features_in_), dtype="float32"))[0].tolist()
    trees = [
        read_tree(each.tree_, model.learning_rate, total, totals) for row in stages for total, each in enumerate(row)
    ]
    return Ensemble(trees, starts)


def add_ensemble(program: Program, model: Any, matrix: Matrix) -> list[str]:
    """Add the lines of a model's trees; the variables of its totals."""
    if type(model).__name__.startswith("HistGradientBoosting"):
        columns = _boosting_columns(program, model, matrix)
    else:
        if any(column.text for column in matrix.columns):
            raise NotCompiledError(f"{type(model).__name__} gets text, which is not compiled")
        missing = not type(model).__name__.startswith("GradientBoosting") and _takes_missing(model, matrix)
        refuse_beyond_float32(program, matrix.columns, missing)
        columns = matrix.columns
    ensemble = read_ensemble(model)
    totals = add_trees(program, ensemble.trees, columns, [number(start) for start in ensemble.starts])
    if ensemble.divisor != 1.0:
        totals = [program.let(f"{total} / {number(ensemble.divisor)}") for total in totals]
    return totals


def _takes_missing(model: Any, matrix: Matrix) -> bool:
    tree = getattr(model, "estimators_", [model])[0]
    return not matrix.sparse and bool(tree.__sklearn_tags__().input_tags.allow_nan)


def _boosting_columns(program: Program, model: Any, matrix: Matrix) -> Sequence[Column]:
    """What the trees of histogram-based boosting ask: native categories as codes, and they come first."""
    kind = type(model).__name__
    if matrix.sparse:
        raise NotCompiledError(f"{kind} gets a sparse matrix, which it refuses")
    numbers: Sequence[Column] = matrix.columns
    coded: Sequence[Column] = ()
    if model._preprocessor is not None:
        flags = np.asarray(model.is_categorical_, dtype=bool).tolist()
        numbers = [column for column, flag in zip(matrix.columns, flags, strict=True) if not flag]
        categories = [column for column, flag in zip(matrix.columns, flags, strict=True) if flag]
        encoder = model._preprocessor.named_transformers_["encoder"]
        coded = _codes(program, encoder, matrix.of(categories))
    if any(column.text for column in numbers):
        raise NotCompiledError(f"{kind} gets text in a column that is not among its categorical_features")
    return (*coded, *numbers)


def _codes(program: Program, encoder: Any, matrix: Matrix) -> tuple[Column, ...]:
    columns = encode(program, encoder, matrix).columns
    for column in columns:
        if column.missing:
            variable = column.variable
            program.add(f"if {variable} != {variable}: {variable} = {number(MISSING_CATEGORY)}")
    return tuple(replace(column, missing=False) for column in columns)
