"""`evergreen new`: write a model file from data, as a person would have written it by hand.

The file is the result, not this run: it is plain Python that is edited afterwards, so it says in comments what was
inferred and where to change it. Nothing is written before everything that could make it invalid has been checked. Only
the first rows are looked at, so that the cost is bounded whatever there is.
"""

from __future__ import annotations

import keyword
import os
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from evergreen.errors import EvergreenError, ModelFileError
from evergreen.model_files.column_types import shown
from evergreen.model_files.first_rows import Data
from evergreen.model_files.inference import Findings, Task, examine
from evergreen.model_files.literals import literal, short
from evergreen.model_files.source_text import model_source
from evergreen.spec.metric import KNOWN
from evergreen.spec.model import NAME
from evergreen.storage.atomic_write import staged_file

RARE = 0.1
"""A class with a smaller share is rare: what matters then is how well it is found."""

BOUND = "what may be promoted has no absolute bound yet: set Metric(bound=...) in the file"


@dataclass(frozen=True, slots=True)
class Scaffolded:
    """A model file that was written.

    Attributes:
        path: the file.
        task: regression or classification.
        metric: the figure that decides.
        notes: what was inferred that a person should check, one line each.
    """

    path: Path
    task: str
    metric: str
    notes: tuple[str, ...]


def scaffold(
    name: str,
    data: Path | Data,
    models: Path,
    *,
    target: str,
    time: str | None = None,
    keys: tuple[str, ...] = (),
    task: str | None = None,
    metric: str | None = None,
    timezone: str | None = None,
) -> Scaffolded:
    """Write `models/NAME.py` for data, a CSV file where it is a path; an existing file is never overwritten.

    Raises:
        ModelFileError: the name cannot be one of a model, or there is such a file already.
        DataError: the data cannot be used, or not in the way that was asked for.
        EvergreenError: an unknown task, metric or time zone, options that do not fit together, or the file cannot be
            written.
    """
    path = models / f"{_checked_name(name)}.py"
    if os.path.lexists(path):
        raise _exists(path)
    asked = _checked_task(task)
    _check_metric(metric, asked)
    _check_timezone(timezone, time)
    given = data if isinstance(data, Data) else Data(csv=data)
    start, frame = given.start(name, keys)
    if given.watermark not in (None, target, time, *keys):
        # It says when a row was written, not what the row is about.
        frame = frame.drop(columns=given.watermark)
    found = examine(frame, target=target, time=time, keys=keys, task=asked)
    chosen, why = _metric(found, metric)
    zone = timezone or ("UTC" if found.time and found.time.naive else None)
    _write(path, model_source(name, start, found, chosen, why, zone))
    notes = (*start.notes, *_notes(found, zone if not timezone else None, more=start.more))
    return Scaffolded(path, found.target.task, chosen, notes)


def _exists(path: Path) -> ModelFileError:
    return ModelFileError(
        f"{path} exists already, and is never overwritten.", "Choose another name, or remove it first."
    )


def _checked_name(name: str) -> str:
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        raise ModelFileError(
            f"{shown(name)} cannot be the name of a model.",
            "Take lower-case letters, digits and underscores, a letter first, at most 63, and no Python keyword.",
        )
    return name


def _checked_task(task: str | None) -> Task | None:
    if task == "regression":
        return "regression"
    if task == "classification":
        return "classification"
    if task is not None:
        raise EvergreenError(f"--task: {shown(task)} is no task.", "Take regression or classification.")
    return None


def _check_metric(metric: str | None, task: str | None) -> None:
    if metric is None:
        return
    fitting = ", ".join(sorted(name for name, kind in KNOWN.items() if task in (None, kind.task)))
    if metric not in KNOWN:
        raise EvergreenError(f"--metric: {shown(metric)} is not known.", f"Take one of {fitting}.")
    if task is not None and KNOWN[metric].task != task:
        raise EvergreenError(f"--metric: {metric} is for {KNOWN[metric].task}, not {task}.", f"Take one of {fitting}.")


def _check_timezone(timezone: str | None, time: str | None) -> None:
    if timezone is None:
        return
    try:
        ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):
        raise EvergreenError(
            f"--timezone: {shown(timezone)} is not an IANA time zone.", "Such as Europe/Paris or UTC."
        ) from None
    if time is None:
        raise EvergreenError("--timezone: there is no time column that it could be for.", "Name one with --time.")


def _metric(found: Findings, asked: str | None) -> tuple[str, str]:
    """The figure that decides, and why it was chosen."""
    target = found.target
    if asked is not None:
        _check_metric(asked, target.task)
        if asked == "average_precision" and len(target.classes) > 2:
            raise EvergreenError(
                f"--metric: average_precision is for two classes, and the target has {len(target.classes)}.",
                "Take balanced_accuracy, f1 or log_loss.",
            )
        return asked, "As asked for."
    if target.task == "regression":
        return "mae", "The mean absolute error, in the target's own unit."
    shares = [rows / target.rows for _, rows in target.classes]
    if len(shares) > 2:
        if min(shares) < RARE:
            return "f1", "The mean over classes, since some are rare."
        return "balanced_accuracy", "The mean over classes of the share that is recognised."
    positive = literal(target.classes[1][0])
    if shares[1] < RARE:
        return (
            "average_precision",
            f"{short(positive)} is rare ({shares[1]:.1%}): what counts is how well it is found.",
        )
    return "roc_auc", f"How well the rows of {short(positive)} are told from the others, whatever the threshold."


def _notes(found: Findings, assumed: str | None, *, more: bool) -> tuple[str, ...]:
    notes = [f"only the first {found.rows:,} rows were looked at"] if more else []
    if assumed:
        notes.append("times without an offset are read as UTC: change timezone in the file if they are not")
    notes.extend(found.notes)
    notes.extend(f"{shown(column.name)} is left out: {column.why}" for column in found.left_out)
    judged = int(found.target.rows * 0.2)
    if judged < 30:
        notes.append(f"{judged} rows will judge a candidate, and fewer than 30 decide nothing: land more data")
    few = [label for label, rows in found.target.classes if rows < 10]
    if few:
        notes.append(f"{len(few)} of the classes have fewer than 10 rows, such as {shown(str(few[0]))}")
    return (*notes, BOUND)


def _write(path: Path, text: str) -> None:
    """Put the whole file in its place at once, unless there is one by now."""
    compile(text, str(path), "exec", dont_inherit=True)
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True)
        with staged_file(path, new=True) as draft:
            draft.write_text(text, encoding="utf-8")
    except FileExistsError:
        if not path.parent.is_dir():
            raise EvergreenError(f"{path.parent} is not a folder.", "Mend EVERGREEN_MODELS.") from None
        raise _exists(path) from None
    except OSError as error:
        raise EvergreenError(f"{path} cannot be written: {error.strerror}.", "Make room, or mend the folder.") from None
