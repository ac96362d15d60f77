"""The text of a model file: what was inferred from the data, as Python that passes the project's own checks.

Lines are laid out here as the formatter would do it, because the formatter is no part of an installation.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from evergreen.model_files.column_types import Column
from evergreen.model_files.features import LeftOut
from evergreen.model_files.inference import Findings
from evergreen.model_files.literals import literal, shorten
from evergreen.model_files.objective import Objective
from evergreen.model_files.pipeline_text import pipeline_text, search_lines, trusted_lines
from evergreen.spec.data import Notation, Reading
from evergreen.spec.gates import ROUTINE_MARGIN

if TYPE_CHECKING:
    from evergreen.model_files.first_rows import SourceDraft

WIDTH = 120

PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9 _.()%/-]{0,39}")
"""A name that can stand in a docstring as it is."""

HEAD = '''"""{task} of {target}, from {data}.

`evergreen new` inferred types, categories and the task from {rows} rows. The file is yours now: read it, and
change what you know better.
"""

from __future__ import annotations

{standard}from typing import {typing}

{imports}

if TYPE_CHECKING:
    from pandera.pandas import DataFrameSchema
    from sklearn.pipeline import Pipeline

'''

CONTRACT = '''def contract() -> DataFrameSchema:
    """The data contract: a row that breaks it goes to quarantine with the reason.

    Keys, time and target are as strict as the data so far. A feature may be missing, be a decimal, or have a new
    category: the pipeline takes that, and the drift report tells of it. Add ranges that you know: `pa.Check.ge(0)`.
    """
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
ENTRIES
        }
    )'''

LATEST = """\
    # The newest fifth of the rows judges a candidate.
    holdout=Holdout(strategy="latest", share=0.2),"""

LAST = """\
    # The last fifth of the rows judges a candidate.
    holdout=Holdout(strategy="latest", share=0.2),"""

ROW_ORDER = """\
    # Rows beside each other have like targets: what landed first is older. Lengths are numbers of rows, Rows(500).
    order="rows","""

RANDOM = """\
    # A random fifth of the rows judges a candidate: without a time column they have no order.
    holdout=Holdout(strategy="random", share=0.2, seed=42),"""

SPEC = ("DriftThresholds", "Features", "Gates", "Holdout", "Metric", "ModelSpec", "Reading", "Search", "Training")


def model_source(
    name: str,
    draft: SourceDraft,
    findings: Findings,
    reading: Reading,
    objective: Objective,
    zone: str | None,
    *,
    ordered: bool,
) -> str:
    """The text of a model file.

    Args:
        name: of the model.
        draft: where its rows come from.
        findings: what was inferred from them.
        reading: how their values are written.
        objective: the metric that decides, and the loss.
        zone: the zone of times without an offset; None if there are none.
        ordered: the order of the rows says something of their targets.
    """
    parts = [
        _head(draft, findings, reading, objective, by_rows=ordered and findings.time is None) + _features(findings),
        _contract(findings, objective),
        pipeline_text(findings, objective),
        "\n".join(_model(name, draft, findings, reading, objective, zone, ordered=ordered)),
    ]
    text = "\n\n\n".join(parts) + "\n"
    # A name may need lines that cannot be broken, or letters that look like others.
    rules = ["E501"] if any(_display_width(line) > WIDTH for line in text.splitlines()) else []
    rules += ["RUF001", "RUF003"] if not text.isascii() else []
    if rules:
        comments = [f"# ruff: noqa: {', '.join([*rules, 'RUF100'])}", *(["# fmt: off"] if "E501" in rules else [])]
        text = text.replace('\n"""\n', '\n"""\n\n' + "\n".join(comments) + "\n", 1)
    return text


def _head(draft: SourceDraft, findings: Findings, reading: Reading, objective: Objective, *, by_rows: bool) -> str:
    target = f"`{findings.target.column.name}`" if PLAIN_NAME.fullmatch(findings.target.column.name) else "the target"
    return HEAD.format(
        task=findings.target.task.capitalize(),
        target=target,
        data=draft.name if PLAIN_NAME.fullmatch(draft.name) else draft.kind,
        rows=f"{'the first ' if draft.more else ''}{findings.rows:,}",
        typing="TYPE_CHECKING, Any" if objective.breaks_ties else "TYPE_CHECKING",
        standard="".join(f"{line}\n" for line in draft.imports),
        imports="\n".join(
            sorted([f"from {draft.module} import {draft.source}", _spec_import(reading, by_rows=by_rows)])
        ),
    )


def _features(findings: Findings) -> str:
    lines = [
        "# Numbers reach the pipeline as float64, categories as text; a number that is a code is better a category."
    ]
    if findings.distinct:
        lines = [
            "# Texts with too many values for codes: each becomes the mean target of its rows, see pipeline().",
            *_tuple("MANY_VALUED = ", list(map(literal, findings.distinct))),
            *lines,
        ]
    lines.append("FEATURES = Features(")
    if findings.numeric:
        lines.extend(_tuple("    numeric=", [literal(column.name) for column in findings.numeric], ","))
    if findings.categorical:
        coded = [literal(column.name) for column in findings.categorical if column.name not in findings.distinct]
        many = ["*MANY_VALUED"] if findings.distinct else []
        lines += _tuple("    categorical=", [*coded, *many], ",") if coded else ["    categorical=MANY_VALUED,"]
    lines.append(")")
    if findings.left_out:
        lines.append("# Left out, and why; to use one after all, add it here and to contract():")
        lines.extend(f"#   {_reason(column)}" for column in findings.left_out)
    if findings.target.classes and findings.target.column.kind != "bool":
        counts = ", ".join(f"{literal(label)} in {rows:,} rows" for label, rows in findings.target.classes)
        lines += ["", f"# {counts}." if len(counts) <= 100 else "# The classes in the data."]
        lines.append("# A row of another class goes to quarantine.")
        lines.extend(_tuple("CLASSES = ", [literal(label) for label, _ in findings.target.classes]))
    return "\n".join(lines)


def _reason(column: LeftOut) -> str:
    return f"{shorten(literal(column.name))}: {column.why}"


def _contract(findings: Findings, objective: Objective) -> str:
    entries = [f'{literal(findings.time.name)}: pa.Column("datetime64[us, UTC]")'] if findings.time else []
    target = findings.target.column
    for column in _distinct([*findings.key_columns, *findings.numeric, *findings.categorical]):
        nullable = ", nullable=True" if column.nullable else ""
        entries.append(f"{literal(column.name)}: pa.Column({column.kind}{nullable})")
    checks = ", pa.Check.isin(CLASSES)" if findings.target.classes and target.kind != "bool" else ""
    checks = f", pa.Check.{objective.sign}(0)" if objective.sign else checks
    nullable = ", nullable=True" if target.nullable else ""
    lines = [f"{entry}," for entry in entries]
    if objective.sign:
        bound = "below 0" if objective.sign == "ge" else "of 0 or below"
        lines.append(f"# The {objective.loss} loss of pipeline() takes no target {bound}.")
    lines.append(f"{literal(target.name)}: pa.Column({target.kind}{checks}{nullable}),")
    return CONTRACT.replace("ENTRIES\n", "".join(f"            {line}\n" for line in lines))


def _distinct(columns: Iterable[Column]) -> list[Column]:
    """Each column once. Of a key that is also a feature this is the key, which is never missing."""
    by_name: dict[str, Column] = {}
    for column in columns:
        by_name.setdefault(column.name, column)
    return list(by_name.values())


def _spec_import(reading: Reading, *, by_rows: bool) -> str:
    names = [*SPEC, *(["Notation"] if reading.numbers else [])]
    names = sorted([*names, *(["PerformanceThresholds", "Rows"] if by_rows else [])])
    line = f"from evergreen.spec import {', '.join(names)}"
    if len(line) <= WIDTH:
        return line
    return "\n".join(["from evergreen.spec import (", *(f"    {name}," for name in names), ")"])


def _reading_lines(reading: Reading) -> list[str]:
    """How values are written, in the model file's own words."""
    comment = "    # How values are written in files: the empty cell is missing, and the texts named here."
    if not any((reading.missing, reading.numbers, reading.times, reading.refuse_totals)):
        return [comment, "    reading=Reading(),"]
    lines = [comment, "    reading=Reading("]
    if reading.missing:
        lines += _tuple("        missing=", list(map(literal, reading.missing)), ",")
    if reading.numbers:
        numbers = (f"            {literal(name)}: {_notation(each)}," for name, each in reading.numbers.items())
        lines += ["        numbers={", *numbers, "        },"]
    if reading.times:
        times = ", ".join(f"{literal(name)}: {literal(layout)}" for name, layout in reading.times.items())
        lines.append(f"        times={{{times}}},")
    if reading.refuse_totals:
        lines.append("        refuse_totals=True,")
    return [*lines, "    ),"]


