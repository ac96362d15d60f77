"""The text of a model file: what was found in the data, as Python that passes the project's own checks.

Lines are laid out here as the formatter would, since it is no part of an installation.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from evergreen.model_files.column_types import Clock, Column
from evergreen.model_files.inference import Findings, LeftOut
from evergreen.model_files.literals import literal, short

if TYPE_CHECKING:
    from evergreen.model_files.first_rows import Start

WIDTH = 120


PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9 _.()%/-]{0,39}")


TREES = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"


HEAD = '''"""{task} of {target}, from {data}.

`evergreen new` inferred types, categories and the task from {rows} rows. The file is yours now: read it, and
change what you know better.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

{imports}

if TYPE_CHECKING:
{pandas}    from pandera.pandas import DataFrameSchema
    from sklearn.pipeline import Pipeline

'''

CONTRACT = '''def contract() -> DataFrameSchema:
    """What every row has to be; one that is not goes to quarantine with the reason.

    Types, and where values may be missing, are those of the data so far. Add ranges that you know, such as
    `pa.Check.ge(0)`. Categories are left open, so that a new one is no error.
    """
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
ENTRIES
        }
    )'''

ENCODED = '''def pipeline(seed: int) -> Pipeline:
    """Gradient-boosted trees, which take missing numbers as they are; a new category counts as a missing one."""
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoosting{kind}
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OrdinalEncoder

    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)
    columns = ColumnTransformer([("encode", encode, list(FEATURES.categorical))], remainder="passthrough")
{why}    boost = HistGradientBoosting{kind}({options})
    return Pipeline([("columns", columns), ("model", boost)])'''

NUMBERS_ONLY = '''def pipeline(seed: int) -> Pipeline:
    """Gradient-boosted trees, which take missing numbers as they are."""
    from sklearn.ensemble import HistGradientBoosting{kind}
    from sklearn.pipeline import Pipeline

