"""Writing a policy and a training window into a model file, and leaving the rest of it as a person wrote it.

The parser says where things stand; the text is cut and pasted there.
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
from evergreen.spec.policies import AtLeast
from evergreen.spec.policy import PolicyFunction, RetrainPolicy
from evergreen.spec.retraining import RENAMED
from evergreen.spec.training import Training

_WIDTH = 120


def with_policy(text: str, path: Path, policy: RetrainPolicy | PolicyFunction, training: Training | None = None) -> str:
    """The model file's text with another policy; its triggers go, since they follow from the policy.

    Args:
        path: named where something is wrong.
        training: with its window too; None leaves that as it is.

    Raises:
        ModelFileError: the file's MODEL is not written as ModelSpec(...).
    """
    source = source_of(policy)
    fields = {one.arg for one in _model(text, path).keywords}
    if fields & set(RENAMED):
        # A model file of version 0.1.0 names these fields beside the sections.
        changes: dict[str, str | None] = {"retrain_on": None, "policy": source}
    else:
        changes = {"retraining": _section(text, path, source)}
    changes |= {} if training is None else {"training": _written(training)}
    for name, value in changes.items():
        text = _set(text, path, name, value)
    wanted = {("evergreen.spec", name) for name in _names_in(source)}
    if "timedelta(" in text:
        wanted.add(("datetime", "timedelta"))
    wanted |= {("evergreen.spec", name) for name in ("Retraining", "Training") if f"{name}(" in text}
    for module in sorted({module for module, _ in wanted}):
        text = _imported(text, module, [name for where, name in wanted if where == module])
    return text


def _section(text: str, path: Path, source: str) -> str:
    """The `retraining` of the model as Python with another policy, and without its triggers."""
    present = next((one.value for one in _model(text, path).keywords if one.arg == "retraining"), None)
    kept = (
        [one for one in present.keywords if one.arg not in ("policy", "triggers")]
        if isinstance(present, ast.Call)
        else []
    )
    words = [f"policy={source}", *(ast.unparse(one) for one in kept)]
    return f"Retraining({', '.join(words)})"


def _set(text: str, path: Path, name: str, value: str | None) -> str:
    """Set a field of the model; None takes it away."""
    call = _model(text, path)
    lines = text.splitlines(keepends=True)
    found = next((one for one in call.keywords if one.arg == name), None)
    if found is None:
        if value is None:
            return text
        end = _offset(lines, call.end_lineno or 0, (call.end_col_offset or 1) - 1)
        before = text[:end].rstrip()
        comma = "" if before.endswith((",", "(")) else ","
        return f"{before}{comma}\n    {name}={value},\n{text[end:]}"
    start = _offset(lines, found.lineno, found.col_offset)
    end = _offset(lines, found.value.end_lineno or 0, found.value.end_col_offset or 0)
    if value is not None:
        return f"{text[:start]}{name}={value}{text[end:]}"
    rest = text[end:].lstrip(" ")
    rest = rest[1:].lstrip(" ") if rest.startswith(",") else rest
    begun = text[:start].rstrip(" ")
    return begun + (rest[1:] if rest.startswith("\n") and begun.endswith("\n") else rest)


def _model(text: str, path: Path) -> ast.Call:
    for node in ast.parse(text).body:
        named = isinstance(node, ast.Assign) and any(
            isinstance(one, ast.Name) and one.id == "MODEL" for one in node.targets
        )
        if named and isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            called = node.value.func
            if isinstance(called, ast.Name) and called.id == "ModelSpec":
                return node.value
    raise ModelFileError(
        f"{path.name}: MODEL is not written as ModelSpec(...), so that a policy cannot be put into it.",
        "Add policy=... where the model is made; see docs/backtest.md.",
    )


def _offset(lines: list[str], line: int, column: int) -> int:
    """Where a place that the parser names, line from 1 and column in bytes, stands in the text."""
    return sum(map(len, lines[: line - 1])) + len(lines[line - 1].encode()[:column].decode())


def _imported(text: str, module: str, names: list[str]) -> str:
    """The text with names imported from a module, in the order that the formatter keeps."""
    tree = ast.parse(text)
    top = [node for node in tree.body if isinstance(node, ast.ImportFrom | ast.Import)]
    lines = text.splitlines(keepends=True)
    same = next((one for one in top if isinstance(one, ast.ImportFrom) and one.module == module), None)
    held = [one.name for one in same.names] if same else []
    every = sorted({*held, *names}, key=lambda name: (not name[0].isupper(), name))
    line = f"from {module} import {', '.join(every)}\n"
    if len(line) > _WIDTH:
        line = f"from {module} import (\n" + "".join(f"    {name},\n" for name in every) + ")\n"
    if same is not None:
        if set(every) == set(held):
            return text
        return "".join([*lines[: same.lineno - 1], line, *lines[same.end_lineno :]])
    ours = module.startswith("evergreen")
    later = [
        one for one in top if isinstance(one, ast.ImportFrom) and _group(one.module) == ours and _after(one, module)
    ]
    if later:
        place = later[0].lineno - 1
    else:
        earlier = [one for one in top if isinstance(one, ast.ImportFrom) and one.module == "__future__"] or top[:1]
        place = (earlier[-1].end_lineno or 0) if earlier else 0
        line = f"\n{line}" if earlier else line
    return "".join([*lines[:place], line, *lines[place:]])


def _group(module: str | None) -> bool:
    return (module or "").startswith("evergreen")


def _after(node: ast.ImportFrom, module: str) -> bool:
    return node.module != "__future__" and (node.module or "") > module


def _written(training: Training) -> str:
    """A training window as Python, without what is as it is by default."""
    plain = Training()
    given = {name: getattr(training, name) for name in Training.model_fields}
    words = [f"{name}={_plain(value)}" for name, value in given.items() if value != getattr(plain, name)]
    return f"Training({', '.join(words)})"


def _plain(value: object) -> str:
    return f"timedelta(days={value / timedelta(days=1):g})" if isinstance(value, timedelta) else repr(value)


def source_of(policy: RetrainPolicy | PolicyFunction) -> str:
    """A policy as Python source, without what is as it is by default."""
    if isinstance(policy, AtLeast):
        inner = ", ".join(source_of(one) for one in policy.policies)
        if policy.least in (1, len(policy.policies)):
            return f"{'any_of' if policy.least == 1 else 'all_of'}({inner})"
        return f"at_least({policy.least}, {inner})"
    if type(policy).__module__ != policies.__name__ or callable(policy):
        return str(getattr(policy, "__name__", f"{type(policy).__name__}()"))
    given = [(one.name, one.default, getattr(policy, one.name)) for one in fields(policy)]  # type: ignore[arg-type]
    words = [f"{name}={_literal(value)}" for name, default, value in given if name != "triggers" and value != default]
    return f"{type(policy).__name__}({', '.join(words)})"


def _names_in(source: str) -> set[str]:
    """What a policy's source takes from `evergreen.spec.policies`."""
    return set(re.findall(r"\b\w+(?=\()", source)) & set(vars(policies))


def _literal(value: Any) -> str:
    if isinstance(value, timedelta):
        return f"timedelta(days={value / timedelta(days=1):g})"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return source_of(value) if isinstance(value, RetrainPolicy) or callable(value) else repr(value)
