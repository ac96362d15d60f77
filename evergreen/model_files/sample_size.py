"""Whether the rows are enough to learn from and to judge by: notes where they are few, or worth few."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evergreen.model_files.column_types import as_numbers, quote_name, rows_text
from evergreen.model_files.inference import Findings
from evergreen.model_files.row_order import count_effective_rows
from evergreen.model_files.time_column import as_instants

if TYPE_CHECKING:
    import pandas as pd

FEW_POSITIVES = 100
FEW_EFFECTIVE = 100
FEW_OF_A_CLASS = 10


def describe_sample(rows: pd.DataFrame, findings: Findings, *, ordered: bool) -> tuple[str, ...]:
    """A note where the rarer of two classes has fewer than `FEW_POSITIVES` rows, or the rows of a stream are worth few.

    Args:
        rows: as they are meant.
        findings: what was inferred from them.
        ordered: the order of the rows, or of their times, says something of their targets.
    """
    notes = []
    classes = findings.target.classes
    rarest = min(classes, key=lambda item: item[1], default=("", FEW_POSITIVES))
    if len(classes) == 2 and rarest[1] < FEW_POSITIVES:
        notes.append(
            f"only {rows_text(rarest[1])} of {quote_name(str(rarest[0]))}: with fewer than {FEW_POSITIVES} every "
            "figure is uncertain, and a fifth of them judges; land more before you trust one"
        )
    elif rarest[1] < FEW_OF_A_CLASS:
        small = [label for label, count in classes if count < FEW_OF_A_CLASS]
        notes.append(
            f"{len(small)} of the classes have fewer than {FEW_OF_A_CLASS} rows, such as {quote_name(str(small[0]))}"
        )
    effective = _effective_rows(rows, findings) if ordered else FEW_EFFECTIVE
    if effective < min(FEW_EFFECTIVE, findings.target.rows):
        notes.append(
            f"neighbouring rows are so alike that the {rows_text(findings.target.rows)} are worth about "
            f"{effective:.0f} independent ones: with fewer than {FEW_EFFECTIVE} a gate seldom proves "
            "anything; land a longer stretch"
        )
    return tuple(notes)


def _effective_rows(rows: pd.DataFrame, findings: Findings) -> float:
    target = findings.target
    if findings.time is not None:
        instants = as_instants(rows[findings.time.name], findings.time.layout)
        rows = rows.loc[instants.sort_values(kind="stable").index]
    column = rows[target.column.name]
    numbers = as_numbers(column) if target.task == "regression" else None
    series = [rows[name] for name in findings.keys if findings.time is not None and name != findings.time.name]
    return count_effective_rows(column if numbers is None else numbers, series)
