"""The data contract: what a row has to satisfy before anything else sees it, as the model file's schema says."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

from evergreen.data.coercion import kind_of
from evergreen.data.frames import SYSTEM_COLUMNS
from evergreen.errors import ModelFileError
from evergreen.spec.data import Labels
from evergreen.spec.faults import Fault, did_you_mean, mistakes_in
from evergreen.spec.model import ModelSpec
from evergreen.spec.place import failed_in, line_of

if TYPE_CHECKING:
    import pyarrow as pa
    from pandera.pandas import DataFrameSchema


def schema_of(spec: ModelSpec) -> DataFrameSchema:
    """The model file's schema, with every column that the model needs.

    Raises:
        ModelFileError: `contract()` fails, lacks a column that the model uses, or gives it an unusable type.
    """
    from pandera.pandas import DataFrameSchema

    try:
        schema = spec.contract()
    except Exception as error:
        raise ModelFileError(f"{failed_in(spec.contract, error)}.", "Correct contract() there.") from None
    if not isinstance(schema, DataFrameSchema):
        raise _contract_error(spec, f"it returns a {type(schema).__name__}", "Return a pandera DataFrameSchema.")
    if missing := _missing(spec, schema):
        raise mistakes_in(spec.file, missing)
    if reserved := [name for name in schema.columns if name in SYSTEM_COLUMNS]:
        raise _contract_error(
            spec, f"the name {reserved[0]!r} is reserved for the lake", "Rename the column in prepare()."
        )
    by_case = sorted(schema.columns, key=lambda name: (name.lower(), name))
    if alike := next((pair for pair in pairwise(by_case) if pair[0].lower() == pair[1].lower()), None):
        raise _contract_error(
            spec, f"{alike[0]!r} and {alike[1]!r} differ in case only, and a table takes them for one", "Rename one."
        )
    if spec.time and kind_of(schema.columns[spec.time].dtype) != "time":
        raise _contract_error(
            spec, f"the time column {spec.time!r} has another type", "Make it a pa.Column('datetime64[us, UTC]')."
        )
    for field, kinds in (("numbers", ("integer", "number")), ("times", ("time",))):
        for name in getattr(spec.reading, field, ()):
            if name not in schema.columns or kind_of(schema.columns[name].dtype) not in kinds:
                raise _contract_error(
                    spec,
                    f"reading: {field} names {name!r}, which is no such column",
                    "Fix the name, or the type.",
                )
    not_numeric = [name for name in spec.features.numeric if kind_of(schema.columns[name].dtype) in ("text", "time")]
    if not_numeric:
        raise _contract_error(
            spec, f"{not_numeric[0]!r} is a numeric feature and has no numeric type", "Make it a pa.Column(float)."
        )
    return schema


def _contract_error(spec: ModelSpec, what: str, fix: str) -> ModelFileError:
    return ModelFileError(f"{spec.place('contract')}: {what}.", fix)


def _missing(spec: ModelSpec, schema: DataFrameSchema) -> list[Fault]:
    """Every field that names a column which the contract does not have."""
    fields = {
        "keys": spec.keys,
        "time": (spec.time,) if spec.time else (),
        "target": (spec.target,),
        "features.numeric": spec.features.numeric,
        "features.categorical": spec.features.categorical,
        "slices": spec.slices,
    }
    faults = []
    for field, columns in fields.items():
        line = line_of(spec.path, *field.split(".")) if spec.path else None
        for column in columns:
            if column not in schema.columns:
                known = did_you_mean(column, [str(name) for name in schema.columns])
                faults.append(Fault(spec.file, line, field, f"contract() has no column {column!r}; {known}"))
    return faults


def arrow_schema(spec: ModelSpec) -> pa.Schema:
    """The Arrow schema of the model's observations: the contract's columns, and those that the lake adds.

    Keys, time and the lake's own columns come first, because Delta keeps statistics of the first 32 columns only.
    """
    import pyarrow as pa

    instant = pa.timestamp("us", "UTC")
    types = {"time": instant, "integer": pa.int64(), "number": pa.float64(), "flag": pa.bool_(), "text": pa.string()}
    columns = schema_of(spec).columns
    fields = {name: pa.field(name, types[kind_of(column.dtype)]) for name, column in columns.items()}
    added = [("_batch", pa.string()), ("_origin", pa.string()), ("_row", pa.int64())]
    added += [("_landed_at", instant), ("_labelled_at", instant)]
    first = [fields.pop(name) for name in dict.fromkeys([*spec.keys, *([spec.time] if spec.time else [])])]
    return pa.schema([*first, *(pa.field(name, kind) for name, kind in added), *fields.values()])


def scoring_schema(spec: ModelSpec) -> DataFrameSchema:
    """The schema for rows that are scored: without the target, which is not known yet.

    Every row is checked on its own, so that the same rows are rejected however an input is cut into pieces.

    Raises:
        ModelFileError: as `schema_of`.
    """
    schema = schema_of(spec).remove_columns([spec.target])
    schema.unique = None
    return schema.update_columns({name: {"unique": False} for name in schema.columns})


def gets_guesses(spec: ModelSpec) -> bool:
    """Whether `prepare` expects numbers where a column of a file has no others: without `reading` it does."""
    return spec.prepare is not None and spec.reading is None


def encoding_of(spec: ModelSpec) -> str:
    """The encoding of the model's files that are not UTF-8, by its source; also of files that are scored."""
    return str(getattr(spec.source, "encoding", "utf-8"))


def text_columns(schema: DataFrameSchema) -> frozenset[str]:
    """The columns of a contract that are text."""
    return frozenset(name for name, column in schema.columns.items() if kind_of(column.dtype) == "text")


def contract_digest(spec: ModelSpec) -> str:
    """A digest of everything that a batch is checked against; when it changes, rejected batches are checked again."""
    rules: tuple[object, ...] = (spec.keys, spec.time, spec.timezone, spec.lateness, spec.max_rejected)
    if spec.reading is not None:
        rules = (*rules, spec.reading)
    if encoding_of(spec) != "utf-8":
        # A file that was refused for its text is read again.
        rules = (*rules, encoding_of(spec))
    code = [_source_code(function) for function in (spec.contract, spec.prepare) if function is not None]
    # The text of a schema shows a user's own check by its address in memory.
    schema = re.sub(r" at 0x[0-9a-f]+", "", repr(schema_of(spec)))
    return hashlib.sha256(repr((schema, rules, code)).encode()).hexdigest()[:16]


def labels_digest(spec: ModelSpec, labels: Labels) -> str:
    """The same for a batch of labels."""
    prepare = _source_code(labels.prepare) if labels.prepare else ""
    encoding = getattr(labels.source, "encoding", "utf-8")
    rules = (contract_digest(spec), labels.time, prepare, *([encoding] if encoding != "utf-8" else []))
    return hashlib.sha256(repr(rules).encode()).hexdigest()[:16]


def _source_code(function: Callable[..., object]) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return getattr(function, "__qualname__", type(function).__qualname__)
