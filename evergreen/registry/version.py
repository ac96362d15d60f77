"""A registered version: its number, tags, status and aliases."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from evergreen.evaluation.judgement import Judgement
from evergreen.naming import champion_metric, holdout_metric
from evergreen.verdicts import Verdict

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
STATUS = "model_validation_status"
PENDING = "PENDING"
ROLLED_BACK = "rolled_back"
"""Tag of a version that was rolled back, with the reason."""
DECLINED = "declined"
"""Tag of a version that a person did not want, with the reason."""
DECLINED_BY = "declined_by"
"""Tag beside it: who that was, as `evergreen.actor` keeps it."""
REFUSED = "refused"
"""Tag of a version that live traffic proved worse than the champion, with the reason."""
CANARY = "canary"
"""Tag of a challenger that meets live traffic: the percent of the requests that it answers. Servers follow it; the
ledger knows why."""
CLEANED = "cleaned"
"""Tag of a version whose files were deleted to free the disk, with the time."""
DESCRIBED = "described"
"""Tag of a version: hashes of the descriptions that Evergreen wrote, to tell them from a person's."""


@dataclass(frozen=True, slots=True)
class VersionTags:
    """The tags of a version, read once. A text is empty, and a number None, where the tag is not there.

    Attributes:
        status: PENDING, PASSED, FAILED or INCONCLUSIVE.
        decision_id: the decision that made the version.
        reason: what asked for the retraining.
        compared_with: number of the champion that it was held against, as `lineage.against` writes it.
        data_version: of the table of observations; so are digest, rows, revision, start and end of those rows.
        next_row: rows with a smaller number were landed when it was trained.
        learned_end: the time of the newest labelled row that it was given.
        learned_row: the number of that row, where rows have the order of landing.
        known: labels that became known later did not count.
        recipe: what made it beside its rows, as a digest; equal to the champion's, it is a routine candidate.
        params: parameters given by hand, as `lineage.params_text` writes them.
        packages: installed versions, by package.
        trusted: the types beyond skops' own list that the stored pipeline holds; None where that was not kept.
        size_mb: of the stored files; 0 where that is not known.
        judged_sha256: of the stored fit that the gates judged, where another one is deployed; else empty.
        judged_rows: rows that this fit learned.
        deployed_rows: rows that the fit learned that is deployed.
        judgement_text: what the gates found, as `Judgement.to_text` writes it.
        rolled_back: why it was rolled back; None where it was not.
        adopted_from: the environment that it was carried over from; empty where it was trained here.
        adopted_version: its number there.
        train_value: of a version that was carried over, the deciding metric on the rows that it was trained on.
        declined: why a person did not want it; None where nobody said so.
        refused: how live traffic proved it worse; None where it did not.
        cleaned: when its files were deleted; None where they are kept.
        canary: percent of the requests that it answers as challenger; None where it meets no traffic.
        figures: the deciding metric by name: `holdout_NAME` of the version, `champion_NAME` of its champion then.
        raw: every tag as it is written, Evergreen's own without their prefix.
    """

    status: str = PENDING
    decision_id: str = ""
    reason: str = ""
    compared_with: str = ""
    data_version: int | None = None
    data_digest: str = ""
    data_rows: int | None = None
    data_revision: str = ""
    data_start: str = ""
    data_end: str = ""
    next_row: int = 0
    learned_end: str = ""
    learned_row: int | None = None
    known: str = ""
    spec_hash: str = ""
    recipe: str = ""
    params: str = ""
    seed: int | None = None
    flow_run: str = ""
    event_id: str = ""
    git_commit: str = ""
    git_dirty: bool = False
    machine: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    sha256: str = ""
    files_sha256: str = ""
    state_sha256: str = ""
    judged_sha256: str = ""
    judged_rows: int | None = None
    deployed_rows: int | None = None
    trusted: tuple[str, ...] | None = None
    size_mb: float = 0.0
    holdout_rows: int | None = None
    judgement_text: str = ""
    rolled_back: str | None = None
    declined: str | None = None
    declined_by: str | None = None
    refused: str | None = None
    cleaned: str | None = None
    adopted_from: str = ""
    adopted_version: int | None = None
    train_value: float | None = None
    canary: int | None = None
    described: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    raw: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, raw: Mapping[str, str]) -> VersionTags:
        """The tags as MLflow has them, Evergreen's own without their prefix."""
        texts = (
            *("decision_id", "reason", "compared_with", "data_digest", "data_revision", "data_start", "data_end"),
            *("learned_end", "known", "spec_hash", "recipe", "params", "flow_run", "event_id", "git_commit", "machine"),
            *("sha256", "files_sha256", "state_sha256", "judged_sha256", "adopted_from", DESCRIBED),
        )
        numbers = (
            "data_version",
            "data_rows",
            "learned_row",
            "seed",
            "holdout_rows",
            "judged_rows",
            "deployed_rows",
            "adopted_version",
            CANARY,
        )
        facts: dict[str, Any] = {name: raw.get(name, "") for name in texts}
        facts |= {name: _number(raw.get(name, "")) for name in numbers}
        facts |= {name: raw.get(name) for name in (ROLLED_BACK, DECLINED, DECLINED_BY, REFUSED, CLEANED)}
        return cls(
            **facts,
            next_row=_number(raw.get("next_row", "")) or 0,
            status=raw.get(STATUS, PENDING),
            git_dirty=raw.get("git_dirty") == "true",
            packages=_packages(raw.get("packages", "")),
            trusted=_names(raw.get("trusted", "")),
            size_mb=_figure(raw.get("size_mb", "")) or 0.0,
            train_value=_figure(raw.get("train_value", "")),
            judgement_text=raw.get("judgement", ""),
            figures=dict(_figures(raw)),
            raw=raw,
        )

    @property
    def judgement(self) -> Judgement | None:
        """What the gates found; None where nothing was written down."""
        return Judgement.of_text(self.judgement_text) if self.judgement_text else None

    @property
    def fits(self) -> str:
        """Which fits there are, for a person; empty where the judged one is deployed itself."""
        if not self.judged_sha256:
            return ""
        return f"judged is one of {self.judged_rows or '?'} rows, deployed is one of {self.deployed_rows or '?'} rows"


