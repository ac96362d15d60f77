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
from evergreen.ingest.quarantine import quarantine_table
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Move

MOVES = ("promote", "rollback")
_WORST = ("FAIL", "INCONCLUSIVE", "PASS")
_REASONS = 20


@dataclass(frozen=True, slots=True)
class Seen:
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
class Entry:
    """One line of the ledger.

    Attributes:
        id: of the decision or of the move; the batch's of a refused one. A retraining has the id of what it answers, so
            that only kind and id together tell entries apart.
        at: when (aware, UTC); of a decision, when its run began.
        kind: that of the decision; `promote` and `rollback` are moves of the champion alias, `quarantine` is a batch of
            which something was refused.
        outcome: the verdict, or what became of it. A move is `done`, `aborted` or, where a run was killed,
            `unfinished`.
        champion: version in production when it was taken; None before the first.
        version: the version that it is about, such as the candidate; None where there is none.
        reason: one sentence.
        seen: figures with their bounds, the worst first.
        followed: what came of it, in words, in the order of time; or why nothing did.
        links: URLs or paths by name, such as `report`.
        flow_run: the Prefect flow run; empty outside of one.
        detail: the whole result as it was stored.
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
    seen: tuple[Seen, ...] = ()
    followed: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    flow_run: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    decided: str = ""
    snapshot: int | None = None


def of_decision(decision: Decision) -> Entry:
    """A decision as an entry, without what it saw."""
    version, detail = decision.detail.get("version"), decision.detail
    named = {"report": detail.get("report"), "flow_run": decision.flow_run, "event": detail.get("event_id")}
    return Entry(
        decision.id,
        decision.at,
        decision.kind,
        decision.outcome,
        decision.champion,
        version if isinstance(version, int) else None,
        decision.reason,
        links={name: str(link) for name, link in named.items() if link},
        flow_run=decision.flow_run,
        detail=detail,
        snapshot=decision.snapshot,
    )


def of_moves(lines: Sequence[Move]) -> list[Entry]:
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
            detail={"by": line.by, "decision": line.decision_id},
        )
        for line in lines
        if last[line.id] is line
    ]


def refused(lake: str, model: str, at: datetime | None) -> list[Entry]:
    """Every batch of which something was refused until `at`, with how much for which reason; no row is read."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    table = quarantine_table(lake, model)
    if not table.exists():
        return []
    until = None if at is None else ds.field("at") <= pa.scalar(at, table.schema.field("at").type)
    names = ["batch", "contract", "origin", "reason", "at"]
    whole = ds.field("row") < 0
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for is_whole, where in ((True, whole), (False, ~whole)):
        batches = list(table.scan(names, where if until is None else where & until))
        rows = pa.Table.from_batches(batches, pa.schema([table.schema.field(name) for name in names]))
        for row in rows.group_by(names[:-1]).aggregate([("at", "min"), ("at", "count")]).to_pylist():
            found.setdefault((row["batch"], row["contract"]), []).append(row | {"whole": is_whole})
    entries = [_refused(batch, rows) for (batch, _), rows in found.items()]
    return sorted(entries, key=lambda entry: (entry.at, entry.reason))


def _refused(batch: str, rows: Sequence[Mapping[str, Any]]) -> Entry:
    rows = sorted(rows, key=lambda row: (not row["whole"], -row["at_count"], row["reason"]))
    counted = sum(row["at_count"] for row in rows if not row["whole"])
    first, others = rows[0], len(rows) - 1
    what = "the whole batch" if first["whole"] else _counted(counted, "row")
    more = f" ({_counted(others, 'more reason')})" if others else ""
    seen = [_lost(None if row["whole"] else row["at_count"], row["reason"]) for row in rows[:_REASONS]]
    reasons = {row["reason"]: row["at_count"] for row in rows[:_REASONS]}
    return Entry(
        batch,
        min(row["at_min"] for row in rows),
        "quarantine",
        "whole" if first["whole"] else "rows",
        None,
        None,
        f"{first['origin']}: {what} refused: {first['reason']}{more}",
        tuple(seen),
        detail={"batch": batch, "origin": first["origin"], "rows": counted, "reasons": reasons},
    )


def _lost(rows: int | None, reason: str) -> Seen:
    return Seen("batch" if rows is None else "rows", rows, None, "FAIL", reason)


