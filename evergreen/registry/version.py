"""A registered version: its number, tags, status and aliases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from evergreen.verdicts import Verdict

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"


STATUS = "model_validation_status"


PENDING = "PENDING"


DECLINED = "declined"
"""Tag of a version that a person did not want, with the reason."""


DECLINED_BY = "declined_by"
"""Tag beside it: who that was, as `evergreen.actor` keeps it."""


CLEANED = "cleaned"
"""Tag of a version whose files were deleted to free the disk, with the time."""


DESCRIBED = "described"
"""Tag of a version: hashes of the descriptions that Evergreen wrote, to tell them from a person's."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pipeline that is stored with its run and not registered yet; `stated` are the tags of the model file."""

    run_id: str
    model_id: str
    sha256: str
    files_sha256: str
    state_sha256: str
    size_mb: float
    tags: Mapping[str, str]
    stated: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Version:
    """A registered version.

    Attributes:
        number: MLflow's version number.
        tags: its tags; those of Evergreen without their prefix.
        made: when it was registered (aware, UTC).
    """

    model: str
    number: int
    run_id: str
    model_id: str
    tags: Mapping[str, str]
    description: str
    made: datetime | None = None

    @property
    def status(self) -> str:
        """PENDING, PASSED, FAILED or INCONCLUSIVE."""
        return self.tags.get(STATUS, PENDING)

    @property
    def label(self) -> str:
        """As a person names it."""
        return f"{self.model} version {self.number}"


def status_of(verdict: Verdict) -> str:
    """The validation status that a verdict gives a version."""
    return {Verdict.PASS: "PASSED", Verdict.FAIL: "FAILED"}.get(verdict, "INCONCLUSIVE")
