"""The ledger's entries as they are stored: decisions, moves of the champion alias and what was refused.

What an entry has seen is filled in for those that are told only: the scores of a drift report are a table of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from evergreen.decision import Decision
from evergreen.details.canary import CanaryDetail
from evergreen.details.decision import (
    ApprovalDetail,
    D,
    Detail,
    EscalationDetail,
    RetrainDetail,
    SuppressedDetail,
    expect_detail,
)
from evergreen.details.watch import DataDetail, DriftDetail, PerformanceDetail, ShadowDetail, SkewDetail
from evergreen.ingest.quarantine import quarantine_table
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.detail_json import detail_to_json, to_json
from evergreen.ledger.promotions import Move
from evergreen.markdown import many

MOVES = ("promote", "rollback", "loss")
_WORST = ("FAIL", "INCONCLUSIVE", "PASS")
_REASONS = 20
_JSON_NAMES = {"measurements": "seen", "consequences": "followed"}
"""The names that the output of `why --json` has had from the start."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One figure that was held to a bound.

    Attributes:
        name: of the column, the gate or the metric.
        value: what was measured; None where it could not be.
        bound: what it was held to; None without one.
        verdict: PASS, FAIL or INCONCLUSIVE.
        reason: in words; may be empty.
        weight: of a drift report's column, what it counts among all, 0 to 1; None elsewhere.
        interval: of the value, at the confidence that the model file asks for; None without one.
    """

    name: str
    value: float | None
    bound: float | None
    verdict: str
    reason: str = ""
    weight: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class MoveDetail:
    """Of a move of the champion alias: who moved it, and the decision that it follows from (empty without one)."""

    by: str
    decision: str


@dataclass(frozen=True, slots=True)
class QuarantineDetail:
    """Of a batch of which something was refused.

    Attributes:
        rows: that were refused one by one; 0 where only the whole batch was.
        reasons: how many records bear each, the first 20.
    """

    batch: str
    origin: str
    rows: int
    reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger.

    Attributes:
        id: of the decision or of the move; the batch's of a refused one. A retraining has the id of what it answers, so
            that only kind and id together tell entries apart.
        at: when (aware, UTC); of a decision, when its run began.
        kind: that of the decision; `promote`, `rollback` and `loss` are moves of the champion alias, `quarantine` is a
            batch of which something was refused.
        outcome: the verdict, or what became of it. A move is `done`, `aborted` or, where a run was killed,
            `unfinished`.
        champion: version in production when it was taken; None before the first.
        version: the version that it is about, such as the candidate; None where there is none.
        reason: one sentence.
        measurements: figures with their bounds, the worst first.
        consequences: what came of it, in words, in the order of time; or why nothing did.
        links: URLs or paths by name, such as `report`.
        flow_run: the Prefect flow run; empty outside of one.
        detail: the whole result as it was stored; None where it is left out.
        decided: what is to be done, in words.
        snapshot: version of the observations that it saw; None where it saw none.
    """

    id: str
    at: datetime
    kind: str
    outcome: str
    champion: int | None
    version: int | None
    reason: str
    measurements: tuple[Measurement, ...] = ()
    consequences: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    flow_run: str = ""
    detail: Detail | MoveDetail | QuarantineDetail | None = None
    decided: str = ""
    snapshot: int | None = None

    @property
    def by(self) -> str:
        """Who made a move of the champion alias; empty for every other entry."""
        return self.detail.by if isinstance(self.detail, MoveDetail) else ""

    def detail_as(self, wanted: type[D]) -> D:
        """The detail, if it is of the type that is wanted.

        Raises:
            TypeError: it is not.
        """
        return expect_detail(self.detail, wanted, f"Entry {self.id} of kind {self.kind}")

    def to_json(self) -> dict[str, Any]:
        """As one JSON object, in lists, objects and plain values; `at` is ISO 8601."""
        match self.detail:
            case None:
                detail: dict[str, Any] = {}
            case MoveDetail() | QuarantineDetail():
                detail = to_json(self.detail)
            case _:
                detail = detail_to_json(self.detail)
        document: dict[str, Any] = to_json(replace(self, detail=None))
        document = {_JSON_NAMES.get(name, name): value for name, value in document.items()}
        return document | {"at": self.at.isoformat(), "detail": detail}


