"""The data contract: what a row has to satisfy before anything else sees it.

Types, times and keys are coerced first, then pandera checks the model file's schema. A row that breaks the contract is
rejected alone; too many of them reject the batch. The time of a row is kept to the millisecond, because Delta's
statistics of a file, which say what time range a snapshot spans, are no finer.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from evergreen.data.coercion import Reader, kind_of
from evergreen.data.column_names import match_names, missing_columns
from evergreen.data.frames import SYSTEM_COLUMNS
from evergreen.data.row_errors import Mask, RowErrors
from evergreen.data.written_text import MISSING_BEFORE, guess_types, missing_words
from evergreen.errors import ModelFileError
from evergreen.spec.data import Labels
from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pandera.pandas import DataFrameSchema

CLOCK_SKEW = timedelta(days=1)
"""How far ahead of our own clock a row's time may be."""


@dataclass(frozen=True, slots=True, eq=False)
class CheckedBatch:
    """A batch after the contract.

    Attributes:
        rows: the accepted rows, in the contract's types and columns.
        rejected: the reason of each rejected row, by its position in the batch.
        problem: why the batch as a whole is rejected; empty otherwise.
        repeated: how many rows are exactly equal to another row of the batch; they count once.
    """

    rows: pd.DataFrame
    rejected: pd.Series
    problem: str = ""
    repeated: int = 0


