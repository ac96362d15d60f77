"""The text of a plan while it is written: Python functions made of numbers and of counted names only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from serving.plan import row_functions

TERMS_IN_LINE = 16
"""A longer sum is spread over lines: what Python parses is nested as deep as it has terms."""


class NotCompiledError(Exception):
    """Why a pipeline has no plan: str(error) is a whole sentence without a final period."""


@dataclass(frozen=True, slots=True)
class Column:
    """One value on its way through a plan.

    Attributes:
        variable: the variable of the plan that holds it.
        text: it is a text or None (missing); else a float or NaN (missing).
        missing: it can be missing.
        bounded: it is neither infinite nor too large for float32, whatever the row.
    """

    variable: str
    text: bool = False
    missing: bool = True
    bounded: bool = False


@dataclass(frozen=True, slots=True)
class Matrix:
    """What one step of a pipeline hands to the next: one row of it.

    Attributes:
        columns: in their order.
        names: of the columns, where the step gets a frame; None for an array.
        sparse: scikit-learn holds it as a sparse matrix.
    """

    columns: tuple[Column, ...]
    names: tuple[str, ...] | None = None
    sparse: bool = False

    def of(self, columns: Sequence[Column]) -> Matrix:
        """The same kind of array with other columns."""
        return replace(self, columns=tuple(columns), names=None)


@dataclass(slots=True)
class Program:
    """The lines of a plan and the objects that they name.

    A line holds numbers, operators and names that `new` and `keep` have counted. A string of the model, such as a
    category or a label, is an object that a line names, and never part of a line.
    """

    lines: list[str] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)
    objects: dict[str, Any] = field(default_factory=lambda: dict(row_functions.BY_NAME))
    counted: int = 0

    def new(self, letter: str) -> str:
        """A name that no other has."""
        self.counted += 1
        return f"{letter}{self.counted}"

    def keep(self, value: Any) -> str:
        """The name by which a line reaches an object."""
        name = self.new("K")
        self.objects[name] = value
        return name

    def add(self, line: str) -> None:
        """Add a line at the end."""
        self.lines.append(line)

    def let(self, expression: str) -> str:
        """Give a value to a new variable."""
        variable = self.new("x")
        self.add(f"{variable} = {expression}")
        return variable

    def let_sum(self, terms: Sequence[str]) -> str:
        """Give the sum of terms to a new variable, added from left to right."""
        total = self.let(" + ".join(terms[:TERMS_IN_LINE]) or "0.0")
        for start in range(TERMS_IN_LINE, len(terms), TERMS_IN_LINE):
            self.add(f"{total} = {' + '.join((total, *terms[start : start + TERMS_IN_LINE]))}")
        return total

    def build(self) -> Callable[[Sequence[Any]], Any]:
        """The function that the lines are the body of."""
        body = "".join(f" {line}\n" for line in self.lines)
        text = "".join(self.functions) + f"def predict(values):\n{body}"
        # Nothing in the text comes from outside: `number` writes numbers, `new` and `keep` count names.
        exec(compile(text, "<plan>", "exec"), self.objects)  # noqa: S102
        function: Callable[[Sequence[Any]], Any] = self.objects["predict"]
        return function


def number(value: float) -> str:
    """A float as Python reads it back, to the bit."""
    value = float(value)
    if math.isfinite(value):
        return repr(value)
    return "NAN" if math.isnan(value) else "INF" if value > 0 else "-INF"


def refuse_infinite(program: Program, columns: Sequence[Column]) -> None:
    """Raise for an infinite number, as most transformers do."""
    _guard(program, [column for column in columns if not column.bounded], "no_infinity")


def refuse_missing(program: Program, columns: Sequence[Column]) -> None:
    """Raise for a missing or infinite number, as linear models do."""
    _guard(program, [column for column in columns if column.missing or not column.bounded], "no_gap")


def refuse_beyond_float32(program: Program, columns: Sequence[Column], missing: bool) -> None:
    """Raise for a number that float32 cannot hold, and for a missing one unless the trees take them."""
    if not missing:
        refuse_missing(program, [column for column in columns if column.missing])
    loose = [column.variable for column in columns if not column.bounded]
    for start in range(0, len(loose), TERMS_IN_LINE):
        some = loose[start : start + TERMS_IN_LINE]
        inside = " and ".join(f"-FLOAT32 < {variable} < FLOAT32" for variable in some)
        program.add(f"if not ({inside}): in_float32(({', '.join(some)},))")


def _guard(program: Program, columns: Sequence[Column], function: str) -> None:
    """Ask `function` about the numbers if their sum is not finite, which costs least where all are."""
    if columns:
        variables = [column.variable for column in columns]
        total = program.let_sum(variables)
        program.add(f"if {total} - {total} != 0.0: {function}(({', '.join(variables)},))")