def decision_entry(decision: Decision) -> Entry:
    """A decision as an entry, without what it saw."""
    detail = decision.detail
    version = detail.version if isinstance(detail, RetrainDetail | ApprovalDetail | CanaryDetail) else None
    report = detail.report if isinstance(detail, DriftDetail | RetrainDetail) else None
    event = detail.event_id if isinstance(detail, RetrainDetail | SuppressedDetail) else None
    links = {"report": report, "flow_run": decision.flow_run, "event": event}
    return Entry(
        decision.id,
        decision.at,
        decision.kind,
        decision.outcome,
        decision.champion,
        version,
        decision.reason,
        links={name: link for name, link in links.items() if link},
        flow_run=decision.flow_run,
        detail=detail,
        snapshot=decision.snapshot,
    )


def move_entries(lines: Sequence[Move]) -> list[Entry]:
    """Every move of the alias as it stands after these lines of the log, in their order."""
    last = {line.id: line for line in lines}
    outcomes = {"done": "done", "aborted": "aborted", "intent": "unfinished"}
    return [
        Entry(
            line.id,
            line.at,
            line.action,
            outcomes[line.phase],
            line.before,
            line.after,
            line.reason,
            detail=MoveDetail(line.by, line.decision_id),
        )
        for line in lines
        if last[line.id] is line
    ]


def quarantine_entries(lake: str, model: str, at: datetime | None) -> list[Entry]:
    """Every batch of which something was refused until `at`, with how much for which reason; no row is read."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    table = quarantine_table(lake, model)
    if not table.exists():
        return []
    until = None if at is None else ds.field("at") <= pa.scalar(at, table.schema.field("at").type)
    names = ["batch", "contract", "origin", "reason", "at"]
    whole = ds.field("row") < 0
    batches_by_id: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for is_whole, where in ((True, whole), (False, ~whole)):
        batches = list(table.scan(names, where if until is None else where & until))
        rows = pa.Table.from_batches(batches, pa.schema([table.schema.field(name) for name in names]))
        for row in rows.group_by(names[:-1]).aggregate([("at", "min"), ("at", "count")]).to_pylist():
            batches_by_id.setdefault((row["batch"], row["contract"]), []).append(row | {"whole": is_whole})
    entries = [_quarantine_entry(batch, rows) for (batch, _), rows in batches_by_id.items()]
    return sorted(entries, key=lambda entry: (entry.at, entry.reason))


def _quarantine_entry(batch: str, rows: Sequence[Mapping[str, Any]]) -> Entry:
    rows = sorted(rows, key=lambda row: (not row["whole"], -row["at_count"], row["reason"]))
    counted = sum(row["at_count"] for row in rows if not row["whole"])
    first, others = rows[0], len(rows) - 1
    what = "the whole batch" if first["whole"] else many(counted, "row")
    more = f" ({many(others, 'more reason')})" if others else ""
    measurements = [_rejected_rows(None if row["whole"] else row["at_count"], row["reason"]) for row in rows[:_REASONS]]
    reasons = {row["reason"]: row["at_count"] for row in rows[:_REASONS]}
    return Entry(
        batch,
        min(row["at_min"] for row in rows),
        "quarantine",
        "whole" if first["whole"] else "rows",
        None,
        None,
        f"{first['origin']}: {what} refused: {first['reason']}{more}",
        tuple(measurements),
        detail=QuarantineDetail(batch, first["origin"], counted, reasons),
    )


def _rejected_rows(rows: int | None, reason: str) -> Measurement:
    return Measurement("batch" if rows is None else "rows", rows, None, "FAIL", reason)


def with_measurements(entries: Sequence[Entry], decisions: Decisions, refusals: Sequence[Entry]) -> tuple[Entry, ...]:
    """The entries with the figures that they were decided by."""
    columns = _columns(decisions, [entry for entry in entries if entry.kind == "drift"])
    lost: dict[datetime, int] = {}
    for entry in refusals:
        lost[entry.at] = lost.get(entry.at, 0) + entry.detail_as(QuarantineDetail).rows
    by_kind: dict[str, Callable[[Entry], list[Measurement]]] = {
        "drift": lambda entry: [*_share(entry), *columns.get(entry.id, ())],
        "performance": _performance,
        "skew": _skew,
        "shadow": _shadow,
        "data": lambda entry: _landed(entry, lost.get(entry.at, 0)),
        "retrain": _checks,
        "escalation": _retrainings,
        "canary": _questions,
    }
    return tuple(
        replace(entry, measurements=tuple(sorted(by_kind[entry.kind](entry), key=_badness)))
        if entry.kind in by_kind
        else entry
        for entry in entries
    )


def _badness(measurement: Measurement) -> int:
    return _WORST.index(measurement.verdict)


def _share(entry: Entry) -> list[Measurement]:
    detail = entry.detail_as(DriftDetail)
    share, bound = _figure(detail.share), _figure(detail.threshold)
    return [Measurement("share of drifted columns", share, bound, entry.outcome)]


def _columns(decisions: Decisions, reports: Sequence[Entry]) -> dict[str, list[Measurement]]:
    """The columns of each report, the farthest beyond its threshold first."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    if not reports or not decisions.scores.exists():
        return {}
    kind = decisions.scores.schema.field("at").type
    times = [entry.at for entry in reports]
    where = (ds.field("at") >= pa.scalar(min(times), kind)) & (ds.field("at") <= pa.scalar(max(times), kind))
    names = ["decision_id", "column", "score", "threshold", "verdict", "reason", "weight"]
    by_report: dict[str, list[Measurement]] = {}
    for batch in decisions.scores.scan(names, where):
        for report, column, score, bound, verdict, reason, weight in zip(
            *(batch.column(name).to_pylist() for name in names), strict=True
        ):
            figures = (_figure(score), _figure(bound), verdict, reason or "", _figure(weight))
            by_report.setdefault(report, []).append(Measurement(column, *figures))
    return {report: sorted(columns, key=_excess) for report, columns in by_report.items()}


