"""What a model file says, for a person: each column and its use, what is left out, the rules, and what has no rule.

Nothing is trained and nothing stored is read: the model file, its contract, and the header or the first rows of the
source, so that columns that the file does not use are seen.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.data.coercion import kind_of
from evergreen.data.contract import schema_of
from evergreen.errors import EvergreenError
from evergreen.evaluation.autocorrelation import describe_order, order_hint
from evergreen.model_files.first_rows import read_head
from evergreen.reports import file_rules
from evergreen.reports.file_gaps import describe_gaps
from evergreen.sources.base import Batch, Source
from evergreen.sources.bundled import Bundled
from evergreen.sources.fallback import Fallback
from evergreen.sources.folder import Folder
from evergreen.sources.simulator import Simulator
from evergreen.sources.sql import SqlSource
from evergreen.spec.model import ModelSpec
from evergreen.training.predict import target_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    from pandera.pandas import Column

_LEFT_OUT = re.compile(r"#\s+(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'): (.+)")
"""A line of a model file that `evergreen new` wrote: a column that is no feature, and why."""
_HEAD_ROWS = 20
_ORDER_ROWS = 5_000
"""Of which it is seen whether the targets of rows that follow each other are alike."""
_RULES: Mapping[str, Callable[[ModelSpec], Iterator[str]]] = {
    "What it predicts": file_rules.describe_task,
    "Split": file_rules.describe_split,
    "Metric and gates": file_rules.describe_gates,
    "Drift and performance": file_rules.describe_watch,
    "Retraining": file_rules.describe_retraining,
    "Serving": file_rules.describe_serving,
}


@dataclass(frozen=True, slots=True)
class ColumnUse:
    """One column of the contract.

    Attributes:
        type: time, flag, integer, number or text.
        use: what the model does with it, such as `feature, slice`.
        checks: what the contract asks of its values, each as pandera words it.
    """

    name: str
    type: str
    use: str
    checks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnusedColumn:
    """A column of the data that is not in the contract, or of which the model file says why it is left out."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Rules:
    """Some rules of the model file under one title, each a sentence."""

    title: str
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FileExplanation:
    """What a model file says.

    Attributes:
        path: the model file.
        description: what the model is for, in the file's words; may be empty.
        columns: those of the contract, in its order.
        left_out: columns of the data that are no feature, and why.
        looked_at: where the columns of the data were read, or why they were not.
        rules: what the file asks for.
        gaps: what it does not protect from, each a sentence.
    """

    model: str
    path: str
    description: str
    columns: tuple[ColumnUse, ...]
    left_out: tuple[UnusedColumn, ...]
    looked_at: str
    rules: tuple[Rules, ...]
    gaps: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        return asdict(self)


def explain_file(
    spec: ModelSpec, path: Path, landing: Path, runs: Sequence[str], gaps: Sequence[str] = ()
) -> FileExplanation:
    """Explain a model file.

    Args:
        spec: the model, loaded from the file.
        path: the file.
        landing: the folder that relative paths of a source start from.
        runs: when its flows run, each a sentence; they are in another file.
        gaps: what follows from that other file.

    Raises:
        ModelFileError: the contract cannot be used.
    """
    schema = schema_of(spec)
    names, looked_at = _columns_of_data(spec.source, landing)
    reasons = _reasons(path.read_text(encoding="utf-8"))
    present = [*names, *(name for name in reasons if name not in names)]
    uses = tuple(_use(spec, name, column) for name, column in schema.columns.items())
    left_out = [
        UnusedColumn(name, reasons.get(name) or _why_unused(spec))
        for name in present
        if (name in reasons and name not in spec.features.all) or name not in schema.columns
    ]
    lacking = [] if spec.prepare or not names else [name for name in schema.columns if name not in names]
    if spec.labels is not None and spec.target in lacking:
        lacking.remove(spec.target)
    if lacking:
        looked_at += f" They lack {', '.join(map(repr, lacking))}, which the contract asks for."
    described = {title: tuple(describe(spec)) for title, describe in _RULES.items()}
    rules = [Rules(title, lines) for title, lines in described.items() if lines]
    gaps = (*_describe_order(spec, landing), *gaps)
    return FileExplanation(
        spec.name, str(path), spec.description, uses, tuple(left_out), looked_at,
        (*rules, *([Rules("Runs", tuple(runs))] if runs else [])), (*describe_gaps(spec, schema.columns), *gaps),
    )  # fmt: skip


