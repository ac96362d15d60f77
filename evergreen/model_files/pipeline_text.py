"""The text of a model file's pipeline: gradient-boosted trees with the loss, the encoders and the search that fit."""

from __future__ import annotations

from collections.abc import Sequence

from evergreen.model_files.inference import Findings
from evergreen.model_files.objective import Objective

SPREAD_TIES = '''def spread_ties(targets: Any) -> Any:
    """Set equal targets a millionth of their spread apart, so that absolute errors say where to go from the median.

    The trees begin at the median. Where most targets are equal to it, as amounts that are mostly 0, they find no split.
    """
    import numpy as np

    return targets + 1e-6 * targets.std() * np.random.default_rng(0).random(targets.shape)


'''

ENCODE = """\
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)
"""

AVERAGE = """\
    # A text becomes {what} of its rows, taken over folds, so that no row sees its own target.
    average = TargetEncoder({options}cv=KFold(5, shuffle=True, random_state=seed))
"""

FEW, SOME = 50, 20


def pipeline_text(findings: Findings, objective: Objective) -> str:
    """The function `pipeline` of a model file, and the function that it needs beside it."""
    kind = "Regressor" if findings.target.task == "regression" else "Classifier"
    boost = f"HistGradientBoosting{kind}"
    imports = [("ensemble", boost), ("pipeline", "Pipeline")]
    body = ""
    if findings.categorical:
        body += _encoders(findings, imports)
    options, reasons = _options(findings, objective)
    body += "".join(f"    # {reason}\n" for reason in reasons)
    trees = f"{boost}({', '.join(options)})"
    if objective.breaks_ties:
        imports += [("compose", "TransformedTargetRegressor"), ("preprocessing", "FunctionTransformer")]
        body += f"    trees = {trees}\n"
        body += "    spread = FunctionTransformer(spread_ties)\n"
        body += "    boost = TransformedTargetRegressor(trees, transformer=spread, check_inverse=False)\n"
    else:
        body += f"    boost = {trees}\n"
    steps = '("columns", columns), ("model", boost)' if findings.categorical else '("model", boost)'
    head = f'def pipeline(seed: int) -> Pipeline:\n    """{_describe(findings)}"""\n'
    text = f"{head}{_import_lines(imports)}\n{body}    return Pipeline([{steps}])"
    return (SPREAD_TIES if objective.breaks_ties else "") + text


def search_lines(objective: Objective) -> list[str]:
    """The field `search` of a model file, with a comment before it."""
    step = "model__regressor" if objective.breaks_ties else "model"
    grid = {f"{step}__learning_rate": "(0.03, 0.1)", f"{step}__max_leaf_nodes": "(7, 31)"}
    if objective.balanced == "tried":
        comment = "Eight combinations, half with equal weight for each class, each fitted three times"
        grid = {f"{step}__class_weight": '(None, "balanced")'} | grid
    else:
        comment = "Four combinations, each fitted three times"
    lines = [f"    # {comment}; the best is fitted again on all training rows."]
    items = [f'"{name}": {values}' for name, values in grid.items()]
    line = f"    search=Search(grid={{{', '.join(items)}}}, folds=3),"
    if len(line) <= 120:
        return [*lines, line]
    inner = [f"            {item}," for item in items]
    return [*lines, "    search=Search(", "        grid={", *inner, "        },", "        folds=3,", "    ),"]


def trusted_lines(name: str, objective: Objective) -> list[str]:
    """The field `trusted` of a model file, with a comment before it; empty where nothing has to be named."""
    if not objective.breaks_ties:
        return []
    return [
        "    # What the stored pipeline holds beside the types that are known.",
        f'    trusted=("models.{name}.spread_ties",),',
    ]


def _describe(findings: Findings) -> str:
    new = "; a new category counts as a missing one" if len(findings.categorical) > len(findings.distinct) else ""
    return f"Gradient-boosted trees, which accept missing numbers{new}."


def _encoders(findings: Findings, imports: list[tuple[str, str]]) -> str:
    imports.append(("compose", "ColumnTransformer"))
    text, steps, coded = "", [], "list(FEATURES.categorical)"
    if findings.distinct:
        coded = "[name for name in FEATURES.categorical if name not in MANY_VALUED]"
    if len(findings.categorical) > len(findings.distinct):
        imports.append(("preprocessing", "OrdinalEncoder"))
        text += ENCODE
        steps.append(f'("encode", encode, {"coded" if findings.distinct else coded})')
    if findings.distinct:
        imports += [("preprocessing", "TargetEncoder"), ("model_selection", "KFold")]
        is_regression = findings.target.task == "regression"
        what = "the mean target" if is_regression else "the share of each class"
        text += AVERAGE.format(what=what, options='target_type="continuous", ' if is_regression else "")
        text += f"    coded = {coded}\n" if steps else ""
        steps.append('("average", average, list(MANY_VALUED))')
    inside = f'[{", ".join(steps)}], remainder="passthrough"'
    line = f"    columns = ColumnTransformer({inside})"
    return text + (line if len(line) <= 120 else f"    columns = ColumnTransformer(\n        {inside}\n    )") + "\n"


def _options(findings: Findings, objective: Objective) -> tuple[list[str], list[str]]:
    """The options of the trees, and the comments before them."""
    options, reasons = ["max_iter=200"], []
    if objective.loss:
        options = [f'loss="{objective.loss}"', *options]
        reasons.append(objective.loss_why)
    if (leaf := max(5, min(SOME, findings.target.rows // 50))) < SOME:
        options.append(f"min_samples_leaf={leaf}")
        reasons.append("Smaller leaves than the default of 20, since rows are few.")
    if objective.balanced == "always":
        options.append('class_weight="balanced"')
        reasons.append("Classes weigh alike, as they do in the metric.")
    if findings.target.classes and min(rows for _, rows in findings.target.classes) < FEW:
        options.append("early_stopping=False")
        reasons.append("Stopping early would set rows of every class aside, and the rarest has too few of them.")
    return [*options, "random_state=seed"], reasons


def _import_lines(imports: Sequence[tuple[str, str]]) -> str:
    modules = sorted({module for module, _ in imports})
    names = {module: ", ".join(sorted(name for each, name in imports if each == module)) for module in modules}
    return "".join(f"    from sklearn.{module} import {names[module]}\n" for module in modules)
