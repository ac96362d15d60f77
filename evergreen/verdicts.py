"""Three-valued verdicts with reasons, the shape of every decision."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """PASS and FAIL are proven; INCONCLUSIVE is everything else and never promotes."""

    PASS = "PASS"  # noqa: S105
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"

    @classmethod
    def worst(cls, verdicts: Iterable[Verdict]) -> Verdict:
        """FAIL if any fails, else INCONCLUSIVE if any is, else PASS; of nothing, INCONCLUSIVE."""
        kinds = set(verdicts)
        if cls.FAIL in kinds:
            return cls.FAIL
        return cls.PASS if kinds == {cls.PASS} else cls.INCONCLUSIVE


@dataclass(frozen=True, slots=True)
class Check:
    """One question that was asked of a candidate.

    Attributes:
        name: what was asked, such as `champion` or `slice weathersit=3`.
        status: the answer.
        value: what was measured; None where nothing could be.
        bound: what it was held against; None where there is no number.
        reason: one sentence a person can act on.
    """

    name: str
    status: Verdict
    value: float | None
    bound: float | None
    reason: str
