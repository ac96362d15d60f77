"""The judge of a plan: does it answer as the pipeline does, on real rows and on rows made to find a difference?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from evergreen.data.frames import model_frame
from evergreen.spec.model import ModelSpec
from evergreen.training.predict import predict
from serving.plan.compile import NoAnswerError, Plan
from serving.plan.made_rows import CATEGORY, MISSING, POOL, MadeRows, mixed_rows, threshold_rows, value_rows

if TYPE_CHECKING:
    from pandas import DataFrame
    from sklearn.pipeline import Pipeline

RELATIVE = 1e-9
"""Between two numbers: sums in another order differ by some 1e-15, a wrong leaf by far more."""

OF_A_PROBABILITY = 1e-12
"""Between two probabilities, beside `RELATIVE`: 1 - p of a p next to 1 keeps only that many digits."""

Answer = tuple[Any, tuple[float, ...] | None]


@dataclass(frozen=True, slots=True)
class Parity:
    """Whether a plan answers as its pipeline.

    Attributes:
        equal: on every row that was tried.
        reason: a sentence; of a difference, what the first such row was made for. Never a value of a row.
        rows: how many were tried.
    """

    equal: bool
    reason: str
    rows: int


def check_parity(plan: Plan, pipeline: Pipeline, spec: ModelSpec, rows: DataFrame, seed: int) -> Parity:
    """Compare a plan with its pipeline.

    Labels have to be equal, numbers to differ by at most `RELATIVE` of the larger one. Where the pipeline raises, such
    as for a missing number, the plan has to raise as well: a row that it answers there counts as different, whatever
    the contract lets through. Anything that goes wrong in the check itself counts as a difference.

    Args:
        plan: as compiled.
        pipeline: that it was compiled from.
        spec: its model.
        rows: real rows, as observations hold them; at least one that the pipeline takes.
        seed: of the made rows.
    """
    if not len(rows):
        return Parity(False, "There are no real rows to compare on.", 0)
    check = _Check(plan, pipeline, spec)
    try:
        with np.errstate(all="ignore"):
            _try_rows(check, rows, np.random.default_rng(seed))
    except Exception as error:
        return Parity(False, f"The comparison itself failed with {type(error).__name__}.", check.tried)
    if check.differences:
        differ = f"{len(check.differences)} of {check.tried} rows are answered differently"
        return Parity(False, f"{differ}; the first is {check.differences[0]}.", check.tried)
    return Parity(True, f"{check.tried} rows are answered alike, of which {len(rows)} are real.", check.tried)


@dataclass(slots=True)
class _Check:
    """A comparison under way."""

    plan: Plan
    pipeline: Pipeline
    spec: ModelSpec
    tried: int = 0
    differences: list[str] = field(default_factory=list)

    def compare(self, made: MadeRows) -> list[bool]:
        """Try some rows; of each, whether the pipeline answers it."""
        if made.frame.empty:
            return []
        rows = zip(*(_cells(made.frame[name].tolist()) for name in self.plan.columns), strict=True)
        found = [_ask_plan(self.plan, row) for row in rows]
        expected = _answers(self.pipeline, self.spec, made.frame, [answer is None for answer in found])
        for (column, purpose), answer, wanted in zip(made.purposes, found, expected, strict=True):
            difference = _difference(answer, wanted)
            if difference:
                where = f"{purpose} in {column!r}" if column else purpose
                self.differences.append(f"one with {where}, where {difference}")
        self.tried += len(expected)
        return [answer is not None for answer in expected]


def _try_rows(check: _Check, rows: DataFrame, random: np.random.Generator) -> None:
    """Real rows, then made ones; what the pipeline refuses is not used for further ones."""
    import pandas as pd

    features = check.spec.features
    real = model_frame(rows, features).reset_index(drop=True)
    real = real[check.compare(MadeRows(real, [("", "real cells only")] * len(real)))]
    if real.empty:
        check.differences.append("a real one, which the pipeline refuses as all others")
        return
    values = value_rows(check.pipeline, real, features, random)
    answered = check.compare(values)
    gaps = [
        column
        for (column, purpose), is_answered in zip(values.purposes, answered, strict=True)
        if purpose == MISSING and is_answered
    ]
    texts: dict[str, list[str]] = {}
    for place, (column, purpose) in enumerate(values.purposes):
        if purpose == CATEGORY and answered[place]:
            texts.setdefault(column, []).append(str(values.frame[column].iloc[place]))
    mixed = mixed_rows(real, gaps, texts, random)
    usable = mixed.frame[check.compare(mixed)]
    some = real.sample(min(len(real), POOL), random_state=random)
    pool = model_frame(pd.concat([some, usable], ignore_index=True), features)
    check.compare(threshold_rows(check.pipeline, pool, gaps, features, random))


def _ask_plan(plan: Plan, row: Sequence[Any]) -> Answer | None:
    try:
        return plan.predict(row)
    except NoAnswerError:
        return None


def _answers(pipeline: Pipeline, spec: ModelSpec, frame: DataFrame, alone: Sequence[bool]) -> list[Answer | None]:
    """What the pipeline says of each row, None where it raises.

    Rows are asked all at once, and by halves where one of them is refused; those of `alone`, which the plan refuses,
    are asked one by one.
    """
    answers: list[Answer | None] = [None] * len(frame)
    for place, is_alone in enumerate(alone):
        if is_alone:
            (answers[place],) = _predictions(pipeline, spec, frame.iloc[[place]])
    together = [place for place, is_alone in enumerate(alone) if not is_alone]
    found = _predictions(pipeline, spec, frame.iloc[together]) if together else []
    for place, answer in zip(together, found, strict=True):
        answers[place] = answer
    return answers


def _predictions(pipeline: Pipeline, spec: ModelSpec, frame: DataFrame) -> list[Answer | None]:
    try:
        found = predict(pipeline, spec, frame)
    except ValueError:
        if len(frame) == 1:
            return [None]
        half = len(frame) // 2
        return [
            *_predictions(pipeline, spec, frame.iloc[:half]),
            *_predictions(pipeline, spec, frame.iloc[half:]),
        ]
    chances: Sequence[Any] = [None] * len(frame) if found.probability is None else found.probability.tolist()
    return [
        (value, None if each is None else tuple(each))
        for value, each in zip(found.values.tolist(), chances, strict=True)
    ]


def _cells(column: Sequence[Any]) -> list[Any]:
    """A missing number is NaN, a missing text None."""
    if any(isinstance(cell, str) for cell in column):
        return [cell if isinstance(cell, str) else None for cell in column]
    return list(column)


def _difference(answer: Answer | None, expected: Answer | None) -> str:
    """What differs between the plan's answer and the pipeline's; empty for nothing."""
    if answer is None or expected is None:
        if answer is expected:
            return ""
        does, has = ("refuses", "answers") if answer is None else ("answers", "refuses")
        return f"the plan {does} what the pipeline {has}"
    (value, chances), (expected_value, expected_chances) = answer, expected
    if not _alike_chances(chances, expected_chances):
        return "a probability is another"
    if isinstance(value, float) and isinstance(expected_value, float):
        return "" if _alike(value, expected_value, 0.0) else "the prediction is another"
    return "" if value == expected_value and type(value) is type(expected_value) else "the class is another"


def _alike_chances(chances: tuple[float, ...] | None, expected: tuple[float, ...] | None) -> bool:
    if chances is None or expected is None:
        return chances is expected
    pairs = zip(chances, expected, strict=True)
    return len(chances) == len(expected) and all(_alike(*pair, OF_A_PROBABILITY) for pair in pairs)


def _alike(one: float, other: float, tolerance: float) -> bool:
    if one == other or (math.isnan(one) and math.isnan(other)):
        return True
    return math.isclose(one, other, rel_tol=RELATIVE, abs_tol=tolerance)
