"""What replays have worked out, kept between runs: by what it follows from, so that nothing is worked out twice.

A result is a small JSON file, a fit a folder with the pipeline and what is kept beside it. Both are written under
another name and renamed: a process that is killed leaves a whole result or none.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evergreen import naming
from evergreen.spec.model import ModelSpec
from evergreen.spec.policy import name_of
from evergreen.storage.atomic_write import write_text

VERSION = 5
"""Raised whenever the same question gets another answer."""

_LEFT_OUT = {"retraining", "approval", "source", "labels"}
_OF_A_FIT = {
    "task",
    "target",
    "time",
    "order",
    "keys",
    "features",
    "search",
    "metric",
    "holdout",
    "training",
    "seed",
    "trusted",
}


@dataclass(frozen=True, slots=True)
class JobCache:
    """The folder of one model's results; it is made when something is kept."""

    folder: Path

    def find(self, kind: str, key: str) -> dict[str, Any] | None:
        """A result; None where it is not known yet, or cannot be read."""
        try:
            found: dict[str, Any] = json.loads(self._place(kind, key).read_text())
        except (OSError, ValueError):
            return None
        return found

    def keep(self, kind: str, key: str, told: Mapping[str, Any]) -> None:
        """Keep a result."""
        place = self._place(kind, key)
        place.parent.mkdir(parents=True, exist_ok=True)
        # What a power cut takes is worked out again.
        write_text(place, json.dumps(told), durable=False)

    def fit(self, key: str) -> Path:
        """The folder of a fit, which may not be there yet."""
        return self.folder / "fits" / key

    def begin(self) -> Path:
        """A name that no other fit is written under."""
        (self.folder / "fits").mkdir(parents=True, exist_ok=True)
        return self.folder / "fits" / f"{naming.PART_PREFIX}{uuid.uuid4().hex}"

    def end(self, part: Path, key: str) -> None:
        """Give a written fit its name; one that another process made meanwhile stays."""
        try:
            part.rename(self.fit(key))
        except OSError:
            if not self.fit(key).exists():
                raise
            shutil.rmtree(part)

    def sweep(self) -> None:
        """Take away what killed processes left half-written; only while no other process writes here."""
        for part in self.folder.glob(f"*/{naming.PART_PREFIX}*"):
            shutil.rmtree(part) if part.is_dir() else part.unlink()

    def _place(self, kind: str, key: str) -> Path:
        return self.folder / kind / f"{key}.json"


def key_of(*parts: object) -> str:
    """A name, 24 hex digits, for what follows from these parts."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:24]


def fit_fingerprint(spec: ModelSpec) -> str:
    """What a fit follows from beside its rows."""
    return _fingerprint(spec, spec.model_dump(include=_OF_A_FIT, exclude={"metric": {"function": True}}))


def verdict_fingerprint(spec: ModelSpec) -> str:
    """What a verdict follows from beside rows and fits: all of the model file but when it is retrained."""
    names = set(ModelSpec.model_fields) - _LEFT_OUT - {"prepare", "contract", "pipeline"}
    functions: Any = {
        "metric": {"function": True},
        "gates": {"baseline": True},
        "performance": {"also": {"__all__": {"function"}}},
    }
    return _fingerprint(spec, spec.model_dump(include=names, exclude=functions))


def _fingerprint(spec: ModelSpec, values: Mapping[str, Any]) -> str:
    from importlib.metadata import version

    also = (metric.function for metric in spec.performance.also)
    functions = [spec.pipeline, spec.metric.function, spec.gates.baseline, *also]
    packages = [version(name) for name in ("scikit-learn", "pandas", "numpy", "evidently")]
    code = [_code(function) for function in functions if function]
    return key_of(VERSION, repr(sorted(values.items())), *code, *packages)


def _code(function: Callable[..., Any]) -> str:
    """The code of the file that a function is written in, without the model itself: that is told field by field."""
    try:
        tree = ast.parse(Path(inspect.getfile(function)).read_text(encoding="utf-8"))
    except (OSError, TypeError, SyntaxError):
        return name_of(function)
    tree.body = [node for node in tree.body if not (isinstance(node, ast.Assign) and _names_the_model(node))]
    return ast.unparse(tree)


def _names_the_model(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == "MODEL" for target in node.targets)
