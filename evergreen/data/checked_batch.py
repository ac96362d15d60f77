"""Check a batch against the contract: read every column by it, then hold the rows to the model file's schema.

A row that breaks the contract is rejected alone; too many of them reject the batch. The time of a row is kept to the
millisecond, because Delta's statistics of a file, which say what time range a snapshot spans, are no finer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evergreen.data.coercion import Reader, kind_of
from evergreen.data.column_names import describe_missing, match_names, missing_columns
from evergreen.data.contract import gets_guesses, text_columns
from evergreen.data.instants import find_swapped_days
from evergreen.data.remedies import remedy_for_missing, remedy_for_rows
from evergreen.data.row_errors import Mask, RowErrors
from evergreen.data.totals import find_total
from evergreen.data.written_text import (
    MISSING_BEFORE,
    blank_missing,
    guess_types,
    is_text,
    missing_words,
    repeats_header,
)
from evergreen.markdown import many
from evergreen.spec.model import ModelSpec
from evergreen.spec.place import definition, failed_in, shown

if TYPE_CHECKING:
    import pandas as pd
    from pandera.pandas import DataFrameSchema

CLOCK_SKEW = timedelta(days=1)
"""How far ahead of our own clock a row's time may be."""
_OF_THE_CODE = (KeyError, AttributeError, NameError, ImportError, TypeError, ZeroDivisionError)
"""Errors whose message is about the code; that of another one may show values of the rows."""
IN_FUTURE = (
    "more than a day in the future: land the row again once that time has come (the same file is not read twice), or "
    "correct the time or its zone"
)
"""Why a row or label is rejected whose time is later than now, a clock skew aside, and how it comes back."""


@dataclass(frozen=True, slots=True, eq=False)
class CheckedBatch:
    """A batch after the contract.

    Attributes:
        rows: the accepted rows, in the contract's types and columns.
        rejected: the reason of each rejected row, by its position in the batch.
        problem: why the batch as a whole is rejected; empty otherwise.
        failure: which line of the model file failed on it, and how; empty where none did. Then `problem` is as it is
            told where the file is known to work.
        repeated: how many rows are exactly equal to another row of the batch; they count once.
        doubt: which accepted row may be no case at all, and what to do; empty for none.
        remedy: what to write in the model file to let a rejected batch in; empty where the data has to change.
    """

    rows: pd.DataFrame
    rejected: pd.Series
    problem: str = ""
    repeated: int = 0
    doubt: str = ""
    remedy: str = ""
    failure: str = ""


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
    prepared, problem, failure = _prepare(frame, spec)
    missing = [] if problem else missing_columns(prepared, schema)
    if missing:
        problem = describe_missing(missing, prepared, schema)
    if problem:
        remedy = remedy_for_missing(missing, spec, schema) if missing else ""
        return CheckedBatch(frame.iloc[:0], pd.Series(dtype="object"), problem, remedy=remedy, failure=failure)
    errors = RowErrors(prepared.index)
    errors.reject(prepared.index.isin(frame.index[repeats_header(frame)]), "the header again")
    optional = [name for name in schema.columns if name not in prepared.columns]
    prepared = prepared.assign(**dict.fromkeys(optional)) if optional else prepared
    rows = _read_columns(prepared, schema, Reader(spec, missing_words(spec.reading, written=written), errors))
    if spec.time:
        errors.reject(rows[spec.time].isna(), f"{spec.time}: no time")
        if not scoring:
            errors.reject(rows[spec.time] > now + CLOCK_SKEW, f"{spec.time}: {IN_FUTURE}")
    for key in spec.keys:
        errors.reject(rows[key].isna(), f"{key}: a key is missing")
    problem, failure = _validate(rows, schema.remove_columns(optional) if optional else schema, errors)
    if not scoring:
        problem = problem or _find_swapped_days(prepared, rows, spec)
    doubt = "" if scoring else _doubt_total(rows, spec, errors)
    repeats = np.zeros(len(rows), dtype=bool) if scoring else _find_repeats(rows, errors, spec)
    distinct = len(rows) - int(repeats.sum())
    rejected, remedy = errors.by_row(), ""
    if not problem and not scoring and len(rejected) > spec.max_rejected * distinct:
        problem = _too_many_rejected(rejected, distinct, spec.max_rejected)
        remedy = remedy_for_rows(str(rejected.value_counts().index[0]), spec, schema)
    accepted = errors.accepted & ~repeats
    kept = rows if accepted.all() else rows[accepted]
    return CheckedBatch(kept, rejected, problem, int(repeats.sum()), doubt, remedy, failure)


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


