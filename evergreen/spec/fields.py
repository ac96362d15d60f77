"""The building blocks of a model file: frozen sections, and types with bounds."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from evergreen.markdown import many
from evergreen.spec.faults import LENGTH_TAGS, note

Share = Annotated[float, Field(ge=0, le=1)]


PositiveInt = Annotated[int, Field(gt=0)]


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("has to be longer than zero")
    return value


Duration = Annotated[timedelta, AfterValidator(_positive)]


@dataclass(frozen=True, slots=True, order=True, repr=False)
class Rows:
    """So many rows, where a model with `order="rows"` has a length that is a duration where rows have a time.

    Raises:
        ValueError: the count is no whole number above zero.
    """

    count: int

    def __post_init__(self) -> None:
        """Refuse what is no number of rows."""
        if type(self.count) is not int or self.count < 1:
            raise ValueError(f"Rows({self.count!r}): a number of rows is a whole number above zero")

    def __repr__(self) -> str:
        """As it is written in a model file."""
        return f"Rows({self.count})"

    def __str__(self) -> str:
        """As it stands in a sentence."""
        return many(self.count, "row")

    def __mul__(self, times: int) -> Rows:
        """So many times as many rows."""
        return Rows(self.count * times)

    __rmul__ = __mul__


def _kind_of_length(value: object) -> str:
    return LENGTH_TAGS[isinstance(value, Rows | dict)]


Length = Annotated[
    Annotated[Duration, Tag(LENGTH_TAGS[0])] | Annotated[Rows, Tag(LENGTH_TAGS[1])], Discriminator(_kind_of_length)
]
"""A duration, or so many rows: which of them a model takes follows from the order that its rows have."""


def distance(length: timedelta | Rows) -> Any:
    """What is added to or taken from the place of a row: a duration, or a whole number where a row's number is it."""
    return length.count if isinstance(length, Rows) else length


_LEFT_OUT: ContextVar[frozenset[str]] = ContextVar("left out", default=frozenset())


def left_out_fields() -> frozenset[str]:
    """The fields of the section that is being made whose mistakes are noted already: no default stands for them."""
    return _LEFT_OUT.get()


class Frozen(BaseModel):
    """Immutable, and a misspelt field is an error rather than a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    # Type checkers read the fields' own signature.
    if not TYPE_CHECKING:

        def __init__(self, **fields: Any) -> None:
            """Check the fields; while a model file is loaded, a mistake is noted and the section left empty."""
            # A section inside of it that was noted is not looked at again.
            sound = {name: value for name, value in fields.items() if is_sound(value)}
            left_out = _LEFT_OUT.set(frozenset(fields) - frozenset(sound))
            try:
                super().__init__(**sound)
                if len(sound) == len(fields):
                    return
            except ValidationError as error:
                if not note(type(self), error, fields):
                    raise
            finally:
                _LEFT_OUT.reset(left_out)
            for name, value in (("__dict__", {}), ("__pydantic_fields_set__", set())):
                object.__setattr__(self, name, value)
            for name in ("__pydantic_extra__", "__pydantic_private__"):
                object.__setattr__(self, name, None)


def is_sound(section: object) -> bool:
    """Whether a section's own fields are right; one that was noted as wrong has none."""
    if isinstance(section, tuple | list):
        return all(map(is_sound, section))
    return not isinstance(section, Frozen) or bool(section.__dict__)
