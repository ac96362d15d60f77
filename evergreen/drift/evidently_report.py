"""Evidently: the scores and the page. The only module that imports it, inside the function, telemetry off.

It gets columns of named cells (`evergreen.drift` cuts them), so that everything is a category to it and nothing is left
for it to guess. One `ValueDrift` and one `MissingValueCount` a column rather than the preset, which computes every
score three times. Names are escaped, because Evidently writes them into its page as they are.

Where no page is asked for the same scores come from the functions that the report calls itself, without the drawing
that a report cannot be kept from, which takes nine tenths of its time.
"""

from __future__ import annotations

import html
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.errors import EvergreenError
from evergreen.storage.atomic_write import staged_file
from evergreen.surroundings import prepare_environment

if TYPE_CHECKING:
    import pandas as pd

Cells = Mapping[str, "tuple[pd.Series, pd.Series]"]

EVIDENTLY_WARNS = (
    r"numpy\.core is deprecated",
    r"invalid escape sequence",
    r"(Call to deprecated function|Use of deprecated class) 'Dependency",
)
"""What Evidently 0.7 says when it is imported; none of it is about the data."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What Evidently answered.

    Attributes:
        scores: by column.
        failed: by column, the type of the error that kept it from being scored.
        html: the page; None where none was asked for or nothing was scored.
        json: the same figures.
    """

    scores: Mapping[str, float]
    failed: Mapping[str, str]
    html: Path | None
    json: Path | None


def draw(cells: Cells, *, method: str, threshold: float, missing: Mapping[str, float], folder: Path | None) -> Drawn:
    """Score every column and write `report.html` and `report.json`.

    Args:
        cells: by column, the reference's and the current cells as text, missing values as NaN.
        method: Evidently's name of a score.
        threshold: the page marks a higher score as drift.
        missing: by column, the page marks a higher share of missing values, 0 to 1.
        folder: None writes no files, and draws none.

    Raises:
        OSError: a file cannot be written. Whatever Evidently raises is told in `failed` instead.
        EvergreenError: Evidently, or what it needs, is not whole here. That is no fault of a column.
    """
    if not cells:
        return Drawn({}, {}, None, None)
    try:
        return _draw(cells, method=method, threshold=threshold, missing=missing, folder=folder)
    except ImportError as error:
        raise EvergreenError(
            f"The drift report needs Evidently, which is not whole here: {error}.",
            "Install the packages of requirements.lock again; in a clone of the project: make install",
        ) from error


def _draw(cells: Cells, *, method: str, threshold: float, missing: Mapping[str, float], folder: Path | None) -> Drawn:
    with _quiet():
        if folder is None:
            return _scored(cells, method, threshold)
        snapshot, failed = _run(cells, method, threshold, missing)
        if snapshot is None:
            return Drawn({}, failed, None, None)
        values = {
            metric["config"]["column"]: metric["value"]
            for metric in snapshot.dict()["metrics"]
            if metric["config"]["type"].endswith(":ValueDrift")
        }
        # Evidently adds up over a set of texts: its order changes from process to process, and with it the last digit.
        scores = {name: round(float(values[_safe(name)]), 12) for name in cells if _safe(name) in values}
        folder.mkdir(parents=True, exist_ok=True)
        page, data = folder / "report.html", folder / "report.json"
        with staged_file(page) as part:
            snapshot.save_html(str(part))
        with staged_file(data) as part:
            snapshot.save_json(str(part))
        return Drawn(scores, failed, page, data)


def _scored(cells: Cells, method: str, threshold: float) -> Drawn:
    """The score of every column, each by itself."""
    prepare_environment(os.environ)
    from evidently.legacy.calculations.stattests import get_stattest
    from evidently.legacy.core import ColumnType

    scores: dict[str, float] = {}
    failed: dict[str, str] = {}
    for name, pair in cells.items():
        old, new = (side.dropna() for side in pair)
        try:
            test = get_stattest(old, new, ColumnType.Categorical, method)
            scores[name] = round(float(test(old, new, ColumnType.Categorical, threshold).drift_score), 12)
        except ImportError:
            raise
        except Exception as error:
            failed[name] = type(error).__name__
    return Drawn(scores, failed, None, None)


def _run(cells: Cells, method: str, threshold: float, missing: Mapping[str, float]) -> tuple[Any, dict[str, str]]:
    """Run the report; if it fails, run it on each column alone and then without those that failed."""
    failed: dict[str, str] = {}
    # Evidently has no error type of its own and no isolation: anything can come, and takes every column with it.
    try:
        return _snapshot(cells, method, threshold, missing), failed
    except ImportError:
        raise
    except Exception as error:
        if len(cells) == 1:
            return None, dict.fromkeys(cells, type(error).__name__)
    for name in cells:
        failed |= _run({name: cells[name]}, method, threshold, missing)[1]
    good = {name: pair for name, pair in cells.items() if name not in failed}
    # Nothing failed alone, so the fault is in the whole: no column is left to blame, and none to trust.
    if not good or len(good) == len(cells):
        return None, failed or dict.fromkeys(cells, "Evidently failed on the columns together")
    snapshot, again = _run(good, method, threshold, missing)
    return snapshot, failed | again


def _snapshot(cells: Cells, method: str, threshold: float, missing: Mapping[str, float]) -> Any:
    prepare_environment(os.environ)
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import MissingValueCount, ValueDrift
    from evidently.tests import lte

    metrics: list[Any] = []
    for name in cells:
        column, bound = _safe(name), min(missing[name], 1.0)
        metrics.append(ValueDrift(column=column, method=method, threshold=threshold, tests=[lte(threshold)]))
        metrics.append(MissingValueCount(column=column, share_tests=[lte(bound)]))
    definition = DataDefinition(categorical_columns=[_safe(name) for name in cells])
    reference, current = (
        Dataset.from_pandas(
            pd.DataFrame({_safe(name): _safe_cells(pair[side]) for name, pair in cells.items()}),
            data_definition=definition,
        )
        for side in (0, 1)
    )
    return Report(metrics, include_tests=True).run(current, reference)


def _safe(text: str) -> str:
    return html.escape(text, quote=False)


def _safe_cells(cells: pd.Series) -> pd.Series:
    return cells.map({cell: _safe(cell) for cell in cells.dropna().unique()}).astype("str")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what Evidently is known to warn of, and nothing else."""
    with warnings.catch_warnings():
        for message in EVIDENTLY_WARNS:
            warnings.filterwarnings("ignore", message=message)
        yield