def _excess(column: Measurement) -> float:
    return -column.value / column.bound if column.value is not None and column.bound else 0.0


def _performance(entry: Entry) -> list[Measurement]:
    """The model file's metric and those beside it that have a bound.

    Reports of an older form have no bound of their own, and no verdict on the model file's metric alone.
    """
    detail = entry.detail_as(PerformanceDetail)
    beside = [
        Measurement(
            one.name,
            _figure(one.value),
            _figure(one.bound),
            str(one.verdict),
            one.problem,
            interval=one.interval,
        )
        for one in detail.also
        if one.verdict
    ]
    failed = any(one.verdict == "FAIL" for one in beside)
    main = Measurement(
        detail.metric,
        _figure(detail.value),
        _figure(detail.bound),
        str(detail.own or ("INCONCLUSIVE" if failed else entry.outcome)),
        "" if failed else entry.reason,
        interval=detail.interval,
    )
    return [main, *beside]


def _skew(entry: Entry) -> list[Measurement]:
    """Of each column that differs, the share of rows in which it does."""
    detail = entry.detail_as(SkewDetail)
    return [
        Measurement(column.name, column.differing / column.rows, detail.max_share, str(column.verdict), column.how)
        for column in detail.columns
    ]


def _shadow(entry: Entry) -> list[Measurement]:
    detail = entry.detail_as(ShadowDetail)
    name, gain = f"gain in {detail.metric}", _figure(detail.gain)
    return [Measurement(name, gain, 0.0, entry.outcome, entry.reason, interval=detail.interval)]


def _landed(entry: Entry, lost: int) -> list[Measurement]:
    landed = Measurement("rows landed", entry.detail_as(DataDetail).rows, None, "PASS")
    return [landed, *([Measurement("rows refused", lost, None, "FAIL", "they are in quarantine")] if lost else [])]


def _checks(entry: Entry) -> list[Measurement]:
    """The gates; the comparison with the champion is told before others of its verdict."""
    checks = entry.detail_as(RetrainDetail).checks
    return [
        Measurement(check.name, _figure(check.value), _figure(check.bound), str(check.status), check.reason)
        for check in sorted(checks, key=lambda check: (check.name != "champion", check.value is None))
    ]


def _retrainings(entry: Entry) -> list[Measurement]:
    return [Measurement("retrainings", entry.detail_as(EscalationDetail).retrains, None, "FAIL", "no new champion")]


def _questions(entry: Entry) -> list[Measurement]:
    return [
        Measurement(each.name, _figure(each.seen), each.bound, str(each.verdict), each.reason, interval=each.interval)
        for each in entry.detail_as(CanaryDetail).questions
    ]


def _figure(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else number