def _use(spec: ModelSpec, name: str, column: Column) -> ColumnUse:
    uses = {
        "target": name == spec.target,
        "key": name in spec.keys,
        "time": name == spec.time,
        "numeric feature": name in spec.features.numeric,
        "category": name in spec.features.categorical,
        "slice": name in spec.slices,
    }
    checks = [str(check.error or check.name or "a check of its own") for check in column.checks or ()]
    use = ", ".join(use for use, holds in uses.items() if holds)
    return ColumnUse(
        name,
        kind_of(column.dtype),
        use or "checked only",
        (*checks, *(["unique"] if column.unique else []), *(["may be missing"] if column.nullable else [])),
    )


def _why_unused(spec: ModelSpec) -> str:
    if spec.prepare is not None:
        return "not in the contract; only prepare() gets it"
    return "not in the contract: to use it, add it to contract() and to the features"


def _reasons(source: str) -> dict[str, str]:
    """The columns that the comments of a model file leave out, and why."""
    reasons: dict[str, str] = {}
    for line in source.splitlines():
        if found := _LEFT_OUT.fullmatch(line.strip()):
            reasons[str(ast.literal_eval(found[1]))] = found[2]
    return reasons


def _columns_of_data(source: Source, landing: Path) -> tuple[tuple[str, ...], str]:
    """The names of the source's columns, and where they were read or why not; only what is cheap is looked at."""
    try:
        return _read_names(source, landing)
    except EvergreenError as error:
        return (), f"The columns of the data could not be looked at: {error.what}"


def _describe_order(spec: ModelSpec, landing: Path) -> Iterator[str]:
    """Whether a random holdout is taken of rows whose targets follow each other, by the first rows of a folder."""
    source = spec.source.folder if isinstance(spec.source, Fallback) else spec.source
    if spec.holdout.strategy != "random" or not isinstance(source, Folder) or not source.files(landing):
        return
    newest = max(source.files(landing), key=lambda file: file.stat().st_mtime)
    try:
        frame, _ = read_head(newest, rows=_ORDER_ROWS, encoding=source.encoding)
    except EvergreenError:
        # What is wrong with the file is told where its columns are.
        return
    if spec.target not in frame:
        return
    known = frame[frame[spec.target].notna()]
    target = target_of(spec, known) if spec.task == "classification" else _numbers(known[spec.target])
    if order := describe_order(target):
        yield f"In {newest.name} {order}. {order_hint(spec)}"


def _numbers(column: pd.Series) -> npt.NDArray[np.float64]:
    """The values that are numbers, as they stand in the file."""
    import pandas as pd

    return pd.to_numeric(column, errors="coerce").dropna().to_numpy(dtype="float64")


def _read_names(source: Source, landing: Path) -> tuple[tuple[str, ...], str]:
    match source:
        case Fallback():
            return _read_names(source.folder if source.folder.files(landing) else source.otherwise, landing)
        case Folder():
            files = source.files(landing)
            if not files:
                return (), f"{source.folder(landing)} holds no file that matches {source.pattern!r} yet."
            newest = max(files, key=lambda file: file.stat().st_mtime)
            frame, _ = read_head(newest, rows=_HEAD_ROWS, encoding=source.encoding)
            return tuple(map(str, frame.columns)), f"The columns of the data are those of {newest.name}."
        case SqlSource():
            frame, _ = source.head(_HEAD_ROWS)
            return tuple(map(str, frame.columns)), "The columns of the data are those of the query."
        case Bundled() | Simulator():
            batch = next(iter(source.read(landing, lambda _batch: True)), None)
            names = batch.frame.columns if isinstance(batch, Batch) and batch.frame is not None else ()
            return tuple(map(str, names)), f"The columns of the data are those of {type(source).__name__}."
    return (), f"The columns of a {type(source).__name__} were not looked at."
