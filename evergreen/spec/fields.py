"""The building blocks of a model file: frozen sections, and types with bounds."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from evergreen.spec.faults import note

Share = Annotated[float, Field(ge=0, le=1)]


PositiveInt = Annotated[int, Field(gt=0)]


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("has to be longer than zero")
    return value


Duration = Annotated[timedelta, AfterValidator(_positive)]


class Frozen(BaseModel):
    """Immutable, and a misspelt field is an error rather than a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    # Type checkers read the fields' own signature.
    if not TYPE_CHECKING:

        def __init__(self, **fields: Any) -> None:
            """Check the fields; while a model file is loaded, a mistake is noted and the section left empty."""
            # A section inside of it that was noted is not looked at again.
            sound = {name: value for name, value in fields.items() if is_sound(value)}
            try:
                super().__init__(**sound)
                if len(sound) == len(fields):
                    return
            except ValidationError as error:
                if not note(type(self), error, fields):
                    raise
            for name, value in (("__dict__", {}), ("__pydantic_fields_set__", set())):
                object.__setattr__(self, name, value)
            for name in ("__pydantic_extra__", "__pydantic_private__"):
                object.__setattr__(self, name, None)


def is_sound(section: object) -> bool:
    """Whether a section's own fields are right; one that was noted as wrong has none."""
    if isinstance(section, tuple | list):
        return all(map(is_sound, section))
    return not isinstance(section, Frozen) or bool(section.__dict__)
