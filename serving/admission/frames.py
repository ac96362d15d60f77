"""Admit rows of a request as a frame, by the same code as batch scoring; what is wrong is told by row and column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from evergreen.data.checked_batch import check_batch
from evergreen.data.column_names import match_names
from evergreen.errors import EvergreenError
from evergreen.spec.faults import did_you_mean
from evergreen.spec.model import ModelSpec
from serving.faults import RequestError, RowFault, malformed, unprocessable

if TYPE_CHECKING:
    import pandas as pd
    from pandera.pandas import DataFrameSchema


@dataclass(frozen=True, slots=True, eq=False)
class AdmittedFrame:
    """Rows after the contract.

    Attributes:
        rows: the good ones in the contract's types; the index is their position in the request.
        faults: of the others.
    """

    rows: pd.DataFrame
    faults: tuple[RowFault, ...]


def frame_of_rows(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A frame of JSON objects.

    Raises:
        RequestError: rows have different columns, or a value is a list or an object.
    """
    import pandas as pd

    names = rows[0].keys()
    faults: list[RowFault] = []
    for position, row in enumerate(rows):
        if row.keys() != names:
            alone = sorted(row.keys() ^ names)[0]
            faults.append(RowFault(position, alone, "only some of the rows have it; give null where it is missing"))
        for name, value in row.items():
            if isinstance(value, list | dict):
                faults.append(RowFault(position, name, "a list or an object, which no column of a contract holds"))
    if faults:
        raise _invalid(faults)
    return pd.DataFrame({name: [row[name] for row in rows] for name in names})


def admit_frame(
    frame: pd.DataFrame, spec: ModelSpec, schema: DataFrameSchema, *, now: datetime, written: bool = False
) -> AdmittedFrame:
    """Check a frame as batch scoring does.

    Without `prepare`, or with `Serve(rows="contract")`, the rows have the contract's columns: the features have to be
    there, keys and time may be. Otherwise they have the columns that `prepare` wants.

    Args:
        frame: the rows as they came.
        spec: the model.
        schema: of `scoring_schema`.
        now: when it is (aware).
        written: every value is a text, as in a file.

    Raises:
        RequestError: a column is missing or unknown, or the rows cannot be checked at all.
    """
    if brings_contract(spec):
        spec, schema, frame = _given_columns(frame, spec, schema)
    try:
        checked = check_batch(frame, spec, schema, now=now, scoring=True, written=written)
    except EvergreenError as error:
        raise unprocessable("invalid_rows", error.what) from None
    if checked.problem.startswith("column "):
        raise unprocessable("missing_column", f"{checked.problem[0].upper()}{checked.problem[1:]}.")
    if checked.problem:
        # What a person's own function said may hold values of the rows.
        failed = checked.problem.startswith("prepare()")
        what = "the model file's prepare() fails on these rows" if failed else checked.problem
        raise unprocessable("invalid_rows", f"{what[0].upper()}{what[1:]}.")
    rejected = zip(checked.rejected.index.tolist(), checked.rejected.tolist(), strict=True)
    faults = [_fault(position, reason) for position, reason in rejected]
    left_out = set(range(len(frame))) - set(checked.rows.index) - {fault.row for fault in faults}
    faults += [RowFault(position, "", "prepare() leaves this row out") for position in sorted(left_out)]
    return AdmittedFrame(checked.rows.sort_index(), tuple(sorted(faults, key=lambda fault: fault.row)))


def brings_contract(spec: ModelSpec) -> bool:
    """Whether requests bring the contract's columns, and `prepare` does not run."""
    return spec.prepare is None or (spec.serve is not None and spec.serve.rows == "contract")


def require_sound(admitted: AdmittedFrame) -> pd.DataFrame:
    """The rows, if all are good.

    Raises:
        RequestError: one is not; nothing of the request is answered then.
    """
    if admitted.faults:
        raise _invalid(admitted.faults)
    return admitted.rows


def _invalid(faults: Sequence[RowFault]) -> RequestError:
    rows = len({fault.row for fault in faults})
    message = f"{rows} row{'s break' if rows > 1 else ' breaks'} the contract; nothing was predicted."
    return unprocessable("invalid_rows", message, tuple(faults))


def _fault(position: int, reason: str) -> RowFault:
    column, colon, rest = reason.partition(": ")
    return RowFault(position, column, rest) if colon else RowFault(position, "", reason)


def _given_columns(
    frame: pd.DataFrame, spec: ModelSpec, schema: DataFrameSchema
) -> tuple[ModelSpec, DataFrameSchema, pd.DataFrame]:
    """The model and its schema for a request that has these of the contract's columns."""
    frame = match_names(frame, spec.model_copy(update={"prepare": None}), schema)
    # A client that sends whole rows of its table sends the target too; batch scoring leaves it out as well.
    frame = frame.drop(columns=[spec.target], errors="ignore")
    if not frame.columns.is_unique:
        raise malformed("Two columns have the same name.")
    unknown = [str(name) for name in frame.columns if name not in schema.columns]
    if unknown:
        known = did_you_mean(unknown[0], [str(name) for name in schema.columns])
        raise unprocessable("unknown_column", f"The contract has no column {unknown[0]!r}; {known}.")
    given_keys = [key for key in spec.keys if key in frame.columns]
    features = set(spec.features.all)
    if given_keys and len(given_keys) < len(spec.keys) and not features.issuperset(given_keys):
        absent = next(key for key in spec.keys if key not in frame.columns)
        raise unprocessable("missing_column", f"Column {absent!r} is missing: it is a part of the row's key.")
    return (*_reduced(spec, schema, frozenset(map(str, frame.columns)), features=frozenset(features)), frame)


def _reduced(
    spec: ModelSpec, schema: DataFrameSchema, given: frozenset[str], *, features: frozenset[str]
) -> tuple[ModelSpec, DataFrameSchema]:
    absent = [name for name in schema.columns if name not in given and name not in features]
    keys = spec.keys if given.issuperset(spec.keys) else ()
    time = spec.time if spec.time in given else None
    changed = spec.model_copy(update={"prepare": None, "keys": keys, "time": time})
    return changed, schema.remove_columns(absent) if absent else schema
