"""The result of one ingest: what became of each batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from evergreen.data.checked_batch import CheckedBatch
from evergreen.ingest.pending_labels import LabelCounts
from evergreen.markdown import many
from evergreen.sources.base import Source, Waiting
from evergreen.sources.folder import Folder


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What became of one batch of rows or labels: counts, and why it was rejected whole, if it was (`problem`).

    `repeated` ones were there already, or occur twice in the batch. `waiting` are labels whose row has not landed yet.
    Every row that `prepare` let through is in one count. `superseded` counts earlier labels that were replaced.
    `remedy` says what to write in the model file to let in what was rejected whole; it may be empty.
    """

    batch: str
    origin: str
    added: int = 0
    replaced: int = 0
    repeated: int = 0
    rejected: int = 0
    problem: str = ""
    waiting: int = 0
    superseded: int = 0
    remedy: str = ""

    @classmethod
    def of_labels(
        cls, batch: str, origin: str, counts: LabelCounts, checked: CheckedBatch | None = None
    ) -> BatchReport:
        """The report of a batch of labels; `checked` is the batch that the counted labels are accepted from."""
        repeated, rejected = (checked.repeated, len(checked.rejected)) if checked else (0, 0)
        return cls(
            batch,
            origin,
            counts.added,
            counts.replaced,
            counts.repeated + repeated,
            counts.rejected + rejected,
            waiting=counts.waiting,
            superseded=counts.superseded,
        )

    @property
    def reason(self) -> str:
        """What of the batch is in quarantine, in words; empty for nothing."""
        if self.problem:
            return self.problem
        rows = many(self.rejected, "row was rejected", "rows were rejected") if self.rejected else ""
        labels = (
            many(self.superseded, "older label was replaced", "older labels were replaced") if self.superseded else ""
        )
        return ", ".join(filter(None, (rows, labels)))


def describe_unmatched(source: Source, root: Path) -> str:
    """A sentence that names the data files of a folder which its pattern does not match; empty for none.

    It is not part of what ingest found, for a file that is not taken does not make ingest run.
    """
    if not isinstance(source, Folder):
        return ""
    names = source.unmatched(root)
    if not names:
        return ""
    listed = ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return (
        f"{many(len(names), 'file')} of {source.folder(root)} cannot land, because the "
        f"pattern {source.pattern!r} does not match: {listed}. Widen the pattern in the model file, or move what is no "
        "data of this model."
    )


@dataclass(frozen=True, slots=True)
class Landing:
    """What an ingest did; a source with nothing new gives an empty one.

    Attributes:
        batches: of rows.
        waiting: what was left alone, and why.
        labels: batches of labels; first, labels that had waited for rows that landed now.
        pending_labels: how many labels wait for a row with their key, those of earlier runs included.
        doubts: what landed and may not be what it seems, each a sentence.
        version: the version of the observations' table afterwards.
    """

    batches: tuple[BatchReport, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    labels: tuple[BatchReport, ...] = ()
    pending_labels: int = 0
    doubts: tuple[str, ...] = ()
    version: int = field(default=0, compare=False)

    @property
    def added(self) -> int:
        """Rows that were not there before, or came with other content."""
        return sum(report.added + report.replaced for report in self.batches)

    @property
    def labelled(self) -> int:
        """Rows that got a label, or another one."""
        return sum(report.added + report.replaced for report in self.labels)

    @property
    def quarantined(self) -> tuple[BatchReport, ...]:
        """Batches that put rows, labels or themselves into quarantine."""
        return tuple(report for report in (*self.batches, *self.labels) if report.reason)
