"""Steps before the model: pipelines, columns that go separate ways, scalers, imputers and encoders."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from serving.plan.encoders import encode
from serving.plan.program import Column, Matrix, NotCompiledError, Program, number, refuse_infinite


def transform(program: Program, part: Any, matrix: Matrix) -> Matrix:
    """Add the lines of a fitted transformer.

    Raises:
        NotCompiledError: the part, or an option of it, has no compiled form.
    """
    if part is None or part == "passthrough":
        return matrix
    kind = kind_of(part)
    if kind not in _KINDS:
        raise NotCompiledError(f"{kind} has no compiled form")
    check_columns(part, matrix)
    return _KINDS[kind](program, part, matrix)


def kind_of(part: Any) -> str:
    """The name of a class of scikit-learn's own; a subclass of one may do anything.

    Raises:
        NotCompiledError: the class is from elsewhere.
    """
    kind = type(part)
    if not kind.__module__.startswith("sklearn."):
        raise NotCompiledError(f"{kind.__name__} is not a part of scikit-learn and has no compiled form")
    return kind.__name__


def check_columns(part: Any, matrix: Matrix) -> None:
    """Refuse a part that was fitted on other columns than it gets."""
    names = getattr(part, "feature_names_in_", None)
    if names is not None and matrix.names is not None and tuple(names) != matrix.names:
        raise NotCompiledError(f"{type(part).__name__} was fitted on other columns, or on the same in another order")
    width = getattr(part, "n_features_in_", len(matrix.columns))
    if width != len(matrix.columns):
        raise NotCompiledError(f"{type(part).__name__} was fitted on {width} columns and gets {len(matrix.columns)}")


def _steps(program: Program, pipeline: Any, matrix: Matrix) -> Matrix:
    for _, step in pipeline.steps:
        matrix = transform(program, step, matrix)
    return matrix


def _columns(program: Program, part: Any, matrix: Matrix) -> Matrix:
    """ColumnTransformer: each transformer on its own columns, one after the other."""
    if part.transformer_weights:
        raise NotCompiledError("ColumnTransformer has transformer_weights, which are not compiled")
    columns: list[Column] = []
    for name, transformer, _ in part.transformers_:
        places = _places(part, name, len(matrix.columns))
        if (isinstance(transformer, str) and transformer == "drop") or not places:
            continue
        some = Matrix(
            tuple(matrix.columns[place] for place in places),
            tuple(matrix.names[place] for place in places) if matrix.names is not None else None,
            matrix.sparse,
        )
        columns += transform(program, transformer, some).columns
    if len({column.text for column in columns}) > 1:
        raise NotCompiledError("ColumnTransformer hands on text beside numbers, which is not compiled")
    return Matrix(tuple(columns), sparse=bool(part.sparse_output_))


def _places(part: Any, name: str, width: int) -> list[int]:
    indices = part._transformer_to_input_indices[name]
    return [int(place) for place in np.arange(width)[indices]]


def _identity(program: Program, part: Any, matrix: Matrix) -> Matrix:
    """FunctionTransformer, as a ColumnTransformer has it in the place of "passthrough"."""
    if part.func is not None or part.validate:
        raise NotCompiledError("FunctionTransformer calls a function, which is not compiled")
    return matrix


def _scaler(program: Program, part: Any, matrix: Matrix) -> Matrix:
    """Scalers: in each column one or two operations, in scikit-learn's order, so that the result is the same bit."""
    kind = type(part).__name__
    _numbers(program, kind, matrix)
    columns = []
    for place, column in enumerate(matrix.columns):
        value = column.variable
        if kind == "MinMaxScaler":
            value = f"{value} * {number(part.scale_[place])} + {number(part.min_[place])}"
        else:
            center, scale = _center_and_scale(kind, part)
            value = value if center is None else f"{value} - {number(center[place])}"
            value = value if scale is None else f"({value}) / {number(scale[place])}"
        variable = program.let(value)
        if getattr(part, "clip", False):
            low, high = part.feature_range if kind == "MinMaxScaler" else (-1.0, 1.0)
            program.add(f"if {variable} < {number(low)}: {variable} = {number(low)}")
            program.add(f"if {variable} > {number(high)}: {variable} = {number(high)}")
        columns.append(Column(variable, missing=column.missing))
    return matrix.of(columns)


def _center_and_scale(kind: str, part: Any) -> tuple[Any, Any]:
    if kind == "StandardScaler":
        return part.mean_ if part.with_mean else None, part.scale_ if part.with_std else None
    if kind == "RobustScaler":
        return part.center_ if part.with_centering else None, part.scale_ if part.with_scaling else None
    return None, part.scale_


def _numbers(program: Program, kind: str, matrix: Matrix) -> None:
    """Refuse what a step on numbers cannot get: text and sparse matrices before it runs, infinity as it runs."""
    if matrix.sparse:
        raise NotCompiledError(f"{kind} gets a sparse matrix, which is not compiled")
    if any(column.text for column in matrix.columns):
        raise NotCompiledError(f"{kind} gets text, which is not compiled")
    refuse_infinite(program, matrix.columns)


def _imputer(program: Program, part: Any, matrix: Matrix) -> Matrix:
    """SimpleImputer: another value for a missing one, and a column for each that says whether it was."""
    if not (isinstance(part.missing_values, float) and math.isnan(part.missing_values)):
        raise NotCompiledError("SimpleImputer has missing_values other than NaN, which are not compiled")
    texts = {column.text for column in matrix.columns}
    if len(texts) > 1 or (texts == {True} and part.add_indicator):
        raise NotCompiledError("SimpleImputer gets text beside numbers, which is not compiled")
    if texts == {False}:
        _numbers(program, "SimpleImputer", matrix)
    columns = []
    for column, fill in zip(matrix.columns, np.asarray(part.statistics_).tolist(), strict=True):
        empty = isinstance(fill, float) and math.isnan(fill)
        if empty and not part.keep_empty_features:
            continue
        if column.text != isinstance(fill, str):
            raise NotCompiledError("SimpleImputer fills a column with values of another type")
        columns.append(_filled(program, column, fill))
    gaps = [matrix.columns[int(place)] for place in part.indicator_.features_] if part.add_indicator else []
    for column in gaps:
        variable = program.let(f"1.0 if {column.variable} != {column.variable} else 0.0")
        columns.append(Column(variable, missing=False, bounded=True))
    return matrix.of(columns)


def _filled(program: Program, column: Column, fill: Any) -> Column:
    value = column.variable
    if column.text:
        return Column(program.let(f"{program.keep(fill)} if {value} is None else {value}"), text=True, missing=False)
    return Column(program.let(f"{value} if {value} == {value} else {number(fill)}"), missing=math.isnan(fill))


_KINDS: Mapping[str, Callable[[Program, Any, Matrix], Matrix]] = {
    "Pipeline": _steps,
    "ColumnTransformer": _columns,
    "FunctionTransformer": _identity,
    "StandardScaler": _scaler,
    "MinMaxScaler": _scaler,
    "RobustScaler": _scaler,
    "MaxAbsScaler": _scaler,
    "SimpleImputer": _imputer,
    "OrdinalEncoder": encode,
    "OneHotEncoder": encode,
    "TargetEncoder": encode,
}
TRANSFORMERS: Sequence[str] = tuple(_KINDS)
"""The transformers that have a compiled form."""
