"""Write a retraining policy, a training window and a burden of proof into a model file.

The rest of the file is left as a person wrote it.
The parser says where each part of the text is; only that part is replaced.
"""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

from evergreen.errors import ModelFileError
from evergreen.spec import policies
from evergreen.spec.gates import Gates
from evergreen.spec.policies import AtLeast
from evergreen.spec.policy import PolicyFunction, RetrainPolicy
from evergreen.spec.retraining import RENAMED
from evergreen.spec.training import Training

_WIDTH = 120


def with_policy(text: str, path: Path, policy: RetrainPolicy | PolicyFunction, training: Training | None = None) -> str:
    """The model file's text with another policy; its triggers are removed, because they follow from the policy.

    Args:
        text: the model file's text.
        path: the model file, for messages.
        policy: the policy to write.
        training: the training window to write; None leaves the window as it is.

    Raises:
        ModelFileError: the file's MODEL is not written as ModelSpec(...).
    """
    source = source_of(policy)
    names = {keyword.arg for keyword in _model_call(text, path).keywords}
    if names & set(RENAMED):
        # A model file of version 0.1.0 names these fields beside the sections.
        changes: dict[str, str | None] = {"retrain_on": None, "policy": source}
    else:
        changes = {"retraining": _retraining_source(text, path, source)}
    changes |= {} if training is None else {"training": _training_source(training)}
    for name, value in changes.items():
        text = _set_field(text, path, name, value)
    imports = {"evergreen.spec": _policy_names(source), "datetime": {"timedelta"} if "timedelta(" in text else set()}
    imports["evergreen.spec"] |= {name for name in ("Retraining", "Rows", "Training") if f"{name}(" in text}
    for module in sorted(imports):
        if imports[module]:
            text = _add_import(text, module, imports[module])
    return text


def with_routine_margin(text: str, path: Path, margin: float) -> str:
    """The model file's text with another burden of proof of a routine candidate; the other gates stay as they are.

    Raises:
        ModelFileError: the file's MODEL is not written as ModelSpec(...), or its gates not as Gates(...).
    """
    section = next((keyword.value for keyword in _model_call(text, path).keywords if keyword.arg == "gates"), None)
    if section is None:
        keywords = []
    elif isinstance(section, ast.Call) and isinstance(section.func, ast.Name) and section.func.id == Gates.__name__:
        keywords = section.keywords
    else:
        raise ModelFileError(
            f"{path.name}: gates is not written as Gates(...), so that a margin cannot be written into it.",
            f"Set routine_margin={margin:g} where the gates are made; see docs/gates.md.",
        )
    others = [ast.unparse(keyword) for keyword in keywords if keyword.arg != "routine_margin"]
    text = _set_field(text, path, "gates", f"Gates({', '.join([*others, f'routine_margin={margin:g}'])})")
    return _add_import(text, "evergreen.spec", {Gates.__name__})


def _retraining_source(text: str, path: Path, source: str) -> str:
    """The model's `retraining` as Python source with another policy, and without its triggers."""
    section = next((keyword.value for keyword in _model_call(text, path).keywords if keyword.arg == "retraining"), None)
    keywords = section.keywords if isinstance(section, ast.Call) else []
    others = [ast.unparse(keyword) for keyword in keywords if keyword.arg not in ("policy", "triggers")]
    return f"Retraining({', '.join([f'policy={source}', *others])})"


def _set_field(text: str, path: Path, name: str, value: str | None) -> str:
    """Set a field of the model; None removes it."""
    call = _model_call(text, path)
    lines = text.splitlines(keepends=True)
    field = next((keyword for keyword in call.keywords if keyword.arg == name), None)
    if field is None:
        if value is None:
            return text
        end = _text_position(lines, call.end_lineno or 0, (call.end_col_offset or 1) - 1)
        before = text[:end].rstrip()
        comma = "" if before.endswith((",", "(")) else ","
        return f"{before}{comma}\n    {name}={value},\n{text[end:]}"
    start = _text_position(lines, field.lineno, field.col_offset)
    end = _text_position(lines, field.value.end_lineno or 0, field.value.end_col_offset or 0)
    if value is not None:
        return f"{text[:start]}{name}={value}{text[end:]}"
    after = text[end:].lstrip(" ")
    after = after[1:].lstrip(" ") if after.startswith(",") else after
    before = text[:start].rstrip(" ")
    return before + (after[1:] if after.startswith("\n") and before.endswith("\n") else after)


