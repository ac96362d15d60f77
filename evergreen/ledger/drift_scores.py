"""The score of every column of every drift report, as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from evergreen.verdicts import Verdict

if TYPE_CHECKING:
    import pyarrow as pa


def drift_schema() -> pa.Schema:
    """The schema of the `drift` table: one row for each column of each report."""
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    return pa.schema(
        [
            ("decision_id", text),
            ("at", pa.timestamp("us", "UTC")),
            ("champion", pa.int64()),
            ("column", text),
            ("kind", text),
            ("verdict", text),
            ("score", number),
            ("threshold", number),
            ("method", text),
            ("missing", number),
            ("unseen", number),
            ("weight", number),
            ("reason", text),
        ]
    )


ColumnKind = Literal["numeric", "categorical"]


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """What was found in one column.

    Attributes:
        verdict: INCONCLUSIVE where it could not be judged.
        score: what was measured; None where nothing could be.
        method: Evidently's name of the score, or the rule that decided without one: `missing`, `type`, `unseen`.
        threshold: a score above this fails; None without a score.
        missing_reference: share of missing or infinite values, 0 to 1.
        missing_current: likewise, in the current rows.
        unseen: share of the current values, the missing ones aside, that the reference does not hold. Counted for
            categories and for constant columns.
        reason: one sentence, or several joined by semicolons.
        weight: what it counts among all columns that were compared, 0 to 1.
    """

    name: str
    kind: ColumnKind
    verdict: Verdict
    score: float | None
    method: str
    threshold: float | None
    missing_reference: float
    missing_current: float
    unseen: float
    reason: str
    weight: float = 0.0
