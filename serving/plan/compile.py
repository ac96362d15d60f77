"""A fitted pipeline as one Python function of one row.

A prediction of one row takes a frame path milliseconds, of which the trees are microseconds: the rest is validation,
column names and thread pools. A plan has none of these (docs/decisions/0015-compiled-plan.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evergreen.spec.data import Features
from serving.plan.estimators import add_classifier, add_regressor
from serving.plan.program import Column, Matrix, NotCompiledError, Program
from serving.plan.row_functions import NoAnswerError

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

__all__ = ["NoAnswerError", "NotCompiledError", "Plan", "compile_plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a compiled pipeline answers for one row. It holds no state: threads may share it.

    Attributes:
        columns: the features, in the order of the values.
        classes: the classes of the probabilities; None of a regression.
        predict: from values in the order of `columns` to a prediction (a float, or a class) and the probabilities of
            the classes, or None. A number is a float, NaN if missing; a category a text, None if missing. Raises
            NoAnswerError where the pipeline raises, such as for a category that an encoder refuses.
    """

    columns: tuple[str, ...]
    classes: tuple[Any, ...] | None
    predict: Callable[[Sequence[Any]], tuple[Any, tuple[float, ...] | None]]


def compile_plan(pipeline: Pipeline, features: Features, task: str) -> Plan:
    """Compile a fitted pipeline.

    Args:
        pipeline: fitted on frames of `evergreen.data.frames.model_frame`.
        features: the columns of those frames.
        task: "regression" or "classification".

    Raises:
        NotCompiledError: a part of the pipeline has no compiled form. The pipeline itself still predicts.
    """
    try:
        return _compile(pipeline, features, task)
    except NotCompiledError:
        raise
    except Exception as error:
        # Of a part whose attributes are other than this version of scikit-learn leaves them, such as one not fitted.
        raise NotCompiledError(f"Compiling the pipeline failed with {type(error).__name__}") from error


def _compile(pipeline: Pipeline, features: Features, task: str) -> Plan:
    program = Program()
    columns = [Column(program.new("x"), text=name in features.categorical) for name in features.all]
    program.add(f"{', '.join(column.variable for column in columns)}, = values")
    matrix = Matrix(tuple(columns), features.all)
    if task == "regression":
        program.add(f"return {add_regressor(program, pipeline, matrix)}, None")
        return Plan(features.all, None, program.build())
    answer = add_classifier(program, pipeline, matrix)
    classes = tuple(pipeline.classes_.tolist())
    program.add(f"return {program.keep(classes)}[{answer.place}], {answer.probabilities}")
    return Plan(features.all, classes, program.build())
