"""Model files: one typed Python file for each model, with `MODEL = ModelSpec(...)` in it.

This module finds and loads them. A mistake in a model file becomes one line that names the file and the field.

A model file may import another one. `models.other` is `other.py` of the folder that was loaded from last, or the file
that ships with Evergreen if that folder has none. What was loaded earlier does not matter.
"""

from __future__ import annotations

import ast
import gc
import importlib.util
import re
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evergreen.errors import EvergreenError, ModelFileError
from evergreen.model_files import recipe
from evergreen.spec.faults import closest, ended, mistakes_in, note_faults
from evergreen.spec.model import NAME, ModelSpec
from evergreen.spec.place import describe, line_of, shown

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
        recipe: 16 hex digits of what makes the model: see `evergreen.model_files.recipe`.
    """

    spec: ModelSpec
    hash: str
    path: Path
    recipe: str


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
        word = name if len(name) <= 60 and name.isprintable() else f"{name[:30]!a}..."
        raise ModelFileError(
            f"Unknown model {word!r}: {folder.name}/ has {', '.join(known) or 'no model yet'}.",
            "Choose one of them, or write a new one: evergreen new NAME --csv FILE --target COLUMN",
        )
    path = folder / f"{name}.py"
    try:
        source = path.read_text(encoding="utf-8")
        tree = _parse(source, path)
    except (SyntaxError, UnicodeDecodeError, OSError) as error:
        line = getattr(error, "lineno", None)
        what = error.msg if isinstance(error, SyntaxError) else describe(error)
        where = f"{shown(path)}{f', line {line}' if line else ''}"
        raise ModelFileError(ended(f"{where}: {what}"), "Correct that line.") from None
    spec = _execute(name, path)
    if spec.name != name:
        line = line_of(path, "name")
        raise ModelFileError(
            f"{shown(path)}{f', line {line}' if line else ''}: name: it is {spec.name!r}, and the file is {path.name}.",
            "Give both the same name.",
        )
    code = recipe.without_docstrings(tree)
    made_by = recipe.recipe_of(spec, code, path, (path.parent.absolute(), SHIPPED), _parse)
    return LoadedModel(spec=spec.loaded_from(path), hash=recipe.digest(ast.unparse(code)), path=path, recipe=made_by)


def load_spec(name: str, folder: Path) -> ModelSpec:
    """Load only the model's description, for a process that reads the model file itself.

    Raises:
        ModelFileError: as in `load`.
    """
    return load(name, folder).spec


def files_of(name: str, folder: Path) -> tuple[Mapping[str, Path], frozenset[str]]:
    """The project's files that a model file executes, by the name that they are imported by, and the libraries.

    Raises:
        ModelFileError: as in `load`.
    """
    path = load(name, folder).path
    return recipe.files_of(path, (path.parent.absolute(), SHIPPED), _parse)


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
        raise ModelFileError(f"{shown(path)} cannot be imported.", f"Correct {path}.")
    _search_in(path.parent.absolute())
    module = importlib.util.module_from_spec(import_spec)
    _forget(module_name)
    sys.modules[module_name] = module
    with note_faults() as faults:
        try:
            import_spec.loader.exec_module(module)
        except Exception as error:
            _forget(module_name)
            # What else follows from an empty section is no mistake of its own.
            if not faults or isinstance(error, NameError | ImportError):
                raise _explain(path, error) from None
            raise mistakes_in(shown(path), faults) from None
    if faults:
        _forget(module_name)
        raise mistakes_in(shown(path), faults)
    spec = getattr(module, "MODEL", None)
    if not isinstance(spec, ModelSpec):
        raise ModelFileError(
            f"{shown(path)}: it has no MODEL = ModelSpec(...).", "Add it; models/iris.py is an example."
        )
    return spec


def _search_in(folder: Path) -> None:
    """Make `models.other` the file of this folder, or else the one that ships; forget modules from other folders."""
    __path__[:] = [str(folder), str(SHIPPED)]
    for module_name, module in sys.modules.copy().items():
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
    """One line about what stopped the loading of a file."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    where = f"{shown(path)}{f', line {frames[-1].lineno}' if frames else ''}"
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing in MOVED:
        line = (frames[-1].line or missing) if frames else missing
        for name, renamed in RENAMED.items():
            line = re.sub(rf"\b{name}\b", renamed, line)
        return ModelFileError(
            f"{where}: {missing} is part of {MOVED[missing]} now.",
            f"Write in {path}: {line.replace(missing, MOVED[missing])}",
        )
    if missing is not None:
        return ModelFileError(
            f"{where}: {missing.partition('.')[0]} is not installed here.", "Install it, or correct the import."
        )
    if isinstance(error, EvergreenError):
        return ModelFileError(f"{where}: {error.what}", error.fix)
    # ImportError says what it looked for in words only.
    sought = re.match(r"cannot import name '(\w+)'", str(error))
    name = sought[1] if sought else str(getattr(error, "name", "") or "")
    known = list(getattr(sys.modules.get(str(getattr(error, "name", ""))), "__dict__", {}))
    alike = closest(name, known if isinstance(error, ImportError) else _names_in(path))
    # What Python adds in parentheses is the path of the file that was imported from.
    what = re.sub(r" \(.*\)$", "", describe(error)) if isinstance(error, ImportError) else describe(error)
    return ModelFileError(f"{where}: {what}{f'; did you mean {alike}?' if alike else '.'}", "Correct that line.")


def _names_in(path: Path) -> set[str]:
    """Every name that a file defines or imports."""
    tree = _parse(path.read_text(encoding="utf-8"), path)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    names |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return names | {
        (alias.asname or alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