def _model_call(text: str, path: Path) -> ast.Call:
    """The call of ModelSpec that is assigned to MODEL.

    Raises:
        ModelFileError: there is none.
    """
    for node in ast.parse(text).body:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        assigns_model = any(isinstance(target, ast.Name) and target.id == "MODEL" for target in node.targets)
        function = node.value.func
        if assigns_model and isinstance(function, ast.Name) and function.id == "ModelSpec":
            return node.value
    raise ModelFileError(
        f"{path.name}: MODEL is not written as ModelSpec(...), so that a policy cannot be written into it.",
        "Add policy=... where the model is made; see docs/backtest.md.",
    )


def _text_position(lines: list[str], line: int, column: int) -> int:
    """The position in the text of a place that the parser names by line, from 1, and column, in bytes."""
    return sum(map(len, lines[: line - 1])) + len(lines[line - 1].encode()[:column].decode())


def _add_import(text: str, module: str, names: set[str]) -> str:
    """The text with names imported from a module, in the order that the formatter keeps."""
    imports = [node for node in ast.parse(text).body if isinstance(node, ast.ImportFrom | ast.Import)]
    from_imports = [node for node in imports if isinstance(node, ast.ImportFrom)]
    lines = text.splitlines(keepends=True)
    existing = next((node for node in from_imports if node.module == module), None)
    imported = {alias.name for alias in existing.names} if existing else set()
    ordered = sorted(imported | names, key=lambda name: (not name[0].isupper(), name))
    line = f"from {module} import {', '.join(ordered)}\n"
    if len(line) > _WIDTH:
        line = f"from {module} import (\n" + "".join(f"    {name},\n" for name in ordered) + ")\n"
    if existing is not None:
        if names <= imported:
            return text
        return "".join([*lines[: existing.lineno - 1], line, *lines[existing.end_lineno :]])
    later = [node for node in from_imports if _same_group(node.module, module) and _sorts_after(node, module)]
    if later:
        index = later[0].lineno - 1
    else:
        earlier = [node for node in from_imports if node.module == "__future__"] or imports[:1]
        index = (earlier[-1].end_lineno or 0) if earlier else 0
        line = f"\n{line}" if earlier else line
    return "".join([*lines[:index], line, *lines[index:]])


def _same_group(module: str | None, other: str) -> bool:
    """Whether the formatter puts the imports of both modules into one group."""
    return (module or "").startswith("evergreen") == other.startswith("evergreen")


def _sorts_after(node: ast.ImportFrom, module: str) -> bool:
    return node.module != "__future__" and (node.module or "") > module


def _training_source(training: Training) -> str:
    """A training window as Python source, without fields that have their default."""
    default = Training()
    values = {name: getattr(training, name) for name in Training.model_fields}
    arguments = [f"{name}={_value_source(value)}" for name, value in values.items() if value != getattr(default, name)]
    return f"Training({', '.join(arguments)})"


def source_of(policy: RetrainPolicy | PolicyFunction) -> str:
    """A policy as Python source, without fields that have their default."""
    if isinstance(policy, AtLeast):
        inner = ", ".join(map(source_of, policy.policies))
        if policy.least in (1, len(policy.policies)):
            return f"{'any_of' if policy.least == 1 else 'all_of'}({inner})"
        return f"at_least({policy.least}, {inner})"
    if type(policy).__module__ != policies.__name__ or callable(policy):
        return str(getattr(policy, "__name__", f"{type(policy).__name__}()"))
    values = {field: getattr(policy, field.name) for field in fields(policy)}  # type: ignore[arg-type]
    arguments = [
        f"{field.name}={_policy_value_source(value)}"
        for field, value in values.items()
        if field.name != "triggers" and value != field.default
    ]
    return f"{type(policy).__name__}({', '.join(arguments)})"


def _policy_names(source: str) -> set[str]:
    """The names from `evergreen.spec.policies` that a policy's source uses."""
    return set(re.findall(r"\b\w+(?=\()", source)) & set(vars(policies))


def _policy_value_source(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return source_of(value) if isinstance(value, RetrainPolicy) or callable(value) else _value_source(value)


def _value_source(value: object) -> str:
    return f"timedelta(days={value / timedelta(days=1):g})" if isinstance(value, timedelta) else repr(value)
