"""The data contract: what a row has to be before anything else sees it.

Types, times and keys are made plain here, then pandera checks the model file's schema. A row that breaks the contract
is told apart from a batch that does. The time of a row is kept to the millisecond, for Delta's statistics of a file,
which say what a snapshot spans, are no finer.
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

from evergreen.data.coercion import Mask, Reasons, kind_of, plain
from evergreen.data.frames import SYSTEM
from evergreen.errors import ModelFileError
from evergreen.spec.data import Labels
from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    import pyarrow as pa
    from pandera.pandas import DataFrameSchema


if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pandera.pandas import DataFrameSchema

CLOCK_SKEW = timedelta(days=1)
"""How far ahead of our own clock a row's time may be."""


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """A batch after the contract.

    Attributes:
        rows: what was accepted, in the contract's types and columns.
        rejected: reason by the position of each refused row in the batch.
        problem: why the batch as a whole is refused; empty otherwise.
        repeated: rows that say word for word what another row of the batch says; they count once.
    """

    rows: pd.DataFrame
    rejected: pd.Series
    problem: str = ""
    repeated: int = 0


def schema_of(spec: ModelSpec) -> DataFrameSchema:
    """The model file's schema, complete with the columns that the model needs.

    Raises:
        ModelFileError: `contract()` fails, leaves out a column that the model uses, or gives it a type of no use.
    """
    from pandera.pandas import DataFrameSchema

    try:
        schema = spec.contract()
    except Exception as error:
        raise _contract_error(spec, f"{type(error).__name__}: {error}", "Mend contract() in the model file.") from None
    if not isinstance(schema, DataFrameSchema):
        raise _contract_error(spec, f"it returns a {type(schema).__name__}", "Return a pandera DataFrameSchema.")
    needed = [*spec.keys, *([spec.time] if spec.time else []), spec.target, *spec.features.all, *spec.slices]
    absent = [column for column in dict.fromkeys(needed) if column not in schema.columns]
    if absent:
        raise _contract_error(
            spec, f"it has no column {absent[0]!r}, which the model uses", "Add the column to contract()."
        )
    if taken := [name for name in schema.columns if name in SYSTEM]:
        raise _contract_error(spec, f"the name {taken[0]!r} is the lake's own", "Rename the column in prepare().")
    if spec.time and kind_of(schema.columns[spec.time].dtype) != "time":
        raise _contract_error(spec, f"{spec.time!r} is no time", "Make it a pa.Column('datetime64[us, UTC]').")
    wordy = [name for name in spec.features.numeric if kind_of(schema.columns[name].dtype) in ("text", "time")]
    if wordy:
        raise _contract_error(
            spec, f"{wordy[0]!r} is a numeric feature and has no numeric type", "Make it a pa.Column(float)."
        )
    return schema


def _contract_error(spec: ModelSpec, what: str, fix: str) -> ModelFileError:
    return ModelFileError(f"models/{spec.name}.py: contract: {what}.", fix)


def arrow_schema(spec: ModelSpec) -> pa.Schema:
    """The Arrow schema of the model's observations: the contract's columns, and those that the lake adds.

    Keys, time and the lake's own come first: Delta keeps statistics of the first 32 columns only.
    """
    import pyarrow as pa

    instant = pa.timestamp("us", "UTC")
    kinds = {"time": instant, "integer": pa.int64(), "number": pa.float64(), "flag": pa.bool_(), "text": pa.string()}
    columns = schema_of(spec).columns
    fields = {name: pa.field(name, kinds[kind_of(column.dtype)]) for name, column in columns.items()}
    added = [("_batch", pa.string()), ("_origin", pa.string()), ("_row", pa.int64())]
    added += [("_landed_at", instant), ("_labelled_at", instant)]
    first = [fields.pop(name) for name in dict.fromkeys([*spec.keys, *([spec.time] if spec.time else [])])]
    return pa.schema([*first, *(pa.field(name, kind) for name, kind in added), *fields.values()])


def scoring_schema(spec: ModelSpec) -> DataFrameSchema:
    """The schema for rows that are to be scored: without the target, which is not known yet.

    Every row stands for itself, so that the same rows are refused in whatever pieces an input is read.

    Raises:
        ModelFileError: as `schema_of`.
    """
    schema = schema_of(spec).remove_columns([spec.target])
    schema.unique = None
    return schema.update_columns({name: {"unique": False} for name in schema.columns})


