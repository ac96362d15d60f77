"""What a model file says of its columns and its labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from pydantic import model_validator

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
