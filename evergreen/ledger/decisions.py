"""The ledger of decisions: what was seen, what was decided, what followed. Also the decisions to do nothing.

A decision's id follows from what it is about, so that the same question asked twice is one entry.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from evergreen import naming
from evergreen.decision import Decision, Kind
from evergreen.ledger.detail_json import detail_from_json, detail_to_json
from evergreen.ledger.drift_scores import ColumnDrift, drift_schema
from evergreen.storage.delta_table import Table
from evergreen.storage.row_files import RowFile, RowPlace, RowReader, list_row_files

if TYPE_CHECKING:
    import pyarrow as pa

_JOIN = 50
"""Commits after which the files of these tables are joined: each is a file of its own, and a year of them is slow."""


class Ledger(Protocol):
    """What is asked of a ledger of decisions, wherever it is kept."""

    def record(self, decision: Decision) -> None:
        """Keep a decision; one that is there already stays as it is."""
        ...

    def record_scores(self, decision: str, at: datetime, champion: int, columns: Sequence[ColumnDrift]) -> None:
        """Keep the score of every column of the report behind a drift decision."""
        ...

    def find(self, kind: Kind, decision: str) -> Decision | None:
        """A decision by its id."""
        ...

    def select(self, kinds: Sequence[Kind], only: Mapping[Kind, str] | None = None) -> tuple[Decision, ...]:
        """Every decision of some kinds, and of others `only` those of an outcome, oldest first."""
        ...

    def all(self, kind: Kind) -> tuple[Decision, ...]:
        """Every decision of a kind, oldest first."""
        return self.select((kind,))

    def last(self, kind: Kind) -> Decision | None:
        """The newest decision of a kind."""
        decisions = self.all(kind)
        return decisions[-1] if decisions else None


class Decisions(Ledger):
    """The `decisions` table of one model, and the `drift` table of its column scores."""

    def __init__(self, lake: str, model: str) -> None:
        self.model = model
        self.table = Table(naming.table(lake, model, "decisions"), _decision_schema(), compact_every=_JOIN)
        self.scores = Table(naming.table(lake, model, "drift"), drift_schema(), compact_every=_JOIN)

    def record(self, decision: Decision) -> None:
        """Keep a decision; one that is there already stays as it is."""
        import pandas as pd

        row = {
            "id": decision.id,
            "kind": decision.kind,
            "at": pd.Timestamp(decision.at),
            "outcome": decision.outcome,
            "champion": decision.champion,
            "snapshot": decision.snapshot,
            "digest": decision.digest,
            "reason": decision.reason,
            "detail": json.dumps(detail_to_json(decision.detail), sort_keys=True),
            "flow_run": decision.flow_run,
        }
        self.table.append(pd.DataFrame([row]).astype({"champion": "Int64"}), f"{decision.kind}:{decision.id}")

    def record_scores(self, decision: str, at: datetime, champion: int, columns: Sequence[ColumnDrift]) -> None:
        """Keep the score of every column of a report."""
        import pandas as pd

        rows = [
            {
                "decision_id": decision,
                "at": pd.Timestamp(at),
                "champion": champion,
                "column": column.name,
                "kind": column.kind,
                "verdict": str(column.verdict),
                "score": column.score,
                "threshold": column.threshold,
                "method": column.method,
                "missing": column.missing_current,
                "unseen": column.unseen,
                "weight": column.weight,
                "reason": column.reason,
            }
            for column in columns
        ]
        if rows:
            frame = pd.DataFrame(rows).astype({"score": "float64", "threshold": "float64"})
            self.scores.append(frame, f"drift:{decision}")

    def find(self, kind: Kind, decision: str) -> Decision | None:
        """A decision by its id."""
        import pyarrow.dataset as ds

        if not self.table.has_commit(f"{kind}:{decision}"):
            return None
        where = (ds.field("id") == decision) & (ds.field("kind") == kind)
        found = [row for batch in self.table.scan(self.table.schema.names, where) for row in batch.to_pylist()]
        return _decision(found[0]) if found else None

    def select(self, kinds: Sequence[Kind], only: Mapping[Kind, str] | None = None) -> tuple[Decision, ...]:
        """Every decision of some kinds, and of others `only` those of an outcome, oldest first; no other is read."""
        return self.look(kinds, only, ()).selected

    def newest(self, kinds: Sequence[Kind]) -> Mapping[Kind, Decision]:
        """The newest decision of each kind; one of which there is none is left out. No other's detail is read."""
        return self.look((), {}, kinds).newest

    def look(self, kinds: Sequence[Kind], only: Mapping[Kind, str] | None, newest: Sequence[Kind]) -> Look:
        """What `select` gives for `kinds` and `only`, and `newest` for its kinds; the table is opened once."""
        opened = self.table.open_existing()
        if opened is None:
            return Look((), {})
        only = only or {}
        files = _needed(list_row_files(opened, ("kind", "outcome", "at")), kinds, only, newest)
        reader = RowReader(self.table, opened, [file.path for file in files])
        selected: list[RowPlace] = []
        last: dict[str, tuple[int, RowPlace]] = {}
        for path, columns in reader.keys(("kind", "outcome", "at")):
            for number, (kind, outcome, at) in enumerate(zip(*columns, strict=True)):
                if kind in kinds or only.get(kind) == outcome:
                    selected.append((path, number))
                if kind in newest and (kind not in last or at >= last[kind][0]):
                    last[kind] = at, (path, number)
        rows = reader.rows({place for _, place in last.values()} | set(selected))
        decisions = {place: _decision(row) for place, row in rows}
        return Look(
            tuple(sorted((decisions[place] for place in selected), key=lambda each: each.at)),
            {decisions[place].kind: decisions[place] for _, place in last.values()},
        )


@dataclass(frozen=True, slots=True)
class Look:
    """Decisions that were asked for together."""

    selected: tuple[Decision, ...]
    newest: Mapping[Kind, Decision]


def _needed(
    files: Sequence[RowFile], kinds: Sequence[Kind], only: Mapping[Kind, str], newest: Sequence[Kind]
) -> Iterator[RowFile]:
    """The files that may hold what is asked for; most hold one entry, which the table's log tells of."""
    ends: dict[Any, Any] = {}
    for file in files:
        kind, end = file.only("kind"), file.most.get("at")
        if kind in newest and end is not None:
            ends[kind] = max(end, ends.get(kind, end))
    for file in files:
        kind, outcome = file.only("kind"), file.only("outcome")
        if (
            kind is None
            or kind in kinds
            or (kind in only and outcome in (None, only[kind]))
            or (kind in newest and file.most.get("at", ends.get(kind)) == ends.get(kind))
        ):
            yield file


def _decision(row: Mapping[str, Any]) -> Decision:
    return Decision(
        id=row["id"],
        kind=row["kind"],
        at=row["at"].astimezone(UTC),
        outcome=row["outcome"],
        champion=row["champion"],
        snapshot=row["snapshot"],
        digest=row["digest"],
        reason=row["reason"],
        detail=detail_from_json(row["kind"], row["id"], json.loads(row["detail"])),
        flow_run=row["flow_run"],
    )


def _decision_schema() -> pa.Schema:
    import pyarrow as pa

    text, number = pa.string(), pa.int64()
    return pa.schema(
        [
            ("id", text),
            ("kind", text),
            ("at", pa.timestamp("us", "UTC")),
            ("outcome", text),
            ("champion", number),
            ("snapshot", number),
            ("digest", text),
            ("reason", text),
            ("detail", text),
            ("flow_run", text),
        ]
    )