def check(
    frame: pd.DataFrame, spec: ModelSpec, schema: DataFrameSchema, *, now: datetime, scoring: bool = False
) -> Checked:
    """Hold a batch to the contract.

    `frame` is as the source gave it, numbered from 0 in the result's index; `now` (aware) is what "from the future" is
    measured against. For `scoring` (with `scoring_schema`) every row stands for itself: one may repeat another, be
    about the future, and be one of many that are bad.

    Raises:
        ModelFileError: times carry no offset, and the model file does not say which zone they are in.
    """
    import pandas as pd

    frame = frame.reset_index(drop=True)
    given, problem = _prepared(frame, spec)
    absent = [name for name, column in schema.columns.items() if name not in given.columns and column.required]
    if not problem and absent:
        problem = f"column {', '.join(map(repr, absent))} is missing"
    if problem:
        return Checked(frame.iloc[:0], pd.Series(dtype="object"), problem)
    reasons = Reasons(given.index)
    optional = [name for name in schema.columns if name not in given.columns]
    given = given.assign(**dict.fromkeys(optional)) if optional else given
    rows = pd.DataFrame(
        {name: plain(given[name], name, column, spec, reasons) for name, column in schema.columns.items()},
        index=given.index,
        copy=False,
    )
    if spec.time:
        reasons.note(rows[spec.time].isna(), f"{spec.time}: no time")
        if not scoring:
            reasons.note(rows[spec.time] > now + CLOCK_SKEW, f"{spec.time}: in the future")
    for key in spec.keys:
        reasons.note(rows[key].isna(), f"{key}: a key is missing")
    problem = _pandera(rows, schema.remove_columns(optional) if optional else schema, reasons)
    repeats = np.zeros(len(rows), dtype=bool) if scoring else _repeats(rows, reasons, spec)
    bad = ~reasons.good
    rejected = reasons.of_bad()
    kept = len(rows) - int(repeats.sum())
    if not problem and not scoring and len(rejected) > spec.max_rejected * kept:
        worst = rejected.value_counts()
        problem = (
            f"{len(rejected)} of {kept} rows break the contract ({len(rejected) / kept:.1%}, at most "
            f"{spec.max_rejected:.1%}): {worst.index[0]} ({int(worst.iloc[0])} rows, first in row "
            f"{rejected.index[(rejected == worst.index[0]).to_numpy().argmax()] + 1})"
        )
    accepted = ~(bad | repeats)
    return Checked(rows if accepted.all() else rows[accepted], rejected, problem, int(repeats.sum()))


def _prepared(frame: pd.DataFrame, spec: ModelSpec) -> tuple[pd.DataFrame, str]:
    """The batch in the contract's columns, and what is wrong with it as a whole."""
    import pandas as pd

    if spec.prepare is None:
        return frame, ""
    try:
        rows = spec.prepare(frame.copy(deep=False))
        if not isinstance(rows, pd.DataFrame):
            return frame, f"prepare() returned a {type(rows).__name__}, not a frame"
        # Numbered from 0 again, or only the tail left out? Under other numbers the two differ.
        renumbered = (
            len(rows) < len(frame)
            and rows.index.equals(pd.RangeIndex(len(rows)))
            and 0 in spec.prepare(frame.set_axis(frame.index + 1)).index
        )
    except Exception as error:
        absent = isinstance(error, KeyError) and error.args and error.args[0] not in frame.columns
        reason = f"column {error} is missing" if absent else f"prepare() failed: {type(error).__name__}"
        return frame, reason
    if not rows.index.is_unique or len(rows) > len(frame):
        return frame, "prepare() repeated rows; it may change or leave out rows, not add any"
    same = rows.index.equals(frame.index)
    if renumbered or not (same or rows.index.isin(frame.index).all()):
        return frame, "prepare() renumbered the rows that it kept; the index has to stay, it names them in quarantine"
    return rows, ""


def _pandera(rows: pd.DataFrame, schema: DataFrameSchema, reasons: Reasons) -> str:
    """Run the schema on the rows that are still good; note what it says of rows, return what it says of the batch."""
    import pandas as pd
    from pandera.errors import SchemaErrors

    # Types are plain already, and pandera's own would turn away a nullable integer for a missing value it may hold.
    relaxed = schema.update_columns({name: {"dtype": None, "coerce": False} for name in schema.columns})
    # Rows are refused here, with a reason, never dropped on the way.
    relaxed.drop_invalid_rows = False
    good = reasons.good
    try:
        relaxed.validate(rows if good.all() else rows[good], lazy=True, inplace=True)
    except SchemaErrors as error:
        cases = error.failure_cases
        batchwide = cases[cases["index"].isna()]
        if len(batchwide):
            first = batchwide.iloc[0]
            return f"{first['column'] or 'the batch'}: {first['check']}"
        for (column, reason), group in cases.groupby(["column", "check"], sort=False, dropna=False):
            positions = pd.Index(group["index"].astype("int64").unique())
            reasons.note(reasons.index.isin(positions), f"{column}: {reason}")
    return ""


def _repeats(rows: pd.DataFrame, reasons: Reasons, spec: ModelSpec) -> Mask:
    """Which rows repeat another exactly; of rows with one key that disagree the last stands, the others are noted."""
    none = np.zeros(len(rows), dtype=bool)
    if not spec.keys:
        return none
    good = reasons.good
    keys = list(spec.keys)
    shared = none.copy()
    shared[good] = rows.loc[good, keys].duplicated(keep=False)
    if not shared.any():
        return none
    rivals = rows[shared]
    repeats = rivals.index[rivals.duplicated(keep="last")]
    left = rivals.drop(repeats)
    beaten = left.index[left.duplicated(subset=keys, keep="last")]
    reasons.note(reasons.index.isin(beaten), "another row of this batch has the same key")
    return np.asarray(rows.index.isin(repeats))


def contract_digest(spec: ModelSpec) -> str:
    """Changes whenever what a batch is held to does; a refused batch is then looked at again."""
    rules = (spec.keys, spec.time, spec.timezone, spec.lateness, spec.max_rejected)
    code = [_code(function) for function in (spec.contract, spec.prepare) if function is not None]
    # A schema shows a check of one's own by the address that it happens to have.
    shown = re.sub(r" at 0x[0-9a-f]+", "", repr(schema_of(spec)))
    return hashlib.sha256(repr((shown, rules, code)).encode()).hexdigest()[:16]


def _code(function: Callable[..., object]) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return getattr(function, "__qualname__", type(function).__qualname__)


def labels_digest(spec: ModelSpec, labels: Labels) -> str:
    """The same of a batch of labels."""
    rules = (contract_digest(spec), labels.time, _code(labels.prepare) if labels.prepare else "")
    return hashlib.sha256(repr(rules).encode()).hexdigest()[:16]
