"""What a run tells its caller: the same facts for the terminal, the Prefect UI, MLflow and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from evergreen.data.snapshot import Snapshot
from evergreen.decision import Decision
from evergreen.details.decision import DriftResult, Ingested, RefusedBatch, SnapshotFacts, WaitingBatch
from evergreen.details.watch import DriftDetail
from evergreen.drift.report import DriftReport
from evergreen.ingest.landing import BatchReport, Landing
from evergreen.ledger.confirmation import Confirmation
from evergreen.ledger.detail_json import detail_to_json, ingested_to_json
from evergreen.ledger.promotions import Move
from evergreen.performance.report import PerformanceReport
from evergreen.performance.shadow_report import ShadowReport
from evergreen.performance.skew_report import NOT_SERVED, SkewReport

NO_DRIFT = DriftResult("INCONCLUSIVE", 0.0, (), "not looked at: nothing is new")


def describe_drift(report: DriftReport) -> DriftResult:
    """What is told of a drift report."""
    weights = {column.name: round(column.weight, 6) for column in report.columns if column.name in report.drifted}
    return DriftResult(str(report.verdict), round(report.share, 6), report.drifted, report.reason, report.page, weights)


def describe_landing(landing: Landing, *, cached: bool, unmatched: str = "") -> Ingested:
    """What is told of a landing; a cached one landed nothing this time.

    `unmatched` is the sentence about files that are not taken; empty for none.
    """
    not_taken = (unmatched,) if unmatched else ()
    if cached:
        return Ingested(True, 0, labels_waiting=landing.pending_labels, doubts=not_taken)
    refused = tuple(
        RefusedBatch(batch.origin, batch.rejected + batch.superseded or None, _with_remedy(batch))
        for batch in landing.quarantined
    )
    waiting = tuple(WaitingBatch(batch.origin, batch.reason) for batch in landing.waiting)
    doubts = (*landing.doubts, *not_taken)
    return Ingested(False, landing.added, refused, waiting, landing.labelled, landing.pending_labels, doubts=doubts)


def _with_remedy(batch: BatchReport) -> str:
    reason = batch.problem or batch.reason
    return f"{reason}. {batch.remedy}." if batch.remedy else reason


def describe_snapshot(snapshot: Snapshot) -> SnapshotFacts:
    """What is told of the observations that a run saw."""
    return SnapshotFacts(snapshot.version, snapshot.rows, snapshot.digest, snapshot.start, snapshot.end)


@dataclass(frozen=True, slots=True)
class MonitorResult:
    """What a monitor run saw and decided.

    Attributes:
        verdict: of the drift report; so are share, columns, reason and report.
        decision_id: of the drift decision; None before there is a champion.
        confirmed: the drift report calls for a retraining.
        doubt: why a failed drift report does not.
        performance: how the champion does on labelled rows.
        shadow: what the promotion that made the champion brought.
        skew: what the champion was asked online beside what landed later.
        rolled_back: the version that was champion until this run took it back; None where it stayed.
        champion: in production at the end of the run.
        data: the decision that new data calls for a retraining; None where there is none or the model file asks for
            none.
    """

    model: str
    verdict: str
    share: float
    columns: tuple[str, ...]
    reason: str
    decision_id: str | None
    confirmed: bool
    doubt: str
    report: str | None
    champion: int | None
    performance: PerformanceReport
    shadow: ShadowReport
    rolled_back: int | None
    data: str | None
    ingest: Ingested
    skew: SkewReport = NOT_SERVED

    @classmethod
    def of(
        cls,
        model: str,
        champion: int | None,
        drift: DriftReport,
        decision: Decision | None,
        performance: PerformanceReport,
        shadow: ShadowReport,
        move: Move | None,
        data: Decision | None,
        ingest: Ingested,
        skew: SkewReport = NOT_SERVED,
    ) -> MonitorResult:
        """What is told of a run; `decision` and `data` are what was stored, None where nothing was.

        `move` is the rollback of the promotion, where there was one.
        """
        description = describe_drift(drift)
        stored = decision.detail_as(DriftDetail) if decision else None
        return cls(
            model=model,
            verdict=decision.outcome if decision else description.verdict,
            share=description.share,
            columns=description.columns,
            reason=decision.reason if decision else description.reason,
            decision_id=decision.id if decision else None,
            confirmed=stored is not None and stored.confirmed and stored.called,
            doubt=_doubt(stored) if stored and decision and decision.outcome == "FAIL" else "",
            report=description.report,
            champion=move.after if move else champion,
            performance=performance,
            shadow=shadow,
            rolled_back=move.before if move else None,
            data=data.id if data else None,
            ingest=ingest,
            skew=skew,
        )

    def to_json(self) -> dict[str, Any]:
        """As one JSON object; `skew` only of a model that was asked online."""
        reports = {"performance": _report_json(self.performance), "shadow": _report_json(self.shadow)}
        told = asdict(self) | reports | {"ingest": ingested_to_json(self.ingest)}
        skew = told.pop("skew")
        return told | {"skew": _report_json(self.skew)} if skew["rows"] else told


def _report_json(report: PerformanceReport | ShadowReport | SkewReport) -> dict[str, Any]:
    facts = {"verdict": str(report.verdict), "reason": report.reason, "decision_id": report.decision_id}
    return facts | detail_to_json(report.detail)


def _doubt(detail: DriftDetail) -> str:
    """Why a failed report calls for no retraining; empty where it does."""
    return Confirmation.of_detail(detail).doubt if detail.called else detail.because or ""


@dataclass(frozen=True, slots=True)
class MoveResult:
    """What a promotion, a rejection, a rollback or a loss did; `champion` is 0 where there is none.

    Attributes:
        rejected: the version that was rejected; None where none was.
        lost: the champion whose loss was accepted; None where none was.
    """

    model: str
    action: str
    champion: int
    previous: int | None
    reason: str
    changed: bool
    rejected: int | None = None
    lost: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As one JSON object; `lost` only of a loss."""
        told = asdict(self)
        return told if self.lost is not None else {name: told[name] for name in told if name != "lost"}


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """What a scoring did.

    Attributes:
        version: the champion that scored; None before there is one, and nothing was scored.
        rows_in: rows of the input; those that `prepare` leaves out are neither scored nor rejected.
        output: where the predictions went beside the log, as it may be shown.
        run_id: of the flow run.
        batch: the input's id in the log.
        repeated: rows of these that had been scored by an earlier run already.
        rows_per_second: rows that this run read, by the time from the first chunk to the last commit.
        versions: rows scored by the version that scored them; more than one where a run went on after a promotion.
        reasons: rows rejected by reason.
    """

    model: str
    version: int | None
    rows_in: int
    rows_scored: int
    rows_rejected: int
    output: str | None
    run_id: str
    batch: str = ""
    repeated: int = 0
    rows_per_second: float = 0.0
    versions: Mapping[int, int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        return asdict(self)