{why}    boost = HistGradientBoosting{kind}({options})
    return Pipeline([("model", boost)])'''

SEARCH = """\
    # Four combinations, each tried three times; the best is fitted on all training rows.
    search=Search(grid={"model__learning_rate": (0.05, 0.1), "model__max_leaf_nodes": (15, 31)}, folds=3),"""

LATEST = """\
    # The newest fifth of the rows judges a candidate.
    holdout=Holdout(strategy="latest", share=0.2),"""

RANDOM = """\
    # A random fifth of the rows judges a candidate: without a time column they have no order.
    holdout=Holdout(strategy="random", share=0.2, seed=42),"""


SPEC = "from evergreen.spec import DriftThresholds, Features, Holdout, Metric, ModelSpec, Search, Training"


def model_source(name: str, start: Start, found: Findings, metric: str, why: str, zone: str | None) -> str:
    """The model file."""
    parts = [
        _head(start, found) + _features(found),
        *([_prepare(found.time)] if found.time and found.time.layout else []),
        _contract(found),
        _pipeline(found, metric),
        _model(name, start, found, metric, why, zone),
    ]
    text = "\n\n\n".join(parts) + "\n"
    # Where a name needs it: lines that cannot be broken, and letters that look like others.
    off = ["E501"] if any(_wide(line) > WIDTH for line in text.splitlines()) else []
    off += ["RUF001", "RUF003"] if not text.isascii() else []
    if off:
        marks = [f"# ruff: noqa: {', '.join([*off, 'RUF100'])}", *(["# fmt: off"] if "E501" in off else [])]
        text = text.replace('\n"""\n', '\n"""\n\n' + "\n".join(marks) + "\n", 1)
    return text


def _head(start: Start, found: Findings) -> str:
    target = f"`{found.target.column.name}`" if PLAIN.fullmatch(found.target.column.name) else "the target"
    return HEAD.format(
        task=found.target.task.capitalize(),
        target=target,
        data=start.name if PLAIN.fullmatch(start.name) else start.kind,
        rows=f"{'the first ' if start.more else ''}{found.rows:,}",
        imports="\n".join(sorted([f"from {start.module} import {start.source}", SPEC])),
        pandas="    import pandas as pd\n" if found.time and found.time.layout else "",
    )


def _features(found: Findings) -> str:
    lines = [
        "# Numbers reach the pipeline as float64, categories as text; a number that is a code is better a category."
    ]
    lines.append("FEATURES = Features(")
    if found.numeric:
        lines.extend(_tuple("    numeric=", [literal(column.name) for column in found.numeric], ","))
    if found.categorical:
        lines.extend(_tuple("    categorical=", [literal(column.name) for column in found.categorical], ","))
    lines.append(")")
    if found.left_out:
        lines.append("# Left out, and why; to use one after all, add it here and to contract():")
        lines.extend(f"#   {_reason(column)}" for column in found.left_out)
    if found.target.classes and found.target.column.kind != "bool":
        counts = ", ".join(f"{literal(label)} in {rows:,} rows" for label, rows in found.target.classes)
        lines += ["", f"# {counts}." if len(counts) <= 100 else "# The classes in the data."]
        lines.append("# A row of another class goes to quarantine.")
        lines.extend(_tuple("CLASSES = ", [literal(label) for label, _ in found.target.classes]))
    return "\n".join(lines)


def _reason(column: LeftOut) -> str:
    return f"{short(literal(column.name))}: {column.why}"


def _prepare(time: Clock) -> str:
    column, layout = literal(time.name), time.layout
    raw, how = f'frame[{column}].astype("str")', f'format="{layout}"'
    doc = f"Times arrive as {layout}; what is none becomes missing, and its row goes to quarantine."
    if layout in ("s", "ms"):
        doc = f"Times arrive as {'seconds' if layout == 's' else 'milliseconds'} since 1970."
        raw, how = f'pd.to_numeric(frame[{column}], errors="coerce")', f'unit="{layout}", utc=True'
    elif layout == "%Y%m%d":
        raw = f'{raw}.str.removesuffix(".0")'
    return "\n".join(
        [
            "def prepare(frame: pd.DataFrame) -> pd.DataFrame:",
            f'    """{doc}"""',
            "    import pandas as pd",
            "",
            f"    raw = {raw}",
            f'    return frame.assign(**{{{column}: pd.to_datetime(raw, {how}, errors="coerce")}})',
        ]
    )


def _contract(found: Findings) -> str:
    entries = [f'{literal(found.time.name)}: pa.Column("datetime64[us, UTC]")'] if found.time else []
    target = found.target.column
    for column in _columns([*found.key_columns, *found.numeric, *found.categorical]):
        nullable = ", nullable=True" if column.nullable else ""
        entries.append(f"{literal(column.name)}: pa.Column({column.kind}{nullable})")
    checks = ", pa.Check.isin(CLASSES)" if found.target.classes and target.kind != "bool" else ""
    nullable = ", nullable=True" if target.nullable else ""
    entries.append(f"{literal(target.name)}: pa.Column({target.kind}{checks}{nullable})")
    return CONTRACT.replace("ENTRIES\n", "".join(f"            {entry},\n" for entry in entries))


def _columns(columns: Iterable[Column]) -> list[Column]:
    """Each column once; of a key that is a feature as well the key, which is never missing."""
    once: dict[str, Column] = {}
    for column in columns:
        once.setdefault(column.name, column)
    return list(once.values())


def _pipeline(found: Findings, metric: str) -> str:
    options = ["max_iter=200"]
    why = []
    if (leaf := max(5, min(20, found.target.rows // 50))) < 20:
        options.append(f"min_samples_leaf={leaf}")
        why.append("    # Smaller leaves than the default of 20, since rows are few.\n")
    if metric == "balanced_accuracy":
        options.append('class_weight="balanced"')
        why.append("    # Classes weigh alike, as they do in the metric.\n")
    if found.target.classes and min(rows for _, rows in found.target.classes) < 50:
        options.append("early_stopping=False")
        why.append("    # Stopping early would set rows of every class aside, and the rarest has too few of them.\n")
    return (ENCODED if found.categorical else NUMBERS_ONLY).format(
        kind="Regressor" if found.target.task == "regression" else "Classifier",
        options=", ".join([*options, "random_state=seed"]),
        why="".join(why),
    )


def _model(name: str, start: Start, found: Findings, metric: str, why: str, zone: str | None) -> str:
    rows, target = found.target.rows, found.target
    prepared = ["    prepare=prepare,"] if found.time and found.time.layout else []
    time = [f"    time={literal(found.time.name)},"] if found.time else []
    zoned = ["    # The zone of times that carry no offset.", f"    timezone={literal(zone)},"] if zone else []
    return "\n".join(
        [
            "MODEL = ModelSpec(",
            f'    name="{name}",',
            f'    task="{target.task}",',
            *(f"    {line}" for line in start.lines),
            *prepared,
            "    contract=contract,",
            *_key_lines(found.keys),
            *time,
            *zoned,
            f"    target={literal(target.column.name)},",
            "    features=FEATURES,",
            "    pipeline=pipeline,",
            SEARCH,
            f"    # {why}",
            "    # Add bound=..., the worst value that may be promoted.",
            f'    metric=Metric(name="{metric}"),',
            LATEST if found.time else RANDOM,
            f"    training=Training(min_rows={max(10, min(500, int(rows * 0.4)))}),",
            "    # A drift report fails when this share of the features has drifted.",
            f"    drift=DriftThresholds(share=0.3, min_rows={max(20, min(100, rows // 5))}),",
            "    # What a stored pipeline may hold beyond the types that skops knows to be safe.",
            f'    trusted=("{TREES}",),',
            ")",
        ]
    )


def _key_lines(keys: Sequence[str]) -> list[str]:
    if keys:
        return [
            "    # A row with a known key replaces the earlier one.",
            *_tuple("    keys=", list(map(literal, keys)), ","),
        ]
    return ["    # Without keys=(...) a changed file replaces its own earlier rows as a whole."]


def _tuple(before: str, items: Sequence[str], after: str = "") -> list[str]:
    """A tuple as the formatter would lay it out: on one line, or one item a line."""
    line = f"{before}({', '.join(items)}{',' if len(items) == 1 else ''}){after}"
    if _wide(line) <= WIDTH:
        return [line]
    indent = before[: len(before) - len(before.lstrip())]
    return [f"{before}(", *(f"{indent}    {item}," for item in items), f"{indent}){after}"]


def _wide(line: str) -> int:
    """Columns that a line takes; letters of East Asia take two."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in line
    )
