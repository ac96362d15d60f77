"""What a decision keeps beside its outcome and reason: one frozen type for each kind of decision.

Those of what is watched, such as reports, are in `watch.py`. How a detail is written to the table and read from
it is `ledger/detail_json.py`; nobody else sees JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar

from evergreen.details.canary import CanaryDetail
from evergreen.details.watch import DataDetail, DriftDetail, Interval, PerformanceDetail, ShadowDetail, SkewDetail
from evergreen.verdicts import Check

Outcome = Literal["promoted", "rejected", "inconclusive", "unchanged", "awaiting-approval", "in-canary"]
"""What became of a retraining; `in-canary`: its version meets live traffic before it is champion."""

D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class MetricResult:
    """The deciding metric; `interval` is that of the improvement over the champion, positive is better."""

    name: str
    value: float | None
    champion_value: float | None = None
    interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class DriftResult:
    """The verdict of a drift report and the columns that drifted; `weights` is what each of these counts, 0 to 1."""

    verdict: str
    share: float
    columns: tuple[str, ...]
    reason: str
    report: str | None = None
    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RefusedBatch:
    """A batch of which something is in quarantine; `rows` is None where it was refused as a whole."""

    origin: str
    rows: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class WaitingBatch:
    """A batch that was left alone, and why."""

    origin: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ingested:
    """What came in: rows that are new or changed, and what was refused or left waiting.

    `labels` are rows that got a label from a source of labels, or another one; `labels_waiting` are those, of all runs,
    whose row is not there yet. `doubts` are sentences about what landed and may not be what it seems.
    """

    cached: bool
    rows: int
    quarantined: tuple[RefusedBatch, ...] = ()
    waiting: tuple[WaitingBatch, ...] = ()
    labels: int = 0
    labels_waiting: int = 0
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SnapshotFacts:
    """The observations that a retraining saw.

    Attributes:
        version: of their table.
        rows: how many there are.
        digest: of their content.
        start: the earliest time (ISO 8601, UTC); None without rows or without a time column.
        end: the latest time.
    """

    version: int
    rows: int
    digest: str
    start: str | None
    end: str | None


@dataclass(frozen=True, slots=True)
class RetrainDetail:
    """What became of a retraining: what the ledger keeps and what the run tells its caller.

    Attributes:
        version: the candidate; None where nothing was trained.
        champion: version in production afterwards; None before the first.
        reason: what the retraining was asked for.
        explanation: why it ended as it did, one sentence.
        flow_run: Prefect's id of the run; None outside of one.
        event_id: of the Prefect event that started it; None where none did.
    """

    model: str
    outcome: Outcome
    version: int | None
    champion: int | None
    reason: str
    explanation: str
    metric: MetricResult
    drift: DriftResult
    snapshot: SnapshotFacts
    decision_id: str
    ingest: Ingested
    checks: tuple[Check, ...] = ()
    flow_run: str | None = None
    event_id: str | None = None

    @property
    def report(self) -> str | None:
        """Path of Evidently's page; None where nothing was drawn."""
        return self.drift.report


@dataclass(frozen=True, slots=True)
class ApprovalDetail:
    """What was said of a version that waited.

    Attributes:
        version: the one that waited.
        name: the person's; empty where it was not told.
        canary: live traffic has said it, and no person.
    """

    version: int
    name: str = ""
    canary: bool = False


@dataclass(frozen=True, slots=True)
class EscalationDetail:
    """What a person was told.

    Attributes:
        retrains: how many retrainings in a row brought no new champion.
        last_outcome: of the newest of them.
        last_decision: the newest decision that is open or was answered in vain.
    """

    retrains: int
    last_outcome: str
    last_decision: str


@dataclass(frozen=True, slots=True)
class SuppressedDetail:
    """A request to retrain that came to nothing.

    Attributes:
        decision: the one that asked for it.
        asked_for: the reason of the request; None where it was held back before there was a run.
        event_id: of the event that started that run; None where none did.
    """

    decision: str
    asked_for: str | None = None
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class ReconciledDetail:
    """The flow run (`run`) that was started for a decision whose event was lost."""

    decision: str
    run: str


Detail = (
    DriftDetail
    | PerformanceDetail
    | SkewDetail
    | ShadowDetail
    | DataDetail
    | RetrainDetail
    | ApprovalDetail
    | EscalationDetail
    | SuppressedDetail
    | ReconciledDetail
    | CanaryDetail
)


def expect_detail(detail: object, wanted: type[D], owner: str) -> D:
    """The detail, if it is of the type that is wanted of its `owner`.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(detail, wanted):
        raise TypeError(f"{owner} has a {type(detail).__name__}, not a {wanted.__name__}.")
    return detail


def field_values(values: object, kind: type[Any]) -> dict[str, Any]:
    """The fields of `kind` by name, as an object of that type, or of one derived from it, has them."""
    return {each.name: getattr(values, each.name) for each in fields(kind)}
