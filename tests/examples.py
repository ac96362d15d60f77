"""The worked examples of docs/model-files.md, how one is put into a model file, and the tables that they are for."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

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


EXAMPLES = {example.title: example for example in examples()}


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
        elif _name(node) and _name(node) in names:
            file[names.index(_name(node))] = node
        else:
            following = next(name for each in example[place:] if (name := _name(each)) and name in names)
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


def load_table(start: str = "2026-01-01", days: int = 30) -> pd.DataFrame:
    """Hourly load of two sites, with a course of the day and some gaps in the temperature."""
    hours = pd.date_range(start, periods=24 * days, freq="h", tz="UTC")
    random = np.random.default_rng([7, hours[0].dayofyear])
    sites = []
    for site, base in (("north", 50.0), ("south", 40.0)):
        angle = hours.hour.to_numpy() / 24 * 2 * np.pi
        temperature = 10 + 8 * np.sin(angle) + random.normal(0, 2, len(hours))
        load = base + 10 * np.cos(angle) - 0.8 * temperature + random.normal(0, 1, len(hours))
        temperature[random.random(len(hours)) < 0.02] = np.nan
        at = hours.strftime("%Y-%m-%dT%H:%M:%SZ")
        sites.append(pd.DataFrame({"at": at, "site": site, "temperature": temperature.round(1), "load": load.round(2)}))
    return pd.concat(sites).sort_values(["at", "site"], ignore_index=True)


def churn_table(rows: int = 1500, first: int = 10001) -> pd.DataFrame:
    """Customers of a hundred cities, of which every tenth loses most of them."""
    random = np.random.default_rng([8, first])
    city, calls = random.integers(0, 100, rows), random.poisson(1.5, rows)
    chance = 0.03 + 0.6 * (city % 10 == 0) + 0.08 * (calls > 3)
    return pd.DataFrame(
        {
            "customer": range(first, first + rows),
            "plan": random.choice(["basic", "family"], rows),
            "city": [f"city {number}" for number in city],
            "calls": calls,
            "monthly": random.normal(35, 8, rows).round(2),
            "churned": np.where(random.random(rows) < chance, "yes", "no"),
        }
    )


def reviews_table(rows: int = 900) -> pd.DataFrame:
    """What guests wrote, an hour apart: more of the good words by those who recommend the place."""
    random = np.random.default_rng(9)
    plain, good, bad = (
        "the room was very and a food we had".split(),
        "warm friendly tasty".split(),
        "cold rude bland".split(),
    )
    texts, labels = [], random.choice(["no", "yes"], rows)
    for label in labels:
        chance = 0.8 if label == "yes" else 0.2
        told = [random.choice(good if random.random() < chance else bad) for _ in range(3)]
        texts.append(" ".join([*random.choice(plain, random.integers(5, 15)), *told]))
    at = pd.date_range("2026-01-01", periods=rows, freq="h", tz="UTC").strftime("%Y-%m-%dT%H:%M:%SZ")
    nights = random.integers(1, 8, rows)
    return pd.DataFrame({"at": at, "nights": nights, "review": texts, "recommended": labels})


TABLES: dict[str, tuple[Callable[..., pd.DataFrame], dict[str, Any]]] = {
    "load": (load_table, {"target": "load", "time": "at", "keys": ("site", "at")}),
    "churn": (churn_table, {"target": "churned", "keys": ("customer",)}),
    "reviews": (reviews_table, {"target": "recommended", "time": "at"}),
}


def write(rows: pd.DataFrame, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.to_csv(path, index=False)
    return path
