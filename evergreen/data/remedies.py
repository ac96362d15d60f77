"""What a person would write in the model file to let in what the contract refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evergreen.data.coercion import kind_of
from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    from pandera.pandas import DataFrameSchema

_TYPES = {
    "time": '"datetime64[us, UTC]"',
    "integer": "int",
    "number": "float",
    "flag": "bool",
    "text": "str",
}


_SIGNS = {"greater_than_or_equal_to(0)": "pa.Check.ge(0)", "greater_than(0)": "pa.Check.gt(0)"}
"""What `evergreen new` writes for a target whose loss takes no number below 0, or none of 0."""

_WHERE = "in contract() of the model file"


def remedy_for_rows(reason: str, spec: ModelSpec, schema: DataFrameSchema) -> str:
    """How rows that were rejected for a reason of `check_batch` would be let in; empty if it is for the data to change.

    Keys and the time have none: a row without them cannot be told from others.
    """
    name = next((str(name) for name in schema.columns if reason.startswith(f"{name}: ")), None)
    if name is None or name in spec.keys or name == spec.time:
        return ""
    problem, column = reason.removeprefix(f"{name}: "), schema.columns[name]
    as_category = f"To let it in as a category, write {_column_line(name, 'str', nullable=True)} {_WHERE}"
    if problem == "not a number" and name in spec.features.numeric:
        remedy = f'{as_category}, and move "{name}" to categorical=(...)'
    elif problem == "not a whole number":
        remedy = f"To let decimals in, write {_column_line(name, 'float', nullable=column.nullable)} {_WHERE}"
    elif problem == "neither true nor false":
        remedy = as_category
    elif problem == "not_nullable":
        remedy = f"To let missing values in, write {_column_line(name, _type_of(column), nullable=True)} {_WHERE}"
    elif problem in _SIGNS and name == spec.target:
        remedy = (
            f'To let it in, remove {_SIGNS[problem]} from "{name}" {_WHERE}, and write in pipeline() a loss that takes '
            'such a target: loss="squared_error" for its mean, or loss="absolute_error" for its median'
        )
    else:
        is_class = problem.startswith("isin(") and name == spec.target
        remedy = "If it is a new class, add it to those of contract() in the model file" if is_class else ""
    return remedy


def remedy_for_missing(names: list[str], spec: ModelSpec, schema: DataFrameSchema) -> str:
    """How files without these columns of the contract would be let in; empty if the model cannot do without one."""
    if any(name in (*spec.keys, spec.time, spec.target) for name in names):
        return ""
    lines = [_column_line(name, _type_of(schema.columns[name]), nullable=True, required=False) for name in names[:3]]
    return f"To let files without it in, write {', '.join(lines)} {_WHERE}"


def _type_of(column: Any) -> str:
    return _TYPES[kind_of(column.dtype)]


def _column_line(name: str, kind: str, *, nullable: bool, required: bool = True) -> str:
    options = f"{', nullable=True' if nullable else ''}{'' if required else ', required=False'}"
    return f'"{name}": pa.Column({kind}{options})'
