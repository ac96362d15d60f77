"""Linear models: one score for each row of coefficients."""

from __future__ import annotations

from typing import Any

import numpy as np

from serving.plan.program import Matrix, NotCompiledError, Program, number, refuse_missing


def add_scores(program: Program, model: Any, matrix: Matrix) -> list[str]:
    """Add the lines of `x @ coef_ + intercept_`; the variables of the scores.

    The terms are added from the first column to the last. BLAS adds them in an order of its own, so that a score can
    differ from scikit-learn's in its last bits.
    """
    if any(column.text for column in matrix.columns):
        raise NotCompiledError(f"{type(model).__name__} gets text, which is not compiled")
    refuse_missing(program, matrix.columns)
    coefficients = np.atleast_2d(np.asarray(model.coef_, dtype="float64"))
    intercepts = np.broadcast_to(np.asarray(model.intercept_, dtype="float64").ravel(), len(coefficients))
    scores = []
    for row, intercept in zip(coefficients.tolist(), intercepts.tolist(), strict=True):
        terms = [
            f"{column.variable} * {number(coefficient)}"
            for column, coefficient in zip(matrix.columns, row, strict=True)
            if coefficient != 0.0
        ]
        scores.append(program.let(f"{program.let_sum(terms)} + {number(intercept)}"))
    return scores
