"""Bring your own: one typed Python file a model, each with a `MODEL = ModelSpec(...)`.

This module finds and loads them. A mistake in a model file becomes one line that names the file and the field.

A model file may import another one: `models.other` is `other.py` of the folder that was loaded from last, or else the
one that ships, whatever was loaded before.
"""

from __future__ import annotations

import ast
import gc
import hashlib
import importlib.util
import re
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from evergreen.errors import ModelFileError
from evergreen.spec.model import NAME, ModelSpec

SHIPPED = Path(__file__).parent.absolute()
MOVED = {
    "evergreen.delta_source": "evergreen.sources",
    "evergreen.dvc_source": "evergreen.sources",
    "evergreen.object_store": "evergreen.sources",
    "evergreen.parquet_source": "evergreen.sources",
    "evergreen.simulator": "evergreen.sources",
    "evergreen.sql_source": "evergreen.sources",
    "evergreen.occasion": "evergreen.spec",
    "evergreen.policies": "evergreen.spec",
}
"""Where model files of version 0.1.0 imported from, and where the same names are now."""
RENAMED = {"Occasion": "PolicyContext", "Answer": "RetrainAnswer", "Policy": "RetrainPolicy"}
"""Names that were others in version 0.1.0."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model file as it stands.

    Attributes:
        spec: what it says.
        hash: of its code, 16 hex digits; comments, docstrings and layout do not count.
        path: the file.
    """

    spec: ModelSpec
    hash: str
    path: Path


def names(folder: Path) -> tuple[str, ...]:
    """The models that `folder` holds, by name."""
    return tuple(sorted(path.stem for path in folder.glob("*.py") if NAME.fullmatch(path.stem)))


def load(name: str, folder: Path) -> LoadedModel:
    """Load `folder/NAME.py`.

    Raises:
        ModelFileError: there is no such model, or its file is at fault.
    """
    known = names(folder)
    if name not in known:
        shown = name if len(name) <= 60 and name.isprintable() else f"{name[:30]!a}..."
        raise ModelFileError(
            f"Unknown model {shown!r}: {folder.name}/ holds {', '.join(known) or 'no model yet'}.",
            "Choose one of them, or make one with: evergreen new NAME --csv FILE --target COLUMN",
        )
    path = folder / f"{name}.py"
    try:
        source = path.read_text(encoding="utf-8")
        tree = _parse(source, path)
    except (SyntaxError, UnicodeDecodeError, OSError) as error:
        line = getattr(error, "lineno", None)
        raise ModelFileError(f"{path.name}{f', line {line}' if line else ''}: {error}.", f"Mend {path}.") from None
    spec = _execute(name, path)
    if spec.name != name:
        raise ModelFileError(
            f"{path.name}: name: it says {spec.name!r}, and the file is {path.name}.", "Make the two agree."
        )
    return LoadedModel(spec=spec, hash=_code_hash(tree), path=path)


def spec_of(name: str, folder: Path) -> ModelSpec:
    """What a model file says, for a process that is to read it itself.

    Raises:
        ModelFileError: as in `load`.
    """
    return load(name, folder).spec


def _parse(source: str, path: Path) -> ast.Module:
    # Before 3.11.9 and 3.12.3 Python counts the depth of a parse for all threads together (gh-106905): when the cycle
    # collector runs in the middle and lets another thread parse, a sound file ends with a SystemError.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(source, filename=str(path))
    finally:
        if collecting:
            gc.enable()


def _execute(name: str, path: Path) -> ModelSpec:
    # Under its package name, so that skops finds a model file's own functions again when it loads a stored pipeline.
    full = f"{__name__}.{name}"
    found = importlib.util.spec_from_file_location(full, path)
    if found is None or found.loader is None:
        raise ModelFileError(f"{path.name} cannot be imported.", f"Mend {path}.")
    _settle(path.parent.absolute())
    module = importlib.util.module_from_spec(found)
    _forget(full)
    sys.modules[full] = module
    try:
        found.loader.exec_module(module)
    except Exception as error:
        _forget(full)
        raise _fault(path, error) from None
    spec = getattr(module, "MODEL", None)
    if not isinstance(spec, ModelSpec):
        raise ModelFileError(f"{path.name}: it has no MODEL = ModelSpec(...).", "See models/iris.py for the shape.")
    return spec


def _settle(folder: Path) -> None:
    """Let `models.other` be the file of this folder, or else the shipped one; forget those from elsewhere."""
    __path__[:] = [str(folder), str(SHIPPED)]
    for full, module in list(sys.modules.items()):
        package, _, name = full.partition(".")
        if package == __name__ and name:
            place = folder if (folder / f"{name}.py").exists() else SHIPPED
            if getattr(module, "__file__", None) != str(place / f"{name}.py"):
                _forget(full)


def _forget(full: str) -> None:
    """The next import of a model file reads it anew."""
    module = sys.modules.pop(full, None)
    name = full.rpartition(".")[2]
    if module is not None and globals().get(name) is module:
        del globals()[name]


def _fault(path: Path, error: Exception) -> ModelFileError:
    if isinstance(error, ValidationError):
        return _field_error(path, error)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    where = f", line {frames[-1].lineno}" if frames else ""
    moved = error.name if isinstance(error, ModuleNotFoundError) else None
    if moved in MOVED:
        line = (frames[-1].line or moved) if frames else moved
        for name, renamed in RENAMED.items():
            line = re.sub(rf"\b{name}\b", renamed, line)
        return ModelFileError(
            f"{path.name}{where}: {moved} is part of {MOVED[moved]} now.",
            f"Write in {path}: {line.replace(moved, MOVED[moved])}",
        )
    return ModelFileError(f"{path.name}{where}: {type(error).__name__}: {error}.", f"Mend {path}.")


def _field_error(path: Path, error: ValidationError) -> ModelFileError:
    first = error.errors()[0]
    # A nested part such as Metric(...) fails before the ModelSpec is made, so its field is known by its class.
    part = {"ModelSpec": "", "DriftThresholds": "drift", "PerformanceThresholds": "performance"}.get(
        error.title, error.title.lower()
    )
    field = ".".join([part, *map(str, first["loc"])]).strip(".")
    message = {"extra_forbidden": "there is no such field", "missing": "the field is missing"}.get(
        first["type"], first["msg"].removeprefix("Value error, ")
    )
    return ModelFileError(f"{path.name}: {field}{': ' if field else ''}{message}.", f"Mend {path}.")


def _code_hash(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list) or not body or not isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
            continue
        if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            node.body = body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:16]
