"""`evergreen new`: write a model file from data, as a person would have written it by hand.

The file is plain Python that people edit afterwards, so its comments say what was inferred and where to change it.
Everything that could make the file invalid is checked before it is written. Only the first rows are looked at, so that
the cost is bounded however much data there is.
"""

from __future__ import annotations

import keyword
import os
import shlex
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from evergreen.errors import EvergreenError, ModelFileError
from evergreen.model_files.choices import Choice, describe_choices
from evergreen.model_files.column_types import quote_name
from evergreen.model_files.finding import find_files
from evergreen.model_files.first_rows import DataOptions
from evergreen.model_files.inference import Findings, examine
from evergreen.model_files.notation import recognise
from evergreen.model_files.objective import choose_objective, require_metric
from evergreen.model_files.repeated_rows import find_repeats
from evergreen.model_files.row_order import describe_order, measure_order
from evergreen.model_files.sample_size import describe_sample
from evergreen.model_files.source_text import model_source
from evergreen.model_files.target import Task
from evergreen.model_files.time_column import find_time
from evergreen.spec.model import NAME
from evergreen.storage.atomic_write import staged_file

if TYPE_CHECKING:
    import pandas as pd

MAX_LEFT_OUT = 5
"""Columns that are told to be left out, at most, so that the rest is seen; the model file names all of them."""

NO_BOUND = "what may be promoted has no absolute bound yet: set Metric(bound=...) in the file"


@dataclass(frozen=True, slots=True, eq=False)
class NewModelFile:
    """A model file that was written.

    Attributes:
        path: the file.
        task: regression or classification.
        metric: the metric that decides.
        choices: what was chosen, and why.
        notes: what a person should check, one line each.
        findings: what was inferred.
        rows: the rows that were looked at, as they are meant.
        batch: the same rows as the source gave them.
        written: the cells of `batch` are texts of a file, as `Batch.written`.
        ordered: the order of the rows says something of their targets.
    """

    path: Path
    task: str
    metric: str
    choices: tuple[Choice, ...]
    notes: tuple[str, ...]
    findings: Findings
    rows: pd.DataFrame
    batch: pd.DataFrame
    written: bool
    ordered: bool


def scaffold(
    name: str,
    data: Path | DataOptions,
    models: Path,
    *,
    target: str,
    time: str | None = None,
    keys: tuple[str, ...] = (),
    task: str | None = None,
    metric: str | None = None,
    timezone: str | None = None,
    now: datetime | None = None,
    landing: Path | None = None,
) -> NewModelFile:
    """Write `models/NAME.py` for data; an existing file is never overwritten.

    Args:
        name: of the model.
        data: where the data is; a path is that of a file, or of a folder of files.
        models: the folder of model files.
        target: the column to predict.
        time: the column with the time of a row; None to find one.
        keys: the columns that identify a row.
        task: regression or classification; None to infer it.
        metric: the metric that decides; None to choose one.
        timezone: that of times without an offset.
        now: a column with later times is not taken for the time of a row (aware); None does not check.
        landing: where the relative paths of a `Folder` start; None if that is not known.

    Raises:
        ModelFileError: the name is no valid name of a model, or the file exists.
        DataError: the data cannot be used, or not with the chosen options.
        EvergreenError: an unknown task, metric or time zone, options that do not fit together, or the file cannot be
            written.
    """
    _require_name(name)
    path = models / f"{name}.py"
    for file in find_files(models).get(name, ()):
        # Also where it lies in a folder: two files of one name are no model.
        raise _already_exists(Path(file))
    if os.path.lexists(path):
        raise _already_exists(path)
    chosen_task = _parse_task(task)
    require_metric(metric, chosen_task)
    _require_timezone(timezone)
    options = data if isinstance(data, DataOptions) else DataOptions(csv=data)
    draft, frame = options.draft(name, keys, models, landing)
    if options.watermark not in (None, target, time, *keys):
        # The watermark says when a row was written, not what the row is about.
        frame = frame.drop(columns=options.watermark)
    recognised = recognise(frame)
    found = find_time(recognised.rows, {target}, now) if time is None else None
    time = found.name if found is not None else time
    if timezone is not None and time is None:
        raise EvergreenError("--timezone: there is no time column for it.", "Name one with --time.")
    findings = examine(
        recognised.rows,
        target=target,
        time=time,
        keys=keys,
        task=chosen_task,
        zone=timezone,
        texts=recognised.texts,
    )
    objective = choose_objective(findings.target, metric)
    likeness = measure_order(recognised.rows[target]) if time is None else 0.0
    ordered = time is not None or likeness > 0
    zone = timezone or ("UTC" if findings.time and findings.time.naive else None)
    columns = (*findings.key_columns, *findings.numeric, findings.target.column)
    used = {column.name for column in columns}
    written = {name: notation for name, notation in recognised.reading.numbers.items() if name in used}
    reading = recognised.reading.model_copy(update={"numbers": written})
    if findings.time and findings.time.layout:
        reading = reading.model_copy(update={"times": {findings.time.name: findings.time.layout}})
    _write(path, model_source(name, draft, findings, reading, objective, zone, ordered=ordered))
    repeats = find_repeats(options.csv, frame) if options.csv is not None and not keys else ()
    notes = (
        *draft.notes,
        *recognised.notes,
        *([found.note] if found is not None else []),
        *([describe_order(likeness)] if likeness else []),
        *repeats,
        *describe_sample(recognised.rows, findings, ordered=ordered),
        *_notes(findings, zone if not timezone else None, more=draft.more),
    )
    return NewModelFile(
        path, findings.target.task, objective.metric, describe_choices(findings, objective, ordered=ordered), notes,
        findings, recognised.rows, frame, bool(recognised.texts), ordered,
    )  # fmt: skip