def with_seen(entries: Sequence[Entry], decisions: Decisions, refusals: Sequence[Entry]) -> tuple[Entry, ...]:
    """The entries with the figures that they were decided by."""
    columns = _columns(decisions, [entry for entry in entries if entry.kind == "drift"])
    lost: dict[datetime, int] = {}
    for entry in refusals:
        lost[entry.at] = lost.get(entry.at, 0) + entry.detail["rows"]
    found: dict[str, Callable[[Entry], list[Seen]]] = {
        "drift": lambda entry: [*_share(entry), *columns.get(entry.id, ())],
        "performance": _performance,
        "shadow": _shadow,
        "data": lambda entry: _landed(entry, lost.get(entry.at, 0)),
        "retrain": _checks,
        "escalation": lambda entry: [Seen("retrainings", entry.detail["retrains"], None, "FAIL", "no new champion")],
    }
    return tuple(
        replace(entry, seen=tuple(sorted(found[entry.kind](entry), key=_badness))) if entry.kind in found else entry
        for entry in entries
    )


def _badness(seen: Seen) -> int:
    return _WORST.index(seen.verdict)


def _share(entry: Entry) -> list[Seen]:
    bound = entry.detail.get("threshold")
    return [Seen("share of drifted columns", _figure(entry.detail.get("share")), _figure(bound), entry.outcome)]


def _columns(decisions: Decisions, reports: Sequence[Entry]) -> dict[str, list[Seen]]:
    """The columns of each report, the farthest beyond its threshold first."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    if not reports or not decisions.scores.exists():
        return {}
    kind = decisions.scores.schema.field("at").type
    times = [entry.at for entry in reports]
    where = (ds.field("at") >= pa.scalar(min(times), kind)) & (ds.field("at") <= pa.scalar(max(times), kind))
    names = ["decision_id", "column", "score", "threshold", "verdict", "reason", "weight"]
    found: dict[str, list[Seen]] = {}
    for batch in decisions.scores.scan(names, where):
        for report, column, score, bound, verdict, reason, weight in zip(
            *(batch.column(name).to_pylist() for name in names), strict=True
        ):
            figures = (_figure(score), _figure(bound), verdict, reason or "", _figure(weight))
            found.setdefault(report, []).append(Seen(column, *figures))
    return {report: sorted(columns, key=_excess) for report, columns in found.items()}


def _excess(seen: Seen) -> float:
    return -seen.value / seen.bound if seen.value is not None and seen.bound else 0.0


def _performance(entry: Entry) -> list[Seen]:
    """The model file's metric and those beside it that have a bound.

    Reports of an older form have no bound of their own, and no verdict on the model file's metric alone.
    """
    detail = entry.detail
    beside = [
        Seen(
            one["name"],
            _figure(one["value"]),
            _figure(one["bound"]),
            one["verdict"],
            one.get("problem") or "",
            interval=_interval(one["interval"]),
        )
        for one in detail.get("also", ())
        if one["verdict"]
    ]
    failed = any(one.verdict == "FAIL" for one in beside)
    main = Seen(
        detail["metric"],
        _figure(detail["value"]),
        _figure(detail.get("bound")),
        detail.get("own") or ("INCONCLUSIVE" if failed else entry.outcome),
        "" if failed else entry.reason,
        interval=_interval(detail["interval"]),
    )
    return [main, *beside]


def _shadow(entry: Entry) -> list[Seen]:
    detail = entry.detail
    gain, interval = _figure(detail["gain"]), _interval(detail["interval"])
    return [Seen(f"gain in {detail['metric']}", gain, 0.0, entry.outcome, entry.reason, interval=interval)]


def _landed(entry: Entry, lost: int) -> list[Seen]:
    landed = Seen("rows landed", entry.detail["rows"], None, "PASS")
    return [landed, *([Seen("rows refused", lost, None, "FAIL", "they are in quarantine")] if lost else [])]


def _checks(entry: Entry) -> list[Seen]:
    """The gates; the comparison with the champion is told before others of its verdict."""
    checks = sorted(entry.detail.get("checks", ()), key=lambda one: (one["name"] != "champion", one["value"] is None))
    return [
        Seen(one["name"], _figure(one["value"]), _figure(one["bound"]), one["status"], one["reason"]) for one in checks
    ]


def _figure(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else number


def _interval(pair: Sequence[float] | None) -> tuple[float, float] | None:
    return (pair[0], pair[1]) if pair else None


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
