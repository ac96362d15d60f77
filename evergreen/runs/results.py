"""What a run tells its caller: the same facts for the terminal, the Prefect UI, MLflow and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from evergreen.data.snapshot import Snapshot
from evergreen.decision import Decision, Outcome
from evergreen.drift.report import DriftReport
from evergreen.ingest.landing import Landing
from evergreen.ledger.confirmation import Confirmation
from evergreen.ledger.promotions import Move
from evergreen.performance.report import PerformanceReport
from evergreen.performance.shadow_report import ShadowReport
from evergreen.verdicts import Check, Verdict


@dataclass(frozen=True, slots=True)
class MetricResult:
    """The deciding metric; `interval` is that of the improvement over the champion, positive is better."""

    name: str
    value: float | None
    champion_value: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class DriftResult:
    """The verdict of a drift report and the columns that drifted; `weights` is what each of these counts, 0 to 1."""

    verdict: str
    share: float
    columns: tuple[str, ...]
    reason: str
    report: str | None = None
    weights: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, report: DriftReport) -> DriftResult:
        """What is told of a report."""
        html = str(report.html) if report.html else None
        weights = {column.name: round(column.weight, 6) for column in report.columns if column.name in report.drifted}
        return cls(str(report.verdict), round(report.share, 6), report.drifted, report.reason, html, weights)


NO_DRIFT = DriftResult("INCONCLUSIVE", 0.0, (), "not looked at: nothing is new")


@dataclass(frozen=True, slots=True)
class Ingested:
    """What came in: rows that are new or changed, and what was refused or left waiting.

    `labels` are rows that got a label from a source of labels, or another one; `labels_waiting` are those, of all runs,
    whose row is not there yet.
    """

    cached: bool
    rows: int
    quarantined: tuple[Mapping[str, Any], ...] = ()
    waiting: tuple[Mapping[str, str], ...] = ()
    labels: int = 0
    labels_waiting: int = 0

    @classmethod
    def of(cls, landing: Landing, *, cached: bool) -> Ingested:
        """What is told of a landing; a cached one landed nothing this time."""
        if cached:
            return cls(True, 0, labels_waiting=landing.pending_labels)
        refused = tuple(
            {"origin": one.origin, "rows": one.rejected + one.superseded or None, "reason": one.problem or one.reason}
            for one in landing.quarantined
        )
        waiting = tuple({"origin": item.origin, "reason": item.reason} for item in landing.waiting)
        return cls(False, landing.added, refused, waiting, landing.labelled, landing.pending_labels)


@dataclass(frozen=True, slots=True)
class RetrainResult:
    """What became of a retraining; `flow_run` and `event_id`, Prefect's own, say what it was and what started it."""

    model: str
    outcome: Outcome
    version: int | None
    champion: int | None
    reason: str
    explanation: str
    metric: MetricResult
    drift: DriftResult
    snapshot: Snapshot
    decision_id: str
    ingest: Ingested
    checks: tuple[Check, ...] = field(default=())
    flow_run: str | None = None
    event_id: str | None = None

    @classmethod
    def of_json(cls, told: Mapping[str, Any], snapshot: Snapshot) -> RetrainResult:
        """The result that was kept as JSON; of the snapshot, JSON has only what is shown."""
        metric, drift, ingest = told["metric"], told["drift"], told["ingest"]
        interval = tuple(metric["interval"]) if metric["interval"] else None
        rebuilt = {
            "metric": MetricResult(**metric | {"interval": interval}),
            "drift": DriftResult(**drift | {"columns": tuple(drift["columns"]), "report": told["report"]}),
            "ingest": Ingested(**ingest | {key: tuple(ingest[key]) for key in ("quarantined", "waiting")}),
            "checks": tuple(Check(**check | {"status": Verdict(check["status"])}) for check in told["checks"]),
            "snapshot": snapshot,
        }
        return cls(**{key: value for key, value in told.items() if key != "report"} | rebuilt)

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        told = asdict(self)
        told["checks"] = [dict(asdict(check), status=str(check.status)) for check in self.checks]
        told["report"] = told["drift"].pop("report")
        snapshot = self.snapshot
        told["snapshot"] = {
            "version": snapshot.version,
            "rows": snapshot.rows,
            "digest": snapshot.digest,
            "start": snapshot.start,
            "end": snapshot.end,
        }
        return told


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
    ) -> MonitorResult:
        """What is told of a run; `decision` and `data` are what was stored, None where nothing was.

        `move` is the rollback of the promotion, where there was one.
        """
        told = DriftResult.of(drift)
        found = Confirmation.of_detail(decision.detail) if decision else None
        kept = decision.detail if decision else {}
        called, because = kept.get("called", True), kept.get("because", "")
        return cls(
            model=model,
            verdict=decision.outcome if decision else told.verdict,
            share=told.share,
            columns=told.columns,
            reason=decision.reason if decision else told.reason,
            decision_id=decision.id if decision else None,
            confirmed=found is not None and found.confirmed and called,
            doubt=(found.doubt if called else because) if found and decision and decision.outcome == "FAIL" else "",
            report=told.report,
            champion=move.after if move else champion,
            performance=performance,
            shadow=shadow,
            rolled_back=move.before if move else None,
            data=data.id if data else None,
            ingest=ingest,
        )

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class MoveResult:
    """What a promotion, a rejection or a rollback by hand did; `champion` is 0 before the first.

    Attributes:
        rejected: the version that was rejected; None where one was promoted or rolled back.
    """

    model: str
    action: str
    champion: int
    previous: int | None
    reason: str
    changed: bool
    rejected: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        return asdict(self)


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