def _already_exists(path: Path) -> ModelFileError:
    return ModelFileError(
        f"{path} exists already, and is never overwritten.", "Choose another name, or remove it first."
    )


def _require_name(name: str) -> None:
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        raise ModelFileError(
            f"{quote_name(name)} cannot be the name of a model.",
            "Take lower-case letters, digits and underscores, a letter first, at most 63, and no Python keyword.",
        )


def _parse_task(task: str | None) -> Task | None:
    if task == "regression":
        return "regression"
    if task == "classification":
        return "classification"
    if task is not None:
        raise EvergreenError(f"--task: {quote_name(task)} is not a task.", "Take regression or classification.")
    return None


def _require_timezone(timezone: str | None) -> None:
    if timezone is None:
        return
    try:
        ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):
        raise EvergreenError(
            f"--timezone: {quote_name(timezone)} is not an IANA time zone.", "Take one such as Europe/Paris or UTC."
        ) from None


def _notes(findings: Findings, assumed_zone: str | None, *, more: bool) -> tuple[str, ...]:
    notes = [f"only the first {findings.rows:,} rows were looked at"] if more else []
    if assumed_zone:
        notes.append("times without an offset are read as UTC: change timezone in the file if they are not")
    notes.extend(findings.notes)
    notes.extend(f"{quote_name(column.name)} is left out: {column.why}" for column in findings.left_out[:MAX_LEFT_OUT])
    if (others := len(findings.left_out) - MAX_LEFT_OUT) > 0:
        notes.append(f"{others} more {'column is' if others == 1 else 'columns are'} left out: the file says why")
    names = [column.name for column in findings.left_out if column.identifies]
    if names and not findings.key_columns:
        notes.append(
            f"without a key, a row that comes again in another file counts again: if {quote_name(names[0])} names a "
            f"row, take --key {shlex.quote(names[0])}"
        )
    holdout = int(findings.target.rows * 0.2)
    if holdout < 30:
        notes.append(f"{holdout} rows will judge a candidate, and fewer than 30 decide nothing: land more data")
    return (*notes, NO_BOUND)


def _write(path: Path, text: str) -> None:
    """Write the whole file at once, unless it exists by now."""
    compile(text, str(path), "exec", dont_inherit=True)
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True)
        with staged_file(path, new=True) as draft:
            draft.write_text(text, encoding="utf-8")
    except FileExistsError:
        if not path.parent.is_dir():
            raise EvergreenError(f"{path.parent} is not a folder.", "Fix EVERGREEN_MODELS.") from None
        raise _already_exists(path) from None
    except OSError as error:
        raise EvergreenError(f"{path} cannot be written: {error.strerror}.", "Free space, or fix the folder.") from None
