"""The target of a model, inferred from its column: its type, the task and the classes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from evergreen.errors import DataError
from evergreen.model_files.column_types import (
    MAX_REJECTED,
    Column,
    Kind,
    as_numbers,
    dtype_kind,
    quote_name,
    rows_text,
)

if TYPE_CHECKING:
    import pandas as pd

MAX_CLASSES = 100
"""A target of more distinct texts than this is an identifier or prose, not a class."""

MAX_NUMERIC_CLASSES = 20
"""Whole numbers with more distinct values than this are an amount, not classes."""

SAYS_CLASS = re.compile(
    r"(?i)(^|[^a-z])(class|label|category|type|species|kind|cluster|segment|digit|outcome)s?([^a-z]|$)"
)
"""Whole numbers of more than two values are classes only where the column's name says so; else they count something."""

SAYS_COUNT = re.compile(
    r"(?i)(^|[^a-z])(count|cnt|number|num|nr|n|qty|quantity|sum|total|amount|claims|visits|days|hours)([^a-z]|$)"
)

Task: TypeAlias = Literal["regression", "classification"]
Label: TypeAlias = "str | int | float | bool"


@dataclass(frozen=True, slots=True)
class Amounts:
    """What the numbers of a regression's target are like.

    Attributes:
        lowest: the smallest of them.
        whole: each is a whole number.
        top: the most frequent value.
        top_share: the share of the rows that have it, 0 to 1.
        tail: the mean as a multiple of the median; 0 where the median is not positive.
    """

    lowest: float
    whole: bool
    top: float
    top_share: float
    tail: float


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be predicted.

    Attributes:
        column: as the contract will have it.
        task: what follows from the column, or what was chosen.
        classes: label and number of rows of each class, in the order of the metrics; empty for a regression.
        rows: how many rows have a target.
        amounts: what the numbers of a regression are like; None for classes.
    """

    column: Column
    task: Task
    classes: tuple[tuple[Label, int], ...]
    rows: int
    amounts: Amounts | None = None

    @property
    def is_count(self) -> bool:
        """Whether it counts something: whole numbers from 0 on, or from more if the column says it counts."""
        amounts = self.amounts
        if amounts is None or not amounts.whole or amounts.lowest < 0:
            return False
        return amounts.lowest == 0 or bool(SAYS_COUNT.search(self.column.name))


def infer_target(raw: pd.Series, task: Task | None, notes: list[str]) -> Target:
    """Infer the target's type and task; what a person should know is added to `notes`.

    Raises:
        DataError: nothing can be learned from the column, or not with the chosen task.
    """
    name = quote_name(str(raw.name))
    present = raw.dropna()
    if present.nunique() < 2:
        what = f"has only the value {quote_name(str(present.iloc[0]))}" if len(present) else "is missing"
        raise DataError(
            f"--target: {name} {what} in every row; nothing can be learned.",
            "Name another column, or give rows with other outcomes.",
        )
    if len(present) < len(raw):
        notes.append(f"{name} is missing in {rows_text(len(raw) - len(present))}; they are kept, and not learned from")
    numbers = as_numbers(raw)
    text_classes = task == "classification" and dtype_kind(raw) == "O"
    if numbers is not None and not text_classes:
        return _numeric_target(raw, numbers, task, notes)
    if task == "regression":
        raise DataError(
            f"--task: {name} holds no numbers, and a regression predicts one.", "Take --task classification."
        )
    kind: Kind = "bool" if dtype_kind(raw) == "b" else "str"
    labels = present if kind == "bool" else present.astype("object").map(str)
    counts = labels.value_counts()
    classes = tuple(
        (bool(label) if kind == "bool" else str(label), int(counts[label])) for label in sorted(counts.index)
    )
    _require_classes(name, len(classes), len(present))
    return Target(Column(str(raw.name), kind, len(present) < len(raw)), "classification", classes, len(present))


def _numeric_target(raw: pd.Series, numbers: pd.Series, task: Task | None, notes: list[str]) -> Target:
    import numpy as np

    finite = numbers[np.isfinite(numbers)]
    name, nullable = str(raw.name), bool(raw.isna().any())
    if (bad := 1 - len(finite) / int(raw.notna().sum())) > MAX_REJECTED:
        raise DataError(
            f"--target: {quote_name(name)} is infinite or no number in {bad:.0%} of the rows.", "Fix the data."
        )
    distinct, whole = int(finite.nunique()), bool((finite == finite.round()).all())
    few = distinct == 2 or (distinct <= MAX_NUMERIC_CLASSES and distinct <= 0.05 * len(finite))
    if task is None:
        says_class = SAYS_CLASS.search(name) if distinct > 2 else not SAYS_COUNT.search(name)
        task = "classification" if whole and few and says_class else "regression"
        if whole and few and task == "regression":
            notes.append(
                f"{quote_name(name)} holds the whole numbers {finite.min():.0f} to {finite.max():.0f} and is taken for "
                "numbers, not for classes: take --task classification if they are names of classes"
            )
    kind: Kind = "int" if dtype_kind(raw) == "i" else "float"
    if task == "regression":
        if distinct < 2:
            raise DataError(f"--target: {quote_name(name)} has the same value in every row.", "Name another column.")
        # Amounts are float even if all of them are whole so far.
        return Target(Column(name, "float", nullable), "regression", (), len(finite), _describe(finite, whole=whole))
    _require_classes(quote_name(name), distinct, len(finite))
    counts = finite.value_counts()
    classes = tuple(
        (int(value) if kind == "int" else float(value), int(counts[value])) for value in sorted(counts.index)
    )
    return Target(Column(name, kind, nullable), "classification", classes, len(finite))


def _describe(numbers: pd.Series, *, whole: bool) -> Amounts:
    shares = numbers.value_counts(normalize=True)
    median = float(numbers.median())
    tail = float(numbers.mean()) / median if median > 0 else 0.0
    return Amounts(float(numbers.min()), whole, float(shares.index[0]), float(shares.iloc[0]), tail)


def _require_classes(name: str, distinct: int, rows: int) -> None:
    if distinct > MAX_CLASSES or distinct > max(2, rows / 2):
        raise DataError(
            f"--target: {name} has {distinct:,} different values in {rows_text(rows)}: neither amounts nor classes.",
            "Name a column of numbers or of few classes; for numbers take --task regression.",
        )
