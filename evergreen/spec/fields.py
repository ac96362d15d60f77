"""The building blocks of a model file: frozen sections, and types with bounds."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

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