# A version that somebody else registered, or a tag that a person changed, is no reason to fail.


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _figure(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _figures(raw: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    for name, text in raw.items():
        figure = _figure(text)
        if name.startswith((holdout_metric(""), champion_metric(""))) and name != "holdout_rows" and figure is not None:
            yield name, figure


def _packages(text: str) -> dict[str, str]:
    try:
        packages = json.loads(text or "{}")
    except ValueError:
        return {}
    return {str(name): str(version) for name, version in packages.items()} if isinstance(packages, dict) else {}


def _names(text: str) -> tuple[str, ...] | None:
    try:
        names = json.loads(text or "null")
    except ValueError:
        return None
    return tuple(map(str, names)) if isinstance(names, list) else None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pipeline that is stored with its run and not registered yet.

    `stated` are the tags of the model file; `trusted`, the types beyond skops' own list that its pipelines hold;
    `judged_sha256` is of the fit that is judged, where another one is deployed.
    """

    run_id: str
    model_id: str
    sha256: str
    files_sha256: str
    state_sha256: str
    size_mb: float
    tags: Mapping[str, str]
    stated: Mapping[str, str] = field(default_factory=dict)
    trusted: tuple[str, ...] = ()
    judged_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Version:
    """A registered version.

    Attributes:
        number: MLflow's version number.
        tags: its tags.
        made: when it was registered (aware, UTC).
    """

    model: str
    number: int
    run_id: str
    model_id: str
    tags: VersionTags
    description: str
    made: datetime | None = None

    @property
    def status(self) -> str:
        """PENDING, PASSED, FAILED or INCONCLUSIVE."""
        return self.tags.status

    @property
    def label(self) -> str:
        """As a person names it."""
        return f"{self.model} version {self.number}"


def status_of(verdict: Verdict) -> str:
    """The validation status that a verdict gives a version."""
    return {Verdict.PASS: "PASSED", Verdict.FAIL: "FAILED"}.get(verdict, "INCONCLUSIVE")
