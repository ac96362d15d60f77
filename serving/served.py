"""What was answered, on its way into the lake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serving.challenger import OpenCanary
from serving.protocols.call import Call
from serving.version import Answer, ServedVersion

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, eq=False)
class OnTrial:
    """A request that was answered while a canary was open, for the comparison of the two.

    Attributes:
        canary: the two versions.
        call: what was asked.
        failed: the aliases of those that failed to answer it, or answered too late.
    """

    canary: OpenCanary
    call: Call
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """The rows of one request with their answers.

    Attributes:
        version: that answered.
        request: its id.
        received_at: Unix time in seconds.
        microseconds: what the request took.
        values: what the pipeline got for each row.
        answers: one for each row.
        rows: JSON objects with the contract's columns; None where `checked` has them.
        checked: the rows after the contract, with their keys and time, maybe among those of other requests.
        first: the position of the first of them in `checked`.
        trial: what the other version is asked as well; None where no canary was open.
    """

    version: ServedVersion
    request: str
    received_at: float
    microseconds: int
    values: Sequence[Sequence[Any]]
    answers: Sequence[Answer]
    rows: Sequence[Mapping[str, Any]] | None = None
    checked: pd.DataFrame | None = None
    first: int = 0
    trial: OnTrial | None = None
