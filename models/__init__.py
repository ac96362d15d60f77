"""Model files: one typed Python file for each model, with `MODEL = ModelSpec(...)` in it.

This module finds and loads them. A mistake in a model file becomes one line that names the file and the field.

A model file may import another one. `models.other` is `other.py` of the folder that was loaded from last, or the file
that ships with Evergreen if that folder has none. What was loaded earlier does not matter.
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
"""The modules from which model files of version 0.1.0 imported, and where the same names are now."""
RENAMED = {"Occasion": "PolicyContext", "Answer": "RetrainAnswer", "Policy": "RetrainPolicy"}
"""The names of version 0.1.0 that have another name now."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model file, loaded.

    Attributes:
        spec: the model as the file describes it.
        hash: 16 hex digits of the file's code; comments, docstrings and layout do not count.
        path: the file.
    """

    spec: ModelSpec
    hash: str
    path: Path


def names(folder: Path) -> tuple[str, ...]:
    """The names of the models in a folder, sorted."""
    return tuple(sorted(path.stem for path in folder.glob("*.py") if NAME.fullmatch(path.stem)))


def load(name: str, folder: Path) -> LoadedModel:
    """Load `folder/NAME.py`.

    Raises:
        ModelFileError: the folder has no such model, or the file has a mistake.
    """
    known = names(folder)
    if name not in known:
        shown = name if len(name) <= 60 and name.isprintable() else f"{name[:30]!a}..."
        raise ModelFileError(
            f"Unknown model {shown!r}: {folder.name}/ has {', '.join(known) or 'no model yet'}.",
            "Choose one of them, or write a new one: evergreen new NAME --csv FILE --target COLUMN",
        )
    path = folder / f"{name}.py"
    try:
        source = path.read_text(encoding="utf-8")
        tree = _parse(source, path)
    except (SyntaxError, UnicodeDecodeError, OSError) as error:
        line = getattr(error, "lineno", None)
        raise ModelFileError(f"{path.name}{f', line {line}' if line else ''}: {error}.", f"Fix {path}.") from None
    spec = _execute(name, path)
    if spec.name != name:
        raise ModelFileError(
            f"{path.name}: name: it is {spec.name!r}, but the file is {path.name}.", "Give both the same name."
        )
    return LoadedModel(spec=spec, hash=_code_hash(tree), path=path)


def load_spec(name: str, folder: Path) -> ModelSpec:
    """Load only the model's description, for a process that reads the model file itself.

    Raises:
        ModelFileError: as in `load`.
    """
    return load(name, folder).spec


def _parse(source: str, path: Path) -> ast.Module:
    # Before 3.11.9 and 3.12.3 Python has one depth counter for the parses of all threads (gh-106905). If the cycle
    # collector runs during a parse and another thread parses meanwhile, a correct file ends with a SystemError.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(source, filename=str(path))
    finally:
        if collecting:
            gc.enable()


def _execute(name: str, path: Path) -> ModelSpec:
    # Under its package name, so that skops finds a model file's own functions again when it loads a stored pipeline.
    module_name = f"{__name__}.{name}"
    import_spec = importlib.util.spec_from_file_location(module_name, path)
    if import_spec is None or import_spec.loader is None:
        raise ModelFileError(f"{path.name} cannot be imported.", f"Fix {path}.")
    _search_in(path.parent.absolute())
    module = importlib.util.module_from_spec(import_spec)
    _forget(module_name)
    sys.modules[module_name] = module
    try:
        import_spec.loader.exec_module(module)
    except Exception as error:
        _forget(module_name)
        raise _explain(path, error) from None
    spec = getattr(module, "MODEL", None)
    if not isinstance(spec, ModelSpec):
        raise ModelFileError(f"{path.name}: it has no MODEL = ModelSpec(...).", "Add it; models/iris.py is an example.")
    return spec


def _search_in(folder: Path) -> None:
    """Make `models.other` the file of this folder, or else the one that ships; forget modules from other folders."""
    __path__[:] = [str(folder), str(SHIPPED)]
    for module_name, module in list(sys.modules.items()):
        package, _, name = module_name.partition(".")
        if package == __name__ and name:
            source = folder if (folder / f"{name}.py").exists() else SHIPPED
            if getattr(module, "__file__", None) != str(source / f"{name}.py"):
                _forget(module_name)


def _forget(module_name: str) -> None:
    """Remove a loaded model file, so that the next import reads it again."""
    module = sys.modules.pop(module_name, None)
    name = module_name.rpartition(".")[2]
    if module is not None and globals().get(name) is module:
        del globals()[name]


def _explain(path: Path, error: Exception) -> ModelFileError:
    if isinstance(error, ValidationError):
        return _field_error(path, error)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    where = f", line {frames[-1].lineno}" if frames else ""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing in MOVED:
        line = (frames[-1].line or missing) if frames else missing
        for name, renamed in RENAMED.items():
            line = re.sub(rf"\b{name}\b", renamed, line)
        return ModelFileError(
            f"{path.name}{where}: {missing} is part of {MOVED[missing]} now.",
            f"Write in {path}: {line.replace(missing, MOVED[missing])}",
        )
    return ModelFileError(f"{path.name}{where}: {type(error).__name__}: {error}.", f"Fix {path}.")


def _field_error(path: Path, error: ValidationError) -> ModelFileError:
    first = error.errors()[0]
    # A section such as Metric(...) fails before the ModelSpec exists, so the field follows from its class.
    part = {"ModelSpec": "", "DriftThresholds": "drift", "PerformanceThresholds": "performance"}.get(
        error.title, error.title.lower()
    )
    field = ".".join([part, *map(str, first["loc"])]).strip(".")
    message = {"extra_forbidden": "there is no such field", "missing": "the field is missing"}.get(
        first["type"], first["msg"].removeprefix("Value error, ")
    )
    return ModelFileError(f"{path.name}: {field}{': ' if field else ''}{message}.", f"Fix {path}.")


def _code_hash(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list) or not body or not isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
            continue
        if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            node.body = body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:16]