def _notation(notation: Notation) -> str:
    parts = []
    if notation.decimal != ".":
        parts.append(f"decimal={literal(notation.decimal)}")
    if notation.thousands:
        parts.append(f"thousands={literal(notation.thousands)}")
    if notation.remove:
        comma = "," if len(notation.remove) == 1 else ""
        parts.append(f"remove=({', '.join(map(literal, notation.remove))}{comma})")
    return f"Notation({', '.join(parts)})"


def _model(
    name: str,
    draft: SourceDraft,
    findings: Findings,
    reading: Reading,
    objective: Objective,
    zone: str | None,
    *,
    ordered: bool,
) -> list[str]:
    target = findings.target
    time = [f"    time={literal(findings.time.name)},"] if findings.time else [ROW_ORDER] if ordered else []
    zoned = ["    # The zone of times that carry no offset.", f"    timezone={literal(zone)},"] if zone else []
    return [
        "MODEL = ModelSpec(",
        f'    name="{name}",',
        f'    task="{target.task}",',
        *(f"    {line}" for line in draft.lines),
        *_reading_lines(reading),
        "    contract=contract,",
        *_key_lines(findings.keys),
        *time,
        *zoned,
        f"    target={literal(target.column.name)},",
        "    features=FEATURES,",
        "    pipeline=pipeline,",
        *search_lines(objective),
        f"    # {objective.metric_why}",
        "    # Add bound=..., the worst value that may be promoted.",
        f'    metric=Metric(name="{objective.metric}"),',
        f"    # The same recipe on newer rows may be {ROUTINE_MARGIN:.0%} worse at most; another has to be better.",
        *_gate_lines(findings, ordered=ordered),
        LATEST if findings.time else LAST if ordered else RANDOM,
        *_training_lines(target.rows, ordered=ordered),
        *_drift_lines(findings),
        *_performance_lines(findings, ordered=ordered),
        *trusted_lines(name, objective),
        ")",
    ]


