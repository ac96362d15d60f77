"""Infer a model from data: keys, time, target, features, and what to leave out.

Everything here is a guess that a person reads and corrects in the model file. Every guess therefore has its reason.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evergreen.data.frames import SYSTEM_COLUMNS
from evergreen.data.instants import localize
from evergreen.errors import DataError
from evergreen.model_files.column_types import (
    MAX_REJECTED,
    Clock,
    Column,
    dtype_kind,
    infer_clock,
    parse_times,
    quote_name,
    rows_text,
    unusable_rows,
)
from evergreen.model_files.features import MAX_CATEGORIES, LeftOut, infer_feature
from evergreen.model_files.single_features import describe_single_features, score_single_features
from evergreen.model_files.target import Target, Task, infer_target

if TYPE_CHECKING:
    import pandas as pd

RESERVED = (*SYSTEM_COLUMNS, "prediction", "_prediction")
"""Names that the tables and reports give to columns of their own."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What was inferred from the data.

    Attributes:
        rows: how many rows were looked at.
        keys: names of the columns that identify a row.
        key_columns: those of them that are not the time.
        time: the time column; None without one.
        numeric: features that are numbers.
        categorical: features that are categories.
        distinct: how many different texts those categories have that have too many for codes.
        left_out: columns that are no features.
        target: what is to be predicted.
        notes: what a person should know, one line each.
        scores: how well each feature alone predicts the target, the best first; empty where too few rows tell.
    """

    rows: int
    keys: tuple[str, ...]
    key_columns: tuple[Column, ...]
    time: Clock | None
    numeric: tuple[Column, ...]
    categorical: tuple[Column, ...]
    distinct: Mapping[str, int]
    left_out: tuple[LeftOut, ...]
    target: Target
    notes: tuple[str, ...]
    scores: Mapping[str, float]


def examine(
    frame: pd.DataFrame,
    *,
    target: str,
    time: str | None = None,
    keys: Sequence[str] = (),
    task: Task | None = None,
    zone: str | None = None,
    texts: Collection[str] = (),
) -> Findings:
    """Infer a model from rows as they are meant.

    Args:
        frame: the rows.
        target: the column to predict.
        time: the column with the time of a row.
        keys: the columns that identify a row.
        task: as it was chosen; None to infer it.
        zone: that of times without an offset.
        texts: the columns whose cells are texts of a file.

    Raises:
        DataError: a named column is missing or cannot be what it was named for, or nothing is left to learn from.
    """
    _require_columns(frame, target=target, time=time, keys=keys)
    notes: list[str] = []
    clock = infer_clock(frame[time], notes) if time else None
    other_keys = [key for key in keys if key != time]
    keyed = _with_instants(frame, clock, zone, other_keys) if clock and clock.name in keys else frame
    key_columns = _key_columns(keyed, other_keys, keys, notes)
    inferred = infer_target(frame[target], task, notes)
    not_features = {target, time} | (set(keys) if len(keys) == 1 else set())
    numeric: list[Column] = []
    categorical: list[Column] = []
    left_out = [LeftOut(column.name, "the key") for column in key_columns if len(keys) == 1]
    # Delta tables do not distinguish names by case.
    lower_names = {name.lower() for name in (target, time, *keys, *RESERVED) if name}
    for name in [name for name in frame.columns if name not in not_features]:
        clashes = name not in keys and name.lower() in lower_names
        lower_names.add(name.lower())
        feature = (
            LeftOut(name, "the tables have a column of this name already; rename it to use it")
            if clashes
            else infer_feature(frame[name], frame[target], inferred, is_text=name in texts)
        )
        if isinstance(feature, LeftOut):
            left_out.append(feature)
        else:
            (numeric if feature.kind in ("int", "float") else categorical).append(feature)
    if not numeric and not categorical:
        # A table of two columns, sorted by the one: it is all that there is to learn from.
        numeric = [Column(column.name, "float", nullable=True) for column in left_out if column.only_grows]
        left_out = [column for column in left_out if not column.only_grows]
    _require_features([*numeric, *categorical], left_out)
    _note_rejected(frame, [*numeric, inferred.column], notes)
    counts = {column.name: int(frame[column.name].nunique()) for column in categorical}
    scores = score_single_features(frame, [*numeric, *categorical], inferred)
    notes.extend(describe_single_features(scores, inferred))
    return Findings(
        len(frame),
        tuple(keys),
        key_columns,
        clock,
        tuple(numeric),
        tuple(categorical),
        {name: count for name, count in counts.items() if count > MAX_CATEGORIES},
        tuple(left_out),
        inferred,
        tuple(notes),
        scores,
    )


def _require_columns(frame: pd.DataFrame, *, target: str, time: str | None, keys: Sequence[str]) -> None:
    """Refuse a column that is not there, is named for two things, or has a name that the tables reserve."""
    options = [
        ("--target", target),
        *([("--time", time)] if time is not None else []),
        *(("--key", key) for key in keys),
    ]
    names = [str(name) for name in frame.columns]
    for option, name in options:
        if name.lower() in RESERVED:
            raise DataError(f"{option}: the tables have a column {name!r} of their own.", "Rename it in the data.")
        if name not in names:
            raise _absent_column(option, name, names)
    if target in (time, *keys):
        raise DataError(
            f"--target: {quote_name(target)} is the time or a key as well.", "Name another column to predict."
        )
    if len(set(keys)) < len(keys):
        raise DataError("--key: a column is named twice.", "Name each column once.")


def _absent_column(option: str, name: str, names: Sequence[str]) -> DataError:
    by_lower = {column.strip().lower(): column for column in names}
    similar = difflib.get_close_matches(name.strip().lower()[:200], list(by_lower), n=3, cutoff=0.6)
    listed = ", ".join(map(quote_name, [by_lower[lower] for lower in similar] or names[:8]))
    more = ", ..." if not similar and len(names) > 8 else ""
    fix = f"Did you mean {listed}?" if similar else f"It has {listed}{more}."
    return DataError(f"{option}: the data has no column {quote_name(name)}.", fix)


def _require_features(features: Sequence[Column], left_out: Sequence[LeftOut]) -> None:
    if not features:
        reasons = "; ".join(f"{quote_name(column.name)}: {column.why}" for column in left_out[:3])
        raise DataError(
            f"No column is left to learn from{f' ({reasons})' if reasons else ''}.",
            "Give data with more columns, or other rows.",
        )


def _key_columns(
    frame: pd.DataFrame, names: Sequence[str], keys: Sequence[str], notes: list[str]
) -> tuple[Column, ...]:
    """The columns `names` of the key; refused unless the whole key identifies every row."""
    if not keys:
        return ()
    key = " and ".join(map(quote_name, keys))
    without_key = frame[list(keys)].isna().any(axis=1)
    if without_key.any():
        count, first = int(without_key.sum()), int(without_key.argmax()) + 1
        raise DataError(
            f"--key: {key} is missing in {rows_text(count)}, first in row {first}.",
            "Fill it in, or name a key that every row has.",
        )
    distinct = frame.drop_duplicates()
    repeated = distinct.duplicated(subset=list(keys))
    if repeated.any():
        first = int(distinct.index[int(repeated.to_numpy().argmax())]) + 1
        raise DataError(
            f"--key: {rows_text(int(repeated.sum()))} repeat the key {key} of an earlier row, first in row {first}.",
            "Name every column that the key consists of (--key again for each), or fix the rows.",
        )
    if len(distinct) < len(frame):
        notes.append(f"{rows_text(len(frame) - len(distinct))} repeat another row exactly; they count once")
    # A float would lose digits of a key.
    return tuple(Column(name, "int" if dtype_kind(frame[name]) == "i" else "str", False) for name in names)


def _with_instants(frame: pd.DataFrame, clock: Clock, zone: str | None, others: Sequence[str]) -> pd.DataFrame:
    """The rows with the instants of their clock times: an hour that the zone repeats is two of them in each series."""
    if not clock.naive or zone is None:
        return frame
    time = parse_times(frame[clock.name].astype("str").mask(frame[clock.name].isna()), clock.layout)
    # Where a time is no time, its text tells rows apart.
    instants = localize(time, time.notna(), zone, [frame[name] for name in others])
    return frame.assign(**{clock.name: instants.astype("str").where(instants.notna(), frame[clock.name].astype("str"))})


def _note_rejected(frame: pd.DataFrame, columns: Sequence[Column], notes: list[str]) -> None:
    """Add a note for each column of numbers with rows that will go to quarantine."""
    unusable = {column.name: unusable_rows(frame[column.name]) for column in columns if column.kind in ("int", "float")}
    rejected = None
    for name, rows in unusable.items():
        if rows.any():
            count = rows_text(int(rows.sum()))
            notes.append(f"{quote_name(name)} is infinite or no number in {count}, which will go to quarantine")
            rejected = rows if rejected is None else rejected | rows
    if rejected is not None and rejected.mean() > MAX_REJECTED:
        share = f"{rejected.mean():.0%}"
        notes.append(f"{share} of the rows will be rejected: fix them, or raise max_rejected in the file")
