"""The ledger of decisions: what was seen, what was decided, what followed. Also the decisions to do nothing.

A decision's id follows from what it is about, so that the same question asked twice is one entry.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from evergreen import naming
from evergreen.decision import Decision, Kind
from evergreen.ledger.detail_json import detail_from_json, detail_to_json
from evergreen.ledger.drift_scores import ColumnDrift, drift_schema
from evergreen.storage.delta_table import Table

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
        found = self.table.read(where=(ds.field("id") == decision) & (ds.field("kind") == kind))
        return _decision(found.to_dict("records")[0]) if len(found) else None

    def select(self, kinds: Sequence[Kind], only: Mapping[Kind, str] | None = None) -> tuple[Decision, ...]:
        """Every decision of some kinds, and of others `only` those of an outcome, oldest first; no other is read."""
        import pyarrow.dataset as ds

        if not self.table.exists():
            return ()
        where = ds.field("kind").isin(list(kinds))
        for kind, outcome in (only or {}).items():
            where |= (ds.field("kind") == kind) & (ds.field("outcome") == outcome)
        found = self.table.read(where=where).sort_values("at", kind="stable")
        return tuple(_decision(row) for row in found.to_dict("records"))

    def newest(self, kinds: Sequence[Kind]) -> Mapping[Kind, Decision]:
        """The newest decision of each kind; one of which there is none is left out. No other's detail is read."""
        import pyarrow.dataset as ds

        if not self.table.exists():
            return {}
        wanted = ds.field("kind").isin(list(kinds))
        known = self.table.read(["id", "kind", "at"], wanted).sort_values("at", kind="stable")
        last = dict(zip(known["kind"], known["id"], strict=True))
        found = self.table.read(where=wanted & ds.field("id").isin(list(last.values()))) if last else known
        rows = found.to_dict("records")
        return {row["kind"]: _decision(row) for row in rows if last[row["kind"]] == row["id"]}


def _decision(row: Mapping[Hashable, Any]) -> Decision:
    import pandas as pd

    return Decision(
        id=row["id"],
        kind=row["kind"],
        at=row["at"].to_pydatetime(),
        outcome=row["outcome"],
        champion=None if pd.isna(row["champion"]) else int(row["champion"]),
        snapshot=int(row["snapshot"]),
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