def _training_lines(rows: int, *, ordered: bool) -> list[str]:
    min_rows = max(10, min(500, int(rows * 0.4)))
    if not ordered:
        return [f"    training=Training(min_rows={min_rows}),"]
    return [
        "    # What passed its gates is fitted again, on the rows that judged it as well, and that fit is deployed.",
        f"    training=Training(min_rows={min_rows}, refit=True),",
    ]


def _drift_lines(findings: Findings) -> list[str]:
    lines = ["    # A drift report fails when this share of the features has drifted."]
    options = ["share=0.3", f"min_rows={max(20, min(100, findings.target.rows // 5))}"]
    coded = [literal(column.name) for column in findings.categorical if column.name not in findings.distinct]
    if findings.distinct and (findings.numeric or coded):
        lines.append("    # It leaves out the texts of which every file has new ones.")
        columns = ["        columns=FEATURES.numeric,"]
        if coded:
            numbers = ["*FEATURES.numeric"] if findings.numeric else []
            columns = _tuple("        columns=", [*numbers, *coded], ",")
        return [*lines, "    drift=DriftThresholds(", *columns, *(f"        {option}," for option in options), "    ),"]
    return [*lines, f"    drift=DriftThresholds({', '.join(options)}),"]


def _performance_lines(findings: Findings, *, ordered: bool) -> list[str]:
    if findings.time is not None or not ordered:
        return []
    return [
        "    # Performance is measured by windows of so many rows; a backtest asks its policies after each of them.",
        f"    performance=PerformanceThresholds(window=Rows({choose_window(findings.target.rows)})),",
    ]


def choose_window(rows: int) -> int:
    """So many rows to a window that there are about twenty: a round number, from 100 on."""
    wanted = max(100, rows // 20)
    size = int(10 ** (len(str(wanted)) - 1))
    return max(step * size for step in (1, 2, 5) if step * size <= wanted)


def _gate_lines(findings: Findings, *, ordered: bool) -> list[str]:
    if not ordered:
        return [f"    gates=Gates(routine_margin={ROUTINE_MARGIN:g}),"]
    return [
        "    # Each candidate is told beside repeating the last known label; with beat it would have to be better.",
        f'    gates=Gates(routine_margin={ROUTINE_MARGIN:g}, persistence="tell"),',
    ]


def _key_lines(keys: Sequence[str]) -> list[str]:
    if keys:
        return [
            "    # A row with a known key replaces the earlier one.",
            *_tuple("    keys=", list(map(literal, keys)), ","),
        ]
    return ["    # Without keys=(...) a changed file replaces its own earlier rows as a whole."]


def _tuple(before: str, items: Sequence[str], after: str = "") -> list[str]:
    """A tuple as the formatter lays it out: on one line, or one item a line."""
    line = f"{before}({', '.join(items)}{',' if len(items) == 1 else ''}){after}"
    if _display_width(line) <= WIDTH:
        return [line]
    indent = before[: len(before) - len(before.lstrip())]
    return [f"{before}(", *(f"{indent}    {item}," for item in items), f"{indent}){after}"]


def _display_width(line: str) -> int:
    """How many columns of a terminal a line takes; East Asian letters take two."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in line
    )
