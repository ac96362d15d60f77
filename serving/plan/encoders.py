"""Encoders as tables: what scikit-learn's own encoder gives for each category, and for any other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.plan.program import Column, Matrix, NotCompiledError, Program, number, refuse_infinite

if TYPE_CHECKING:
    import pandas as pd

CELLS = 250_000
"""One-hot columns times categories of one feature. A text of more categories is no case for one-hot columns."""

Key = str | float | None


def encode(program: Program, encoder: Any, matrix: Matrix) -> Matrix:
    """OrdinalEncoder, OneHotEncoder or TargetEncoder: one look-up for each column.

    The tables are read off the fitted encoder by asking it for each category, for a missing one and for one that it
    has never seen, so that every option of it (infrequent categories, dropped ones, codes of missing values) holds.
    """
    kind = type(encoder).__name__
    if matrix.sparse:
        raise NotCompiledError(f"{kind} gets a sparse matrix, which is not compiled")
    refuse_infinite(program, [column for column in matrix.columns if not column.text])
    widths = _widths(encoder)
    keys = [_keys(encoder, place, column) for place, column in enumerate(matrix.columns)]
    if any(len(known) * width > CELLS for known, width in zip(keys, widths, strict=True)):
        raise NotCompiledError(f"{kind} has a column with more categories than a plan should hold")
    rows = [[known[row % len(known)] for known in keys] for row in range(max(map(len, keys)))]
    seen = _ask(encoder, matrix, rows)
    other = _other(encoder, matrix, keys)
    columns: list[Column] = []
    start = 0
    for place, (column, width) in enumerate(zip(matrix.columns, widths, strict=True)):
        span = slice(start, start + width)
        table = {key: tuple(seen[row, span].tolist()) for row, key in enumerate(keys[place])}
        default = None if other is None else tuple(other[0, span].tolist())
        columns += _look_up(program, column, table, default)
        start += width
    return Matrix(tuple(columns), sparse=bool(getattr(encoder, "sparse_output", False)))


def _widths(encoder: Any) -> list[int]:
    """How many columns each column becomes."""
    features = len(encoder.categories_)
    if type(encoder).__name__ == "OneHotEncoder":
        return [int(width) for width in encoder._n_features_outs]
    if type(encoder).__name__ == "TargetEncoder":
        return [len(encoder.encodings_) // features] * features
    return [1] * features


def _keys(encoder: Any, place: int, column: Column) -> list[Key]:
    """The categories of a column as a row holds them; a missing one is None."""
    keys: list[Key] = []
    for category in encoder.categories_[place].tolist():
        if category is None or (isinstance(category, float) and math.isnan(category)):
            keys.append(None)
        elif column.text == isinstance(category, str):
            keys.append(category if isinstance(category, str) else float(category))
        else:
            raise NotCompiledError(f"{type(encoder).__name__} has categories of another type than its column")
    return keys


def _ask(encoder: Any, matrix: Matrix, rows: Sequence[Sequence[Key]]) -> np.ndarray[Any, Any]:
    """What the encoder makes of rows of categories, shape (rows, columns)."""
    answer = encoder.transform(_frame(encoder, matrix, rows))
    dense = answer.toarray() if hasattr(answer, "toarray") else answer
    return np.asarray(dense, dtype="float64")


def _frame(encoder: Any, matrix: Matrix, rows: Sequence[Sequence[Key]]) -> pd.DataFrame | np.ndarray[Any, Any]:
    """The rows in the form in which the encoder was fitted."""
    import pandas as pd

    cells = [[math.nan if key is None else key for key in column] for column in zip(*rows, strict=True)]
    if hasattr(encoder, "feature_names_in_"):
        series = [
            pd.Series(each, dtype="str" if column.text else "float64")
            for each, column in zip(cells, matrix.columns, strict=True)
        ]
        return pd.DataFrame(dict(zip(encoder.feature_names_in_, series, strict=True)))
    array = np.empty((len(rows), len(cells)), dtype=object if matrix.columns[0].text else "float64")
    for place, each in enumerate(cells):
        array[:, place] = each
    return array


def _other(encoder: Any, matrix: Matrix, keys: Sequence[Sequence[Key]]) -> np.ndarray[Any, Any] | None:
    """What the encoder makes of categories that it does not know, shape (1, columns); None if it refuses them."""
    if getattr(encoder, "handle_unknown", "") == "error":
        return None
    row: list[Key] = []
    for column, known in zip(matrix.columns, keys, strict=True):
        if column.text:
            row.append("?" * (1 + max((len(str(key)) for key in known), default=0)))
        else:
            row.append(max((abs(float(key)) for key in known if key is not None), default=0.0) * 2.0 + 1.0)
    return _ask(encoder, matrix, [row])


def _look_up(
    program: Program, column: Column, table: dict[Key, tuple[float, ...]], default: tuple[float, ...] | None
) -> list[Column]:
    """The lines that find a category's numbers, and the columns that hold them."""
    width = len(next(iter(table.values())))
    single = width == 1
    get = program.keep({key: found[0] if single else found for key, found in table.items()}.get)
    key = column.variable if column.text else f"{column.variable} if {column.variable} == {column.variable} else None"
    variables = [program.new("x") for _ in range(width)]
    if default is None:
        found = program.let(f"{get}({key})")
        program.add(f"if {found} is None: known({found})")
        if width:
            program.add(f"{', '.join(variables)} = {found}")
    elif single:
        program.add(f"{variables[0]} = {get}({key}, {number(default[0])})")
    elif width:
        program.add(f"{', '.join(variables)} = {get}({key}, {program.keep(default)})")
    answers = [*table.values(), *([default] if default is not None else [])]
    return [
        Column(variable, missing=any(math.isnan(answer[place]) for answer in answers), bounded=True)
        for place, variable in enumerate(variables)
    ]
