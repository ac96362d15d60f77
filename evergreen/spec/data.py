"""What a model file says of its columns and its labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from evergreen.sources.base import Source
from evergreen.spec.fields import Frozen

if TYPE_CHECKING:
    from pandas import DataFrame
else:
    DataFrame = Any


class Features(Frozen):
    """The columns that the pipeline sees, by kind. Numbers arrive as float64, categories as text."""

    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Numeric columns first, then categorical ones: the order the pipeline sees."""
        return self.numeric + self.categorical

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if not self.all:
            raise ValueError("name at least one numeric or categorical column")
        twice = sorted({column for column in self.all if self.all.count(column) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is named twice")
        return self


class Notation(Frozen):
    """How the numbers of a column are written, such as 1.234,50 with a decimal comma and points between thousands.

    An amount in parentheses is negative, as accounts write it, and so is one with the minus behind it.

    Attributes:
        decimal: before the fraction.
        thousands: between groups of three digits; empty for none.
        remove: texts around the digits that say nothing, such as a currency or a percent sign: 4.2% becomes 4.2.
    """

    decimal: Literal[".", ","] = "."
    thousands: Literal["", ",", ".", " ", "'", "\u00a0", "\u202f"] = ""
    remove: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.decimal == self.thousands:
            raise ValueError(f"{self.decimal!r} cannot stand before the fraction and between thousands")
        if not all(self.remove):
            raise ValueError("remove: an empty text cannot be removed")
        return self


class Reading(Frozen):
    """What the texts of a file mean. The contract says which type a column has; this says how its values are written.

    Attributes:
        missing: texts that mean a missing value, beside the empty cell. In every column: a country with the code NA
            is missing if NA is named here.
        numbers: columns whose numbers are not written as 1234.5.
        times: columns whose times are not written as 2026-11-21T10:00:00: a format of strptime, or `s`, `ms`,
            `us` or `ns` for seconds, milliseconds, microseconds or nanoseconds since 1970.
        refuse_totals: reject the row of a file that looks like a total of the others; it is told either way.
    """

    missing: tuple[str, ...] = ()
    numbers: Mapping[str, Notation] = Field(default_factory=dict)
    times: Mapping[str, str] = Field(default_factory=dict)
    refuse_totals: bool = False


class Labels(Frozen):
    """Targets that come later than the rows they belong to, from a source of their own.

    Attributes:
        source: where they come from; its rows hold the model's keys and the target.
        prepare: turns a batch as it arrives into keys, target and `time`; None where they agree.
        time: the column that says when a label became known; None: when it landed.
    """

    source: Source
    prepare: Callable[[DataFrame], DataFrame] | None = None
    time: str | None = None
