"""What became of the batches of one ingest."""

from __future__ import annotations

from dataclasses import dataclass

from evergreen.data.contract import Checked
from evergreen.ingest.pending_labels import Joined
from evergreen.sources.base import Waiting


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What became of one batch of rows or labels: counts, and why it was refused if it was (`problem`).

    `repeated` ones were there already, or twice in the batch; `waiting` are labels whose row is not there yet. Every
    row that `prepare` let through is in one count, but for `beaten`: labels that were there and gave way.
    """

    batch: str
    origin: str
    added: int = 0
    replaced: int = 0
    repeated: int = 0
    rejected: int = 0
    problem: str = ""
    waiting: int = 0
    beaten: int = 0

    @classmethod
    def of_labels(cls, batch: str, origin: str, joined: Joined, checked: Checked | None = None) -> BatchReport:
        """What became of labels; `checked` is the batch that they are left of."""
        repeated, rejected = (checked.repeated, len(checked.rejected)) if checked else (0, 0)
        return cls(
            batch,
            origin,
            joined.added,
            joined.replaced,
            joined.repeated + repeated,
            joined.rejected + rejected,
            waiting=joined.waiting,
            beaten=joined.beaten,
        )

    @property
    def reason(self) -> str:
        """What of it is in quarantine, in words; empty for nothing."""
        if self.problem:
            return self.problem
        rows = f"{self.rejected} rows were refused" if self.rejected else ""
        labels = f"{self.beaten} older labels gave way" if self.beaten else ""
        return ", ".join(filter(None, (rows, labels)))


@dataclass(frozen=True, slots=True)
class Landing:
    """What an ingest did. A source with nothing new gives an empty one.

    Attributes:
        batches: of rows.
        waiting: what is there but was left alone, and what is missing for it.
        labels: batches of labels, and first those that had waited for rows that landed now.
        early: how many labels wait for a row with their key, those of earlier runs included.
    """

    batches: tuple[BatchReport, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    labels: tuple[BatchReport, ...] = ()
    early: int = 0

    @property
    def added(self) -> int:
        """Rows that were not there before, or came with another content."""
        return sum(report.added + report.replaced for report in self.batches)

    @property
    def labelled(self) -> int:
        """Rows that got a label, or another one."""
        return sum(report.added + report.replaced for report in self.labels)

    @property
    def refused(self) -> tuple[BatchReport, ...]:
        """Batches of which something is in quarantine, or that put an older label there."""
        return tuple(report for report in (*self.batches, *self.labels) if report.reason)
