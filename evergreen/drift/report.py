"""The outcome of a comparison: verdict, share, and the score of every column."""

from __future__ import annotations

from dataclasses import dataclass

from evergreen.ledger.drift_scores import ColumnDrift
from evergreen.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class DriftReport:
    """The outcome of one comparison.

    Attributes:
        share: weight of the drifted columns as a share of that of the judged ones; 0 where none was judged.
        threshold: the report fails from this share on.
        columns: in the order numeric, categorical; empty where there are too few rows.
        page: the name of Evidently's page (see `KeptFiles`); None where it was not asked for or had nothing to draw.
        decision_id: of the question that it answers; None before there is a champion to ask about.
    """

    verdict: Verdict
    share: float
    threshold: float
    columns: tuple[ColumnDrift, ...]
    reference_rows: int
    current_rows: int
    reason: str
    page: str | None = None
    decision_id: str | None = None

    @property
    def drifted(self) -> tuple[str, ...]:
        """Names of the columns that failed."""
        return tuple(column.name for column in self.columns if column.verdict is Verdict.FAIL)
