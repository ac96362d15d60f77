"""What data says about the model that could be made of it: categories, the task, what to leave out.

Everything here is a guess that a person reads and corrects in the model file, so every guess has its reason.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from evergreen.data.frames import SYSTEM_COLUMNS
from evergreen.errors import DataError
from evergreen.model_files.column_types import (
    REFUSED,
    Clock,
    Column,
    Kind,
    clock_of,
    counted,
    dtype_of,
    layouts,
    numbers_of,
    shown,
    unusable,
)

if TYPE_CHECKING:
    import pandas as pd

CATEGORIES = 100
"""Text with more distinct values than this is an identifier or prose, not a category."""

FEW_CLASSES = 20
"""Whole numbers with more distinct values than this are an amount, not classes."""

NEARLY = 0.95
"""A correlation with the target from which on a column may be the target under another name."""

COMMA = r"[+-]?\d+,\d+"
RESERVED = (*SYSTEM_COLUMNS, "prediction", "_prediction")
"""Names that the tables and reports give to columns of their own."""

ID_WORDS = frozenset(("id", "ids", "uuid", "guid", "key", "pk", "index", "rowid", "rownum", "unnamed"))

Task: TypeAlias = Literal["regression", "classification"]
Label: TypeAlias = "str | int | float | bool"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A column that is no feature, and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be predicted.

    Attributes:
        column: as the contract will know it.
        task: what follows from it, or what was asked for.
        classes: label and number of rows of each class, in the order of the metrics; empty for a regression.
        rows: how many rows have a target.
    """

    column: Column
    task: Task
    classes: tuple[tuple[Label, int], ...]
    rows: int


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found in the data.

    Attributes:
        rows: how many were looked at.
        keys: names of the columns that name a row.
        key_columns: those of them that are not the time.
        time: the column that says when; None without.
        numeric: features that are numbers.
        categorical: features that are categories.
        left_out: columns that are no features.
        target: what is to be predicted.
        notes: what a person should know, one line each.
    """

    rows: int
    keys: tuple[str, ...]
    key_columns: tuple[Column, ...]
    time: Clock | None
    numeric: tuple[Column, ...]
    categorical: tuple[Column, ...]
    left_out: tuple[LeftOut, ...]
    target: Target
    notes: tuple[str, ...]


def examine(
    frame: pd.DataFrame, *, target: str, time: str | None = None, keys: Sequence[str] = (), task: Task | None = None
) -> Findings:
    """Infer a model from rows as they arrived.

    Raises:
        DataError: a named column is missing or cannot be what it was named for, or nothing is left to learn from.
    """
    _named(frame, target=target, time=time, keys=keys)
    notes: list[str] = []
    clock = clock_of(frame[time], notes) if time else None
    key_columns = _keys(frame, [key for key in keys if key != time], keys, notes)
    found = _target(frame[target], task, notes)
    apart = {target, time} | (set(keys) if len(keys) == 1 else set())
    numeric: list[Column] = []
    categorical: list[Column] = []
    left_out = [LeftOut(column.name, "the key") for column in key_columns if len(keys) == 1]
    # Delta tables do not tell names apart by their case.
    taken = {name.lower() for name in (target, time, *keys, *RESERVED) if name}
    for name in [name for name in frame.columns if name not in apart]:
        clash = name not in keys and name.lower() in taken
        taken.add(name.lower())
        kept = (
            LeftOut(name, "the tables have a column of this name already; rename it to use it")
            if clash
            else _feature(frame[name], frame[target], found, counting=time is not None, notes=notes)
        )
        if isinstance(kept, LeftOut):
            left_out.append(kept)
        else:
            (numeric if kept.kind in ("int", "float") else categorical).append(kept)
    if not numeric and not categorical:
        why = "; ".join(f"{shown(column.name)}: {column.why}" for column in left_out[:3])
        raise DataError(
            f"No column is left to learn from{f' ({why})' if why else ''}.",
            "Give data with more columns, or other rows.",
        )
    _note_refused(frame, [*numeric, found.column], notes)
    return Findings(
        len(frame),
        tuple(keys),
        key_columns,
        clock,
        tuple(numeric),
        tuple(categorical),
        tuple(left_out),
        found,
        tuple(notes),
    )


def _named(frame: pd.DataFrame, *, target: str, time: str | None, keys: Sequence[str]) -> None:
    """Refuse a column that is not there, is named for two things, or that the tables have themselves."""
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
            lower = {known.strip().lower(): known for known in names}
            near = difflib.get_close_matches(name.strip().lower()[:200], list(lower), n=3, cutoff=0.6)
            some = [lower[known] for known in near] or names[:8]
            more = ", ..." if not near and len(names) > 8 else ""
            listed = ", ".join(map(shown, some))
            fix = f"Did you mean {listed}?" if near else f"It has {listed}{more}."
            raise DataError(f"{option}: the data has no column {shown(name)}.", fix)
    if target in (time, *keys):
        raise DataError(f"--target: {shown(target)} is the time or a key as well.", "Name another column to predict.")
    if len(set(keys)) < len(keys):
        raise DataError("--key: a column is named twice.", "Name each column once.")


def _keys(frame: pd.DataFrame, plain: Sequence[str], keys: Sequence[str], notes: list[str]) -> tuple[Column, ...]:
    """The columns that name a row, the time aside; refused unless they do name every row."""
    if not keys:
        return ()
    what = " and ".join(map(shown, keys))
    nameless = frame[list(keys)].isna().any(axis=1)
    if nameless.any():
        raise DataError(
            f"--key: {what} is missing in {counted(int(nameless.sum()))}, first in row {int(nameless.argmax()) + 1}.",
            "Fill it in, or name a key that every row has.",
        )
    distinct = frame.drop_duplicates()
    again = distinct.duplicated(subset=list(keys))
    if again.any():
        first = int(distinct.index[int(again.to_numpy().argmax())]) + 1
        raise DataError(
            f"--key: {counted(int(again.sum()))} repeat the key {what} of an earlier row, first in row {first}.",
            "Name every column that the key is made of (--key again for each), or mend the rows.",
        )
    if len(distinct) < len(frame):
        notes.append(f"{counted(len(frame) - len(distinct))} repeat another row exactly; they count once")
    kinds: dict[str, Kind] = {"i": "int", "f": "float", "u": "float"}
    return tuple(Column(name, kinds.get(dtype_of(frame[name]), "str"), False) for name in plain)


def _note_refused(frame: pd.DataFrame, columns: Sequence[Column], notes: list[str]) -> None:
    bad = {column.name: unusable(frame[column.name]) for column in columns if column.kind in ("int", "float")}
    refused = None
    for name, rows in bad.items():
        if rows.any():
            count = counted(int(rows.sum()))
            notes.append(f"{shown(name)} is infinite or no number in {count}, which will go to quarantine")
            refused = rows if refused is None else refused | rows
    if refused is not None and refused.mean() > REFUSED:
        notes.append(f"{refused.mean():.0%} of the rows will be refused: mend them, or raise max_rejected in the file")


def _target(raw: pd.Series, task: Task | None, notes: list[str]) -> Target:
    """The target's type and task.

    Raises:
        DataError: nothing can be learned from it, or not in the way that was asked for.
    """
    name = shown(str(raw.name))
    present = raw.dropna()
    if present.nunique() < 2:
        what = f"has only the value {shown(str(present.iloc[0]))}" if len(present) else "is missing"
        raise DataError(
            f"--target: {name} {what} in every row; nothing can be learned.",
            "Name another column, or give rows with other outcomes.",
        )
    if len(present) < len(raw):
        notes.append(f"{name} is missing in {counted(len(raw) - len(present))}; they are kept, and not learned from")
    plain = numbers_of(raw)
    asked_classes = task == "classification" and dtype_of(raw) == "O"
    if plain is not None and not asked_classes:
        return _numeric_target(raw, plain, task)
    if task == "regression":
        raise DataError(
            f"--task: {name} holds no numbers, and a regression predicts one.", "Take --task classification."
        )
    kind: Kind = "bool" if dtype_of(raw) == "b" else "str"
    labels = present if kind == "bool" else present.astype("object").map(str)
    counts = labels.value_counts()
    classes = tuple(
        (bool(label) if kind == "bool" else str(label), int(counts[label])) for label in sorted(counts.index)
    )
    _require_classes(name, len(classes), len(present))
    return Target(Column(str(raw.name), kind, len(present) < len(raw)), "classification", classes, len(present))


def _numeric_target(raw: pd.Series, plain: pd.Series, task: Task | None) -> Target:
    import numpy as np

    known = plain[np.isfinite(plain)]
    name, nullable = str(raw.name), bool(raw.isna().any())
    if (bad := 1 - len(known) / int(raw.notna().sum())) > REFUSED:
        raise DataError(f"--target: {shown(name)} is infinite or no number in {bad:.0%} of the rows.", "Mend the data.")
    distinct, whole = int(known.nunique()), bool((known == known.round()).all())
    few = distinct == 2 or (distinct <= FEW_CLASSES and distinct <= 0.05 * len(known))
    if task is None:
        task = "classification" if whole and few else "regression"
    kind: Kind = "int" if dtype_of(raw) == "i" else "float"
    if task == "regression":
        if distinct < 2:
            raise DataError(f"--target: {shown(name)} has the same value in every row.", "Name another column.")
        # Amounts are float even where all of them are whole so far.
        return Target(Column(name, "float", nullable), "regression", (), len(known))
    _require_classes(shown(name), distinct, len(known))
    counts = known.value_counts()
    classes = tuple((int(at) if kind == "int" else float(at), int(counts[at])) for at in sorted(counts.index))
    return Target(Column(name, kind, nullable), "classification", classes, len(known))


def _require_classes(name: str, distinct: int, rows: int) -> None:
    if distinct > CATEGORIES or distinct > max(2, rows / 2):
        raise DataError(
            f"--target: {name} has {distinct:,} different values in {counted(rows)}: neither amounts nor classes.",
            "Name a column of numbers or of few classes; for numbers take --task regression.",
        )


def _feature(raw: pd.Series, target: pd.Series, found: Target, *, counting: bool, notes: list[str]) -> Column | LeftOut:
    """What a column is as a feature, or why it is none; `counting`: beside a time a running number adds nothing."""
    name, nullable, kind = str(raw.name), bool(raw.isna().any()), dtype_of(raw)
    plain = numbers_of(raw)
    if why := _useless(raw, target, found):
        return LeftOut(name, why)
    if plain is not None:
        if why := _identifier(raw, name, kind, counting):
            return LeftOut(name, why)
        _note_nearly(plain, target, found, notes)
        return Column(name, "int" if kind == "i" else "float", nullable)
    if kind == "b":
        return Column(name, "bool", nullable)
    why = _no_category(raw)
    return LeftOut(name, why) if why else Column(name, "str", nullable)


def _useless(raw: pd.Series, target: pd.Series, found: Target) -> str:
    """Why nothing can be learned from a column, whatever it holds; empty if something can."""
    distinct = int(raw.nunique())
    if distinct + bool(raw.isna().any()) < 2:
        return "it is the same in every row" if distinct else "it is missing in every row"
    if _copies(raw, target, found):
        return "it says the same as the target in every row, which is not known beforehand"
    return ""


def _no_category(raw: pd.Series) -> str:
    """Why a column of text is no category; empty if it is one."""
    text, distinct = raw.dropna().astype("object").map(str), int(raw.nunique())
    if text.str.fullmatch(COMMA).mean() >= NEARLY:
        return "numbers with a decimal comma; turn it into a point in prepare() to use them"
    if layouts(text):
        return "a time; derive a feature from it in prepare() to use it"
    if distinct > CATEGORIES or distinct > len(raw) / 2:
        what = "an identifier" if distinct == len(raw) else "identifiers or free text"
        return f"{what}: {distinct:,} different texts in {counted(len(raw))}"
    return ""


def _identifier(raw: pd.Series, name: str, kind: str, counting: bool) -> str:
    """Why a column of numbers only names or counts its rows; empty if it does not."""
    if kind not in "iu" or raw.nunique() < len(raw):
        return ""
    words = {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}
    if words & ID_WORDS:
        return "an identifier: every row has its own number"
    return "it only counts the rows" if counting and bool((raw.diff().dropna() == 1).all()) else ""


def _copies(raw: pd.Series, target: pd.Series, found: Target) -> bool:
    """Whether a column is the target under another name: equal, or one value for each class and back."""
    known = target.notna()
    column, target = raw[known], target[known]
    if column.isna().any():
        return False
    numbers, wanted = numbers_of(column), numbers_of(target)
    if numbers is not None and wanted is not None and bool((numbers == wanted).all()):
        return True
    if found.task == "regression" or column.nunique() != len(found.classes):
        return False
    ours, theirs = column.astype("object").map(str), target.astype("object").map(str)
    if bool((ours == theirs).all()):
        return True
    pairs = (ours.str.len().astype(str) + ":" + ours + theirs).nunique()
    # Two values can agree with two classes by chance where there are few rows.
    return pairs == len(found.classes) and (pairs > 2 or min(rows for _, rows in found.classes) >= 20)


def _note_nearly(plain: pd.Series, target: pd.Series, found: Target, notes: list[str]) -> None:
    wanted = numbers_of(target) if found.task == "regression" else None
    if wanted is None:
        return
    import numpy as np

    both = np.isfinite(plain) & np.isfinite(wanted)
    a, b = plain[both].to_numpy(), wanted[both].to_numpy()
    if len(a) < 30 or a.std() == 0 or b.std() == 0:
        return
    if abs(float(np.corrcoef(a, b)[0, 1])) >= NEARLY:
        name = shown(str(plain.name))
        notes.append(f"{name} moves with the target: take it out of the features if it is known only afterwards")
