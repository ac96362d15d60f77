"""The log of promotions: what was in production when, and why; the history that MLflow does not keep.

The log counts its lines: a clock that is set back, or a run that began long ago, does not change what came after what.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, Protocol

from evergreen import naming
from evergreen.errors import BusyError
from evergreen.storage.delta_table import OpenTable, Table
from evergreen.storage.row_files import read_all_rows

if TYPE_CHECKING:
    import pyarrow as pa

Action = Literal["promote", "rollback", "loss"]
Phase = Literal["intent", "done", "aborted"]


@dataclass(frozen=True, slots=True)
class Move:
    """One line of the log: the champion goes, or went, from one version to another.

    Attributes:
        id: the same for the intent and its end.
        action: `loss` is of a champion that is gone: a person went on without one.
        before: version that was champion; None for the first.
        after: version that becomes champion; None after a loss.
        by: who or what asked for it: `retrain`, `shadow`, or a person as `evergreen.actor` keeps one.
        sha256: of the stored pipeline that became champion; empty where it was not kept.
        trusted: the types beyond skops' own list that this pipeline needed when it was registered; None where they were
            not kept.
        judged_sha256: of the stored fit that the gates judged; empty where it is the pipeline itself.
    """

    id: str
    at: datetime
    action: Action
    phase: Phase
    before: int | None
    after: int | None
    reason: str
    decision_id: str
    by: str
    sha256: str = ""
    trusted: tuple[str, ...] | None = None
    judged_sha256: str = ""


class PromotionLog(Protocol):
    """What is asked of a log of promotions, wherever it is kept.

    Attributes:
        model: the model that it is of.
    """

    model: str

    def write(self, move: Move, *, after: int | None = None) -> None:
        """Add a line, under the model's promotion lock.

        With `after` only while the log has so many lines: nothing was written since it was read.

        Raises:
            BusyError: another process wrote to it, or has ended this move in another way.
        """
        ...

    def all(self) -> tuple[Move, ...]:
        """Every line, oldest first."""
        ...

    def done(self) -> tuple[Move, ...]:
        """The moves that happened, oldest first: what was in production, from when on, and why."""
        return tuple(move for move in self.all() if move.phase == "done")

    def open(self) -> Move | None:
        """An intent that nobody has ended."""
        return unfinished(self.all())

    def champion(self) -> int | None:
        """The version that the log says is in production; None before the first, and after a loss."""
        done = self.done()
        return done[-1].after if done else None


class Promotions(PromotionLog):
    """The `promotions` table of one model."""

    def __init__(self, lake: str, model: str) -> None:
        self.model = model
        self.table = Table(naming.table(lake, model, "promotions"), _schema())

    def write(self, move: Move, *, after: int | None = None) -> None:
        """Add a line, under the model's promotion lock; a line that is there stays as it is.

        Two processes that write at once, whatever they hold, do not both get the next line: one of them is refused.
        Where the clock says an earlier time than the last line, it gets the time of that one.

        Raises:
            BusyError: another process wrote to it, or has ended this move in another way.
        """
        import pandas as pd

        opened = self.table.open()
        lines = self._lines(opened)
        if not is_next(self.model, lines, move, after):
            return
        row = {
            "line": len(lines) + 1,
            "id": move.id,
            "at": pd.Timestamp(max([move.at, *(line.at for line in lines[-1:])])),
            "action": move.action,
            "phase": move.phase,
            "before": move.before,
            "after": move.after,
            "reason": move.reason,
            "decision_id": move.decision_id,
            "by": move.by,
            "sha256": move.sha256 or None,
            "trusted": None if move.trusted is None else json.dumps(move.trusted),
            "judged_sha256": move.judged_sha256 or None,
        }
        try:
            self.table.append_in_turn(pd.DataFrame([row]).astype({"before": "Int64", "after": "Int64"}), opened)
        except BusyError:
            raise moved_elsewhere(self.model) from None

    def all(self) -> tuple[Move, ...]:
        """Every line, oldest first."""
        opened = self.table.open_existing()
        return self._lines(opened) if opened is not None else ()

    def _lines(self, opened: OpenTable) -> tuple[Move, ...]:
        rows = sorted(read_all_rows(self.table, opened), key=lambda row: row["line"])
        return tuple(
            Move(
                id=row["id"],
                at=row["at"].astimezone(UTC),
                action=row["action"],
                phase=row["phase"],
                before=row["before"],
                after=row["after"],
                reason=row["reason"],
                decision_id=row["decision_id"],
                by=row["by"],
                sha256=row["sha256"] or "",
                trusted=tuple(json.loads(row["trusted"])) if row["trusted"] else None,
                judged_sha256=row["judged_sha256"] or "",
            )
            for row in rows
        )


def is_next(model: str, lines: Sequence[Move], move: Move, after: int | None) -> bool:
    """Whether a line is to be written after these; False where it is there already.

    Raises:
        BusyError: there are other lines than the `after` that the move follows from, or it was ended in another way.
    """
    known = [line.phase for line in lines if line.id == move.id]
    if move.phase in known:
        return False
    if (after is not None and len(lines) != after) or any(phase != "intent" for phase in known):
        raise moved_elsewhere(model)
    return True


def moved_elsewhere(model: str) -> BusyError:
    """The error of a move that lost a race."""
    what = f"Another process moved the champion of {model} at the same time."
    return BusyError(what, f"This one changed nothing. See what came of the other: evergreen history {model}")


def unfinished(moves: Sequence[Move]) -> Move | None:
    """The newest intent without an end; None where all were ended."""
    ended = {move.id for move in moves if move.phase != "intent"}
    left = [move for move in moves if move.phase == "intent" and move.id not in ended]
    return left[-1] if left else None


def champion_at(moves: Sequence[Move], when: datetime) -> Move | None:
    """The move that made the version that was in production at a time; None before the first."""
    past = [move for move in moves if move.phase == "done" and move.at <= when]
    return past[-1] if past else None


def promotion_of(moves: Sequence[Move], champion: int | None) -> Move | None:
    """The promotion by which the champion replaced another one, of the moves that happened, oldest first.

    None where it is the first, where it came back by a rollback (whoever asked for that knew it), or where the log does
    not name it.
    """
    last = moves[-1] if moves else None
    if last is None or champion is None or last.action != "promote" or last.before is None:
        return None
    return last if last.after == champion else None


def taken_back(moves: Sequence[Move]) -> frozenset[int]:
    """The versions that a rollback took out of production and that did not come back."""
    found: set[int] = set()
    for move in moves:
        if move.phase == "done" and move.action == "rollback" and move.before is not None:
            found.add(move.before)
        if move.phase == "done" and move.after is not None:
            found.discard(move.after)
    return frozenset(found)


def _schema() -> pa.Schema:
    import pyarrow as pa

    text = pa.string()
    return pa.schema(
        [
            ("line", pa.int64()),
            ("id", text),
            ("at", pa.timestamp("us", "UTC")),
            ("action", text),
            ("phase", text),
            ("before", pa.int64()),
            ("after", pa.int64()),
            ("reason", text),
            ("decision_id", text),
            ("by", text),
            # A log that was begun earlier has no such columns before its next line.
            ("sha256", text),
            ("trusted", text),
            ("judged_sha256", text),
        ]
    )
