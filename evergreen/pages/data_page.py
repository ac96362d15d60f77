"""The page of `evergreen new --look`: the data that a model file was made from, before anything is trained on it.

Evidently's data summary is not used here: it does not know the target, the columns that were left out or why, takes
several seconds to import, and its page is thirty times as large.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from evergreen.errors import EvergreenError
from evergreen.model_files.column_types import dtype_kind
from evergreen.model_files.inference import Findings
from evergreen.model_files.new import NewModelFile
from evergreen.model_files.time_column import as_instants
from evergreen.pages.distributions import Distribution, spread
from evergreen.pages.environment import fill
from evergreen.pages.plots import distribution_plot
from evergreen.storage.atomic_write import write_text

if TYPE_CHECKING:
    import pandas as pd

MAX_PLOTS = 60
"""Columns whose values are drawn, at most: those that say most of the target come first."""


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """One column of the data.

    Attributes:
        name: of the column.
        use: what the model file takes it for.
        missing: share of the rows without a value, 0 to 1.
        gap: where values begin or cease to be there, in words; empty where they are missing here and there.
        distinct: how many different values it has.
        score: how well it alone predicts the target; None for what is no feature.
        why: why it is left out; empty otherwise.
    """

    name: str
    use: str
    missing: float
    gap: str
    distinct: int
    score: float | None
    why: str


def write_data_page(made: NewModelFile, path: Path, at: datetime) -> None:
    """Write the page about the data of a new model file.

    Args:
        made: the model file, with what was inferred and the rows.
        path: the page's file.
        at: when it is made (aware).

    Raises:
        EvergreenError: it cannot be written there.
    """
    findings = made.findings
    rows = _in_order(made.rows, findings)
    columns = column_facts(rows, findings)
    drawn = [(column, distribution_plot(column)) for column in _distributions(rows, findings)]
    page = fill(
        "data.html.j2",
        drawn=bool(drawn),
        name=made.path.stem,
        made=made,
        at=at,
        columns=columns,
        plots=drawn,
        rows=len(rows),
        scored="R²" if made.task == "regression" else "ROC AUC",
        features=len(findings.numeric) + len(findings.categorical),
    )
    try:
        write_text(path, page)
    except OSError as error:
        raise EvergreenError(f"{path} cannot be written: {error.strerror}.", "Free space, or fix the folder.") from None


def column_facts(rows: pd.DataFrame, findings: Findings) -> tuple[ColumnFacts, ...]:
    """Every column of the rows, in their order: the target, then features by what they say of it, then the rest."""
    uses = {column.name: "a number" for column in findings.numeric}
    uses |= {column.name: "a category" for column in findings.categorical}
    why = {column.name: column.why for column in findings.left_out}
    uses |= dict.fromkeys(why, "left out")
    uses |= {
        name: f"{uses[name]}, and a key" if name in uses and name not in why else "a key" for name in findings.keys
    }
    uses |= {findings.time.name: "the time"} if findings.time else {}
    uses[findings.target.column.name] = "the target"
    order = [findings.target.column.name, *([findings.time.name] if findings.time else []), *findings.keys]
    order += [*findings.scores, *uses]
    return tuple(
        ColumnFacts(
            name,
            uses[name],
            float(rows[name].isna().mean()),
            describe_gap(rows[name]),
            int(rows[name].nunique()),
            findings.scores.get(name),
            why.get(name, "") if uses[name] == "left out" else "",
        )
        for name in dict.fromkeys(order)
        if name in rows
    )


def describe_gap(column: pd.Series) -> str:
    """Where the values of a column begin or cease, in words; empty where none are missing, or here and there."""
    missing = column.isna().to_numpy()
    if not missing.any() or missing.all():
        return ""
    first, last = int((~missing).argmax()), len(missing) - int((~missing)[::-1].argmax())
    parts = []
    # A few empty rows at an end are no sign of a column that came later.
    if first >= max(5, len(missing) // 50):
        parts.append(f"begins in row {first + 1:,}")
    if len(missing) - last >= max(5, len(missing) // 50):
        parts.append(f"ends in row {last:,}")
    return ", ".join(parts)


def _in_order(rows: pd.DataFrame, findings: Findings) -> pd.DataFrame:
    """The rows in the order of their time, or of the file where there is none."""
    if findings.time is None:
        return rows.reset_index(drop=True)
    times = as_instants(rows[findings.time.name], findings.time.layout)
    return rows.assign(**{findings.time.name: times}).sort_values(findings.time.name, kind="stable", ignore_index=True)


def _distributions(rows: pd.DataFrame, findings: Findings) -> Sequence[Distribution]:
    """The target's values and the features', in the earlier half of the rows and in the later one."""
    kinds: Mapping[str, str] = {column.name: "numeric" for column in findings.numeric}
    names = [findings.target.column.name, *findings.scores]
    names += [column.name for column in (*findings.numeric, *findings.categorical)]
    half = len(rows) // 2
    found = []
    for name in list(dict.fromkeys(names))[:MAX_PLOTS]:
        is_amount = name == findings.target.column.name and findings.target.task == "regression"
        is_number = (name in kinds or is_amount) and dtype_kind(rows[name]) != "O"
        kind = "numeric" if is_number else "categorical"
        found.append(spread(name, kind, rows[name].iloc[:half], rows[name].iloc[half:]))
    return found
