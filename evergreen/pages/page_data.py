"""The types of a model's page: plain values, and nothing of how they look."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from evergreen.canary.report import CanaryReport
from evergreen.details.watch import RuleFigure
from evergreen.evaluation.judgement import Judgement
from evergreen.ledger.timeline_entries import Entry
from evergreen.pages.distributions import Distribution


@dataclass(frozen=True, slots=True)
class DriftPoint:
    """One drift report.

    Attributes:
        share: of the columns, or of their weight, that drifted, 0 to 1.
        worst: the column that came nearest to its threshold, or went the farthest beyond it; empty without scores.
        times: its score, as a multiple of the threshold.
        report: link to Evidently's page; empty where there is none.
    """

    id: str
    at: datetime
    verdict: str
    share: float
    champion: int | None
    reason: str
    worst: str
    times: float | None
    report: str


@dataclass(frozen=True, slots=True)
class ColumnRow:
    """One line of the newest drift table; `trend` is its scores as multiples of the threshold, oldest first."""

    name: str
    kind: str
    verdict: str
    score: float | None
    threshold: float | None
    method: str
    missing: float
    unseen: float
    weight: float
    reason: str
    trend: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """The metric in one performance report, or in one window.

    Attributes:
        at: of a report, when it was made; of a window, its first instant.
        before: what it was at the champion's promotion.
        row: of a window in the order of landing, the number of its first row; `at` is then the report's.
    """

    at: datetime
    verdict: str
    value: float | None
    low: float | None
    high: float | None
    before: float | None
    rows: int
    champion: int | None
    reason: str = ""
    row: int | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened to the model: `retrained`, `promoted`, `rolled back` or `lost`."""

    at: datetime
    what: str
    outcome: str
    version: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class VersionRow:
    """One version with what its gates said.

    Attributes:
        declined: who rejected it and why; empty where nobody did.
        made: when; None where the ledger does not know.
        facts: where it came from, by name.
        card: its model card as Markdown; empty where it has none.
    """

    number: int
    status: str
    aliases: tuple[str, ...]
    declined: str
    made: datetime | None
    judgement: Judgement | None
    facts: tuple[tuple[str, str], ...]
    card: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Everything that the page of one model shows.

    Attributes:
        at: when it was gathered (aware, UTC).
        threshold: share of the columns from which on a drift report fails, by the model file as it stands.
        reports: every drift report, oldest first.
        columns: the newest drift table that has columns, the worst first, and `columns_of` the report that it is of.
        measures: every performance report, oldest first; `windows`, the windows of the newest that has any.
        marks: retrains, promotions and rollbacks, oldest first.
        versions: the newest first.
        entries: the ledger, oldest first.
        rules: the champion beside rules of one line, of the newest performance report.
        canary: the challenger that meets live traffic, or the last that did; None where none ever did.
    """

    model: str
    task: str
    metric: str
    at: datetime
    threshold: float
    champion: int | None
    challenger: int | None
    previous: int | None
    reports: tuple[DriftPoint, ...]
    columns: tuple[ColumnRow, ...]
    columns_of: DriftPoint | None
    distributions: tuple[Distribution, ...]
    distributions_note: str
    measures: tuple[MetricPoint, ...]
    windows: tuple[MetricPoint, ...]
    marks: tuple[Mark, ...]
    versions: tuple[VersionRow, ...]
    entries: tuple[Entry, ...]
    rules: tuple[RuleFigure, ...] = ()
    canary: CanaryReport | None = None

    @property
    def canary_version(self) -> int | None:
        """The challenger that `canary` is about."""
        return self.canary.version if self.canary else None

    def last(self, *kinds: str) -> Entry | None:
        """The newest entry of some kinds."""
        return next((entry for entry in reversed(self.entries) if entry.kind in kinds), None)