def schema_of(spec: ModelSpec) -> DataFrameSchema:
    """The model file's schema, with every column that the model needs.

    Raises:
        ModelFileError: `contract()` fails, lacks a column that the model uses, or gives it an unusable type.
    """
    from pandera.pandas import DataFrameSchema

    try:
        schema = spec.contract()
    except Exception as error:
        raise _contract_error(spec, f"{type(error).__name__}: {error}", "Fix contract() in the model file.") from None
    if not isinstance(schema, DataFrameSchema):
        raise _contract_error(spec, f"it returns a {type(schema).__name__}", "Return a pandera DataFrameSchema.")
    needed = [*spec.keys, *([spec.time] if spec.time else []), spec.target, *spec.features.all, *spec.slices]
    missing = [column for column in dict.fromkeys(needed) if column not in schema.columns]
    if missing:
        raise _contract_error(
            spec, f"it has no column {missing[0]!r}, which the model uses", "Add the column to contract()."
        )
    if reserved := [name for name in schema.columns if name in SYSTEM_COLUMNS]:
        raise _contract_error(
            spec, f"the name {reserved[0]!r} is reserved for the lake", "Rename the column in prepare()."
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
    return ModelFileError(f"models/{spec.name}.py: contract: {what}.", fix)


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


def check_batch(
    frame: pd.DataFrame,
    spec: ModelSpec,
    schema: DataFrameSchema,
    *,
    now: datetime,
    scoring: bool = False,
    written: bool = False,
) -> CheckedBatch:
    """Check a batch against the contract.

    Args:
        frame: the rows as the source gave them; the result's index numbers them from 0.
        spec: the model.
        schema: of `schema_of`, or of `scoring_schema` for scoring.
        now: a row's time may not be later than this (aware), a clock skew aside.
        scoring: check every row on its own: it may repeat another, be about the future, and be one of many bad rows.
        written: the cells are texts of a file, as `Batch.written`.

    Raises:
        ModelFileError: times carry no offset, and the model file does not say which zone they are in.
    """
    import pandas as pd

    frame = match_names(frame.reset_index(drop=True), spec, schema)
    if written and gets_guesses(spec):
        frame, written = guess_types(frame, text_columns(schema), MISSING_BEFORE), False
    prepared, problem = _prepare(frame, spec)
    problem = problem or missing_columns(prepared, schema)
    if problem:
        return CheckedBatch(frame.iloc[:0], pd.Series(dtype="object"), problem)
    errors = RowErrors(prepared.index)
    optional = [name for name in schema.columns if name not in prepared.columns]
    prepared = prepared.assign(**dict.fromkeys(optional)) if optional else prepared
    rows = _read_columns(prepared, schema, Reader(spec, missing_words(spec.reading, written=written), errors))
    if spec.time:
        errors.reject(rows[spec.time].isna(), f"{spec.time}: no time")
        if not scoring:
            errors.reject(rows[spec.time] > now + CLOCK_SKEW, f"{spec.time}: in the future")
    for key in spec.keys:
        errors.reject(rows[key].isna(), f"{key}: a key is missing")
    problem = _validate(rows, schema.remove_columns(optional) if optional else schema, errors)
    repeats = np.zeros(len(rows), dtype=bool) if scoring else _find_repeats(rows, errors, spec)
    distinct = len(rows) - int(repeats.sum())
    rejected = errors.by_row()
    if not problem and not scoring and len(rejected) > spec.max_rejected * distinct:
        problem = _too_many_rejected(rejected, distinct, spec.max_rejected)
    accepted = errors.accepted & ~repeats
    return CheckedBatch(rows if accepted.all() else rows[accepted], rejected, problem, int(repeats.sum()))


def gets_guesses(spec: ModelSpec) -> bool:
    """Whether `prepare` expects numbers where a column of a file has no others: without `reading` it does."""
    return spec.prepare is not None and spec.reading is None


def text_columns(schema: DataFrameSchema) -> frozenset[str]:
    """The columns of a contract that are text."""
    return frozenset(name for name, column in schema.columns.items() if kind_of(column.dtype) == "text")


def _read_columns(rows: pd.DataFrame, schema: DataFrameSchema, reader: Reader) -> pd.DataFrame:
    import pandas as pd

    columns: dict[str, pd.Series] = {}
    times = [name for name, column in schema.columns.items() if kind_of(column.dtype) == "time"]
    for name, column in schema.columns.items():
        if name not in times:
            columns[name] = reader.read(rows[name], name, column)
    # Times come last: a repeated hour is resolved within the series that the other keys tell apart.
    others = [columns[key] for key in reader.spec.keys if key in columns and key not in times]
    for name in times:
        columns[name] = reader.read_times(rows[name], name, others if name in reader.spec.keys else ())
    return pd.DataFrame({name: columns[name] for name in schema.columns}, index=rows.index, copy=False)


def _prepare(frame: pd.DataFrame, spec: ModelSpec) -> tuple[pd.DataFrame, str]:
    """Run the model file's `prepare`; returns the rows, and what is wrong with the batch as a whole, or empty."""
    import pandas as pd

    if spec.prepare is None:
        return frame, ""
    try:
        rows = spec.prepare(frame.copy(deep=False))
        if not isinstance(rows, pd.DataFrame):
            return frame, f"prepare() returned a {type(rows).__name__}, not a frame"
        # Did it number the rows from 0 again, or leave out only the tail? With other numbers the two differ.
        renumbered = (
            len(rows) < len(frame)
            and rows.index.equals(pd.RangeIndex(len(rows)))
            and 0 in spec.prepare(frame.set_axis(frame.index + 1)).index
        )
    except Exception as error:
        column_is_missing = isinstance(error, KeyError) and error.args and error.args[0] not in frame.columns
        reason = f"column {error} is missing" if column_is_missing else f"prepare() failed: {type(error).__name__}"
        return frame, reason
    if not rows.index.is_unique or len(rows) > len(frame):
        return frame, "prepare() repeated rows; it may change or leave out rows, not add any"
    same_index = rows.index.equals(frame.index)
    if renumbered or not (same_index or rows.index.isin(frame.index).all()):
        return frame, "prepare() renumbered the rows that it kept; keep the index, which names the rows in quarantine"
    return rows, ""


def _validate(rows: pd.DataFrame, schema: DataFrameSchema, errors: RowErrors) -> str:
    """Run the schema on the rows that are accepted so far; reject rows, and return what is wrong with the batch."""
    import pandas as pd
    from pandera.errors import SchemaErrors

    # The types are right by now, and pandera's own check would reject a nullable integer for an allowed null.
    relaxed = schema.update_columns({name: {"dtype": None, "coerce": False} for name in schema.columns})
    # Rows are rejected here, with a reason; pandera must not drop any.
    relaxed.drop_invalid_rows = False
    accepted = errors.accepted
    try:
        relaxed.validate(rows if accepted.all() else rows[accepted], lazy=True, inplace=True)
    except SchemaErrors as error:
        cases = error.failure_cases
        batchwide = cases[cases["index"].isna()]
        if len(batchwide):
            first = batchwide.iloc[0]
            return f"{first['column'] or 'the batch'}: {first['check']}"
        for (column, reason), group in cases.groupby(["column", "check"], sort=False, dropna=False):
            positions = pd.Index(group["index"].astype("int64").unique())
            errors.reject(errors.index.isin(positions), f"{column}: {reason}")
    return ""


def _find_repeats(rows: pd.DataFrame, errors: RowErrors, spec: ModelSpec) -> Mask:
    """Find rows that repeat another exactly; of rows with one key that differ, keep the last and reject the others."""
    no_rows = np.zeros(len(rows), dtype=bool)
    if not spec.keys:
        return no_rows
    accepted = errors.accepted
    keys = list(spec.keys)
    shares_key = no_rows.copy()
    shares_key[accepted] = rows.loc[accepted, keys].duplicated(keep=False)
    if not shares_key.any():
        return no_rows
    rivals = rows[shares_key]
    repeats = rivals.index[rivals.duplicated(keep="last")]
    different = rivals.drop(repeats)
    superseded = different.index[different.duplicated(subset=keys, keep="last")]
    errors.reject(errors.index.isin(superseded), "another row of this batch has the same key")
    return np.asarray(rows.index.isin(repeats))


def _too_many_rejected(rejected: pd.Series, rows: int, allowed: float) -> str:
    """Why a batch of `rows` rows is rejected whole, with its most frequent reason."""
    counts = rejected.value_counts()
    reason, count = counts.index[0], int(counts.iloc[0])
    first = rejected.index[(rejected == reason).to_numpy().argmax()] + 1
    return (
        f"{len(rejected)} of {rows} rows break the contract ({len(rejected) / rows:.1%}, at most {allowed:.1%}): "
        f"{reason} ({count} rows, first in row {first})"
    )


def contract_digest(spec: ModelSpec) -> str:
    """A digest of everything that a batch is checked against; when it changes, rejected batches are checked again."""
    rules: tuple[object, ...] = (spec.keys, spec.time, spec.timezone, spec.lateness, spec.max_rejected)
    if spec.reading is not None:
        rules = (*rules, spec.reading)
    code = [_source_code(function) for function in (spec.contract, spec.prepare) if function is not None]
    # The text of a schema shows a user's own check by its address in memory.
    schema = re.sub(r" at 0x[0-9a-f]+", "", repr(schema_of(spec)))
    return hashlib.sha256(repr((schema, rules, code)).encode()).hexdigest()[:16]


def labels_digest(spec: ModelSpec, labels: Labels) -> str:
    """The same for a batch of labels."""
    rules = (contract_digest(spec), labels.time, _source_code(labels.prepare) if labels.prepare else "")
    return hashlib.sha256(repr(rules).encode()).hexdigest()[:16]


def _source_code(function: Callable[..., object]) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return getattr(function, "__qualname__", type(function).__qualname__)