def _prepare(frame: pd.DataFrame, spec: ModelSpec) -> tuple[pd.DataFrame, str, str]:
    """Run the model file's `prepare`; returns the rows, and `problem` and `failure` of a `CheckedBatch`."""
    import pandas as pd

    if spec.prepare is None:
        return frame, "", ""
    try:
        rows = spec.prepare(frame.copy(deep=False))
        if not isinstance(rows, pd.DataFrame):
            return _misused(frame, spec, f"prepare() returned a {type(rows).__name__}, not a frame")
        # Did it number the rows from 0 again, or leave out only the tail? With other numbers the two differ.
        renumbered = (
            len(rows) < len(frame)
            and rows.index.equals(pd.RangeIndex(len(rows)))
            and 0 in spec.prepare(frame.set_axis(frame.index + 1)).index
        )
    except Exception as error:
        failure = failed_in(spec.prepare, error, told=isinstance(error, _OF_THE_CODE))
        column_is_missing = isinstance(error, KeyError) and error.args and error.args[0] not in frame.columns
        return frame, f"column {error} is missing" if column_is_missing else f"prepare() failed: {failure}", failure
    if not rows.index.is_unique or len(rows) > len(frame):
        return _misused(frame, spec, "prepare() repeated rows; it may change or leave out rows, not add any")
    same_index = rows.index.equals(frame.index)
    if renumbered or not (same_index or rows.index.isin(frame.index).all()):
        what = "prepare() renumbered the rows that it kept; keep the index, which names the rows in quarantine"
        return _misused(frame, spec, what)
    return rows, "", ""


def _misused(frame: pd.DataFrame, spec: ModelSpec, what: str) -> tuple[pd.DataFrame, str, str]:
    place = definition(spec.prepare) if spec.prepare is not None else None
    return frame, what, f"{shown(place[0])}, line {place[1]}: {what}" if place else f"{spec.file}: {what}"


def _validate(rows: pd.DataFrame, schema: DataFrameSchema, errors: RowErrors) -> tuple[str, str]:
    """Run the schema on the rows that are accepted so far; reject rows, and return `problem` and `failure`."""
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
        failure = next(filter(None, map(_failed_check, error.schema_errors)), "")
        if failure:
            return f"a check of contract() failed: {failure}", failure
        cases = error.failure_cases
        batchwide = cases[cases["index"].isna()]
        if len(batchwide):
            first = batchwide.iloc[0]
            return f"{first['column'] or 'the batch'}: {first['check']}", ""
        for (column, reason), group in cases.groupby(["column", "check"], sort=False, dropna=False):
            positions = pd.Index(group["index"].astype("int64").unique())
            errors.reject(errors.index.isin(positions), f"{column}: {reason}")
    return "", ""


def _failed_check(error: Any) -> str:
    """Which line of a check of the user's own failed, from an error of pandera's; empty where it says something else.

    pandera keeps the traceback as text only.
    """
    from pandera.errors import SchemaErrorReason

    place = definition(getattr(error.check, "_check_fn", None)) if error.check is not None else None
    if error.reason_code is not SchemaErrorReason.CHECK_ERROR or place is None:
        return ""
    frames = re.findall(r'File "([^"]+)", line (\d+), in (\S+)', str(error))
    own = [frame for frame in frames if Path(frame[0]).parent == Path(place[0]).parent]
    if not own or "site-packages" in place[0]:
        return ""
    kind = str(error).strip().splitlines()[-1].partition(":")[0]
    return f"{shown(own[-1][0])}, line {own[-1][1]}, in {own[-1][2]}: {kind}"


def _find_swapped_days(prepared: pd.DataFrame, rows: pd.DataFrame, spec: ModelSpec) -> str:
    for name, layout in spec.reading.times.items() if spec.reading else ():
        # A batch of labels has fewer columns.
        if name in rows and is_text(prepared[name]):
            texts = blank_missing(prepared[name], missing_words(spec.reading, written=True), trimmed=True)
            if swapped := find_swapped_days(texts, rows[name], layout):
                return f"{name}: {swapped}"
    return ""


def _doubt_total(rows: pd.DataFrame, spec: ModelSpec, errors: RowErrors) -> str:
    """Reject the row that looks like a total if the model file says so; else say which it is and what to do."""
    accepted = errors.accepted
    found = find_total(rows if accepted.all() else rows[accepted], spec)
    if found is None:
        return ""
    position = int(np.flatnonzero(accepted)[found[0]])
    if spec.reading is not None and spec.reading.refuse_totals:
        errors.reject(np.arange(len(rows)) == position, f"looks like a total: {found[1]}")
        return ""
    return (
        f"row {position + 1} looks like a total, and landed as a case: {found[1]}. If it is one, set "
        f"reading=Reading(refuse_totals=True) in {spec.file}, and correct the file."
    )


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
        f"{len(rejected):,} of {many(rows, 'row breaks', 'rows break')} the contract "
        f"({len(rejected) / rows:.1%}, at most {allowed:.1%}): {reason} ({many(count, 'row')}, first in row {first})"
    )
