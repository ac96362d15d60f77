"""The examples of a page, and how one is put into a model file."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Example:
    """One worked example of docs/model-files.md: its heading, the model whose file it changes, and its lines."""

    title: str
    model: str
    code: str


def examples() -> list[Example]:
    """Every example of the page, in its order."""
    page = (PROJECT / "docs" / "model-files.md").read_text()
    part = page.split("\n## Worked examples\n")[1].split("\n## ")[0]
    return [
        Example(title, *re.findall(r"In `models/(\w+)\.py`.*?```python\n(.*?)```", text, flags=re.DOTALL)[0])
        for title, text in re.findall(r"^### (.+?)\n(.*?)(?=^### |\Z)", part, flags=re.MULTILINE | re.DOTALL)
    ]


def with_example(source: str, code: str) -> str:
    """A model file with an example in it, as the page says: a name replaces its namesake, or comes above the next one.

    In MODEL `...` stands for the fields that stay; a field of the example replaces its namesake or is added.
    """
    file, example = ast.parse(source).body, ast.parse(code).body
    for place, node in enumerate(example):
        names = [_name(each) for each in file]
        if isinstance(node, ast.ImportFrom):
            file.insert(1 + max(at for at, each in enumerate(file) if isinstance(each, ast.ImportFrom)), node)
        elif _name(node) == "MODEL":
            _change(_call(file[-1]), _call(node))
        elif _name(node) in names:
            file[names.index(_name(node))] = node
        else:
            following = next(name for each in example[place:] if (name := _name(each)) in names)
            file.insert(names.index(following), node)
    return ast.unparse(ast.Module(file, []))


def _name(node: ast.stmt) -> str:
    if isinstance(node, ast.FunctionDef):
        return node.name
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        return ast.unparse(node.targets[0])
    return ""


def _call(node: ast.stmt) -> ast.Call:
    assert isinstance(node, ast.Assign)
    assert isinstance(node.value, ast.Call)
    return node.value


def _change(model: ast.Call, example: ast.Call) -> None:
    assert [ast.unparse(each) for each in example.args] == ["..."]
    changed = {word.arg for word in example.keywords}
    model.keywords = [word for word in model.keywords if word.arg not in changed] + example.keywords
