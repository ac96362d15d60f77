"""From what was found to the decision that is kept of it; who stores it, a flow or a replay, is not known here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from evergreen import naming
from evergreen.data.snapshot import Snapshot
from evergreen.decision import Decision, Kind, decision_id, suppressed
from evergreen.details.decision import Detail, Ingested, MetricResult, Outcome, RetrainDetail
from evergreen.details.watch import DataDetail, DriftDetail, TriggerDetail
from evergreen.drift.report import DriftReport
from evergreen.evaluation.judgement import Judgement
from evergreen.ledger.confirmation import confirm
from evergreen.ledger.decisions import Ledger
from evergreen.ledger.policy_query import ask_for_decision
from evergreen.markdown import many
from evergreen.performance.report import PerformanceReport
from evergreen.performance.shadow_report import ShadowReport
from evergreen.performance.skew_report import SkewReport
from evergreen.registry.version import Version
from evergreen.runs.results import NO_DRIFT, describe_drift, describe_snapshot
from evergreen.spec.model import ModelSpec
from evergreen.training.plan import Plan


class DecisionRecorder:
    """Writes the decisions of one run down.

    Attributes:
        spec: the model.
        ledger: where they are kept.
        now: the run's logical time (aware, UTC).
        flow_run: the Prefect flow run; empty outside of one.
    """

    __slots__ = ("flow_run", "ledger", "now", "spec")

    def __init__(self, spec: ModelSpec, ledger: Ledger, now: datetime, flow_run: str = "") -> None:
        self.spec, self.ledger, self.now, self.flow_run = spec, ledger, now, flow_run

    def drift(
        self, champion: Version | None, snapshot: Snapshot, report: DriftReport, answered_by: str = ""
    ) -> Decision | None:
        """Keep a drift report; None before there is a champion.

        What was stored of the same question before stays and is returned.

        `answered_by` is the retraining that this report is part of: it calls for no other one.
        """
        decision_id = report.decision_id
        if champion is None or decision_id is None:
            return None
        stored = self.ledger.find("drift", decision_id)
        if stored is not None:
            return stored
        told, policy = describe_drift(report), self.spec.drift
        confirmation = confirm(
            policy,
            self.ledger.all("drift") if policy.of > 1 else (),
            champion=champion.number,
            digest=snapshot.digest,
            verdict=report.verdict,
            answered_by=answered_by,
        )
        self.ledger.record_scores(decision_id, self.now, champion.number, report.columns)
        detail = DriftDetail(
            share=told.share,
            threshold=report.threshold,
            columns=told.columns,
            report=told.report,
            confirmed=confirmation.confirmed,
            failed=(confirmation.failed, confirmation.of),
            needed=confirmation.needed,
            answered_by=confirmation.answered_by,
        )
        return self._kept(decision_id, "drift", str(report.verdict), champion, snapshot, report.reason, detail)

    def performance(self, champion: Version | None, snapshot: Snapshot, report: PerformanceReport) -> Decision | None:
        """Keep a performance report; None before there is a champion."""
        decision_id = report.decision_id
        if champion is None or decision_id is None:
            return None
        outcome = str(report.verdict)
        return self._kept(decision_id, "performance", outcome, champion, snapshot, report.reason, report.detail)

    def skew(self, champion: Version | None, snapshot: Snapshot, report: SkewReport) -> Decision | None:
        """Keep a look at what was served; None where it was kept before, or nothing was decided."""
        decision_id = report.decision_id
        if decision_id is None or self.ledger.find("skew", decision_id) is not None:
            return None
        outcome = str(report.verdict)
        return self._kept(decision_id, "skew", outcome, champion, snapshot, report.reason, report.detail)

    def shadow(self, champion: Version | None, snapshot: Snapshot, report: ShadowReport) -> Decision | None:
        """Keep whether a promotion helped; None where that was kept before, or nothing was decided."""
        decision_id = report.decision_id
        if decision_id is None or self.ledger.find("shadow", decision_id) is not None:
            return None
        outcome = str(report.verdict)
        return self._kept(decision_id, "shadow", outcome, champion, snapshot, report.reason, report.detail)

    def data(self, champion: Version | None, snapshot: Snapshot) -> Decision | None:
        """Keep that data landed, where the model file asks for a retraining then; None where there is no news."""
        if "data" not in self.spec.retraining.triggers:
            return None
        ledger = self.ledger
        news = data_question(self.spec, champion, snapshot, (ledger.last("data"), ledger.last("retrain")))
        if news is None:
            return None
        asked, rows = news
        since = f"{many(rows, 'row')} landed since the champion's"
        reason = since if champion else f"{many(rows, 'row')} landed, and there is no champion"
        return self._kept(asked, "data", "LANDED", champion, snapshot, reason, DataDetail(rows))

    def retrain(self, result: RetrainDetail, compared_with: int | None) -> None:
        """Keep what became of a candidate, or why there is none: that answers nothing."""
        entry = Decision(
            id=result.decision_id,
            kind="retrain",
            at=self.now,
            outcome=result.outcome,
            champion=compared_with,
            snapshot=result.snapshot.version,
            digest=result.snapshot.digest,
            reason=result.explanation,
            detail=result,
            flow_run=self.flow_run,
        )
        if result.outcome == "unchanged":
            entry = suppressed(
                self.spec.name,
                entry,
                why=entry.reason,
                at=self.now,
                flow_run=self.flow_run,
                asked_for=result.reason,
                event_id=result.event_id,
            )
        self.ledger.record(entry)

    def conclude(
        self,
        plan: Plan,
        ingested: Ingested,
        champion: Version | None,
        outcome: Outcome | None = None,
        version: Version | None = None,
        drift: DriftReport | None = None,
        judgement: Judgement | None = None,
    ) -> RetrainDetail:
        """Keep what became of a retraining, and of its drift report; `champion` is in production afterwards."""
        result = retrain_result(
            self.spec, plan, ingested, champion, outcome, version, drift, judgement, self.flow_run or None
        )
        if drift is not None and drift.columns:
            self.drift(plan.champion, plan.snapshot, drift, answered_by=plan.decision_id)
        if plan.answer is None:
            self.retrain(result, plan.champion.number if plan.champion else None)
        return result

    def _kept(
        self,
        asked: str,
        kind: Kind,
        outcome: str,
        champion: Version | None,
        snapshot: Snapshot,
        reason: str,
        detail: Detail,
    ) -> Decision:
        number = champion.number if champion else None
        about = (snapshot.version, snapshot.digest, reason)
        decision = Decision(asked, kind, self.now, outcome, number, *about, detail, self.flow_run)
        answer = ask_for_decision(self.spec, self.ledger, decision, snapshot.rows)
        if answer is not None and isinstance(detail, TriggerDetail):
            stored = self.ledger.find(kind, asked)
            if stored is not None:
                return stored
            decision = replace(decision, detail=replace(detail, called=answer.retrain, because=answer.reason))
        self.ledger.record(decision)
        return decision


def retrain_result(
    spec: ModelSpec,
    plan: Plan,
    ingested: Ingested,
    champion: Version | None,
    outcome: Outcome | None = None,
    version: Version | None = None,
    drift: DriftReport | None = None,
    judgement: Judgement | None = None,
    flow_run: str | None = None,
) -> RetrainDetail:
    """What became of a retraining; `champion` is in production afterwards."""
    metric = spec.metric.name
    return RetrainDetail(
        model=spec.name,
        outcome=outcome or plan.settled or "inconclusive",
        version=version.number if version else _answered_version(plan),
        champion=champion.number if champion else None,
        reason=plan.request.reason,
        explanation=plan.explanation if judgement is None else judgement.explanation,
        metric=MetricResult(metric, _last_value(champion, metric))
        if judgement is None
        else MetricResult(metric, judgement.value, judgement.champion_value, judgement.interval),
        drift=describe_drift(drift) if drift else NO_DRIFT,
        snapshot=describe_snapshot(plan.snapshot),
        decision_id=plan.decision_id,
        ingest=ingested,
        checks=judgement.checks if judgement else (),
        flow_run=flow_run,
        event_id=plan.request.event_id,
    )


def _answered_version(plan: Plan) -> int | None:
    detail = plan.answer.detail if plan.answer else None
    return detail.version if isinstance(detail, RetrainDetail) else None


def _last_value(champion: Version | None, metric: str) -> float | None:
    return champion.tags.figures.get(naming.holdout_metric(metric)) if champion else None


def data_question(
    spec: ModelSpec, champion: Version | None, snapshot: Snapshot, known: Sequence[Decision | None]
) -> tuple[str, int] | None:
    """The decision id of the news that data landed, and how many rows since the champion's; None without news.

    `known` are the last decisions about data: landed or learned from. By the digest of what is there rather than by
    what this run landed, so that the news of a run that was killed in between is told by the next one.
    """
    digests = {decision.digest for decision in known if decision is not None}
    if champion is not None:
        digests.add(champion.tags.data_digest)
    if snapshot.rows == 0 or snapshot.digest in digests:
        return None
    rows = snapshot.next_row - (champion.tags.next_row if champion is not None else 0)
    return decision_id(spec.name, champion.number if champion else None, "data", snapshot.digest), rows
