"""Model files: one typed Python file for each model, with `MODEL = ModelSpec(...)` in it.

This module finds and loads them. A mistake in a model file becomes one line that names the file and the field.

They may lie in folders: `models/team/churn.py` is the model `churn`, and its module is `models.churn`, as if it lay in
`models/`. So a model file may be moved, and what is stored of its model is still found.

A model file may import another one. `models.other` is the file of the model `other`, in whatever folder, of the folder
of models that was loaded from last, or the file that ships with Evergreen if there is none. What is no model, such as
`models/team/_features.py`, is `models.team._features`. What was loaded earlier does not matter.
"""

from __future__ import annotations

import ast
import gc
import importlib.util
import platform
import re
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType

from evergreen.errors import EvergreenError, ModelFileError
from evergreen.model_files import recipe
from evergreen.model_files.finding import find_files, only_file
from evergreen.spec.faults import closest, ended, mistakes_in, note_faults
from evergreen.spec.model import ModelSpec
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
    """The names of the models in a folder and in the folders in it, sorted."""
    return tuple(find_files(folder))


def load(name: str, folder: Path) -> LoadedModel:
    """Load the file of a model: `NAME.py` of a folder, or of a folder in it.

    Raises:
        ModelFileError: the folder has no such model, or two files of that name, or the file has a mistake.
    """
    files = find_files(folder)
    path = _file_of(name, folder, files)
    tree = _read(path)
    spec = _load_spec(name, path, folder, files)
    code = recipe.without_docstrings(tree)
    made_by = recipe.recipe_of(spec, code, path, _places(folder, files), _parse)
    return LoadedModel(spec=spec, hash=recipe.digest(ast.unparse(code)), path=path, recipe=made_by)


def load_spec(name: str, folder: Path) -> ModelSpec:
    """Load only the model's description, in half the time: what its code comes to is not worked out.

    Raises:
        ModelFileError: as in `load`.
    """
    files = find_files(folder)
    path = _file_of(name, folder, files)
    _read(path)
    return _load_spec(name, path, folder, files)


def load_same(name: str, folder: Path, code: str, made_by: str) -> ModelSpec:
    """Load a model in another process, for a run that has loaded it: read again only where the file changed since.

    Args:
        name: of the model.
        folder: of model files, at the same path as where the run is.
        code: the `hash` of the run's `LoadedModel`.
        made_by: its `recipe`.

    Raises:
        ModelFileError: as in `load`, or the file is another one here.
    """
    with _loading_same:
        asked = (name, folder, code, made_by)
        if asked not in _loaded_same:
            # What a model file imports is in a process that lives on as an earlier run read it.
            files = {path: path.read_bytes() for path in folder.rglob("*.py")}
            if _files_then != files:
                for module_name in [each for each in sys.modules if each.startswith(f"{__name__}.")]:
                    _forget(module_name)
                _loaded_same.clear()
                _files_then.clear()
                _files_then.update(files)
            loaded = load(name, folder)
            if (loaded.hash, loaded.recipe) != (code, made_by):
                raise ModelFileError(
                    f"{loaded.path} on {platform.node()} is another file than where the run is, or imports other ones.",
                    "Bring the same files to every machine that works for this run.",
                )
            _loaded_same[asked] = loaded.spec
        return _loaded_same[asked]


_loading_same = threading.Lock()
_loaded_same: dict[tuple[str, Path, str, str], ModelSpec] = {}
"""The models that were loaded for runs elsewhere, and below the files that they are of."""
_files_then: dict[Path, bytes] = {}


def files_of(name: str, folder: Path) -> tuple[Mapping[str, Path], frozenset[str]]:
    """The project's files that a model file executes, by the name that they are imported by, and the libraries.

    Raises:
        ModelFileError: as in `load`.
    """
    path = load(name, folder).path
    return recipe.files_of(path, _places(folder, find_files(folder)), _parse)


def _file_of(name: str, folder: Path, files: Mapping[str, Sequence[str]]) -> Path:
    if name not in files:
        word = name if len(name) <= 60 and name.isprintable() else f"{name[:30]!a}..."
        raise ModelFileError(
            f"Unknown model {word!r}: {folder.name}/ has {', '.join(files) or 'no model yet'}.",
            "Choose one of them, or write a new one: evergreen new NAME --csv FILE --target COLUMN",
        )
    return only_file(name, files[name])


def _places(folder: Path, files: Mapping[str, Sequence[str]]) -> tuple[Path, ...]:
    """Where `models.other` is looked for, in this order."""
    inner = [Path(file).parent for several in files.values() for file in several]
    return tuple(dict.fromkeys((folder.absolute(), *inner, SHIPPED)))


def _read(path: Path) -> ast.Module:
    try:
        return _parse(path.read_text(encoding="utf-8"), path)
    except (SyntaxError, UnicodeDecodeError, OSError) as error:
        line = getattr(error, "lineno", None)
        what = error.msg if isinstance(error, SyntaxError) else describe(error)
        where = f"{shown(path)}{f', line {line}' if line else ''}"
        raise ModelFileError(ended(f"{where}: {what}"), "Correct that line.") from None


def _load_spec(name: str, path: Path, folder: Path, files: Mapping[str, Sequence[str]]) -> ModelSpec:
    _search_in(folder.absolute(), files)
    spec = _execute(name, path)
    if spec.name != name:
        line = line_of(path, "name")
        raise ModelFileError(
            f"{shown(path)}{f', line {line}' if line else ''}: name: it is {spec.name!r}, and the file is {path.name}.",
            "Give both the same name.",
        )
    return spec.loaded_from(path)


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
    import_spec = _module_spec(module_name, path)
    if import_spec is None or import_spec.loader is None:
        raise ModelFileError(f"{shown(path)} cannot be imported.", f"Correct {path}.")
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


def _module_spec(module_name: str, path: Path) -> ModuleSpec | None:
    """How the file of a model is imported; one that is called like a folder does not hide what lies in that."""
    inner = Path(__path__[0], module_name.rpartition(".")[2])
    hidden = [str(inner)] if any(inner.glob("*.py")) else None
    loader = _FromText(module_name, str(path))
    return importlib.util.spec_from_file_location(module_name, path, loader=loader, submodule_search_locations=hidden)


class _FromText(SourceFileLoader):
    """Compiles the text of a file each time.

    Python takes the bytecode that it stored for a file as long as that has the same size and was written in the same
    second. What is executed would then not be what `recipe` says.
    """

    def get_code(self, fullname: str) -> CodeType:
        """What Python asks a loader for before it executes a module."""
        return self.source_to_code(self.get_data(self.path), self.path)


class _Finder:
    """Finds `models.NAME` where NAME is a model, in whatever folder its file lies, and what else lies in `models`."""

    files: Mapping[str, str] = {}

    def find_spec(self, module_name: str, path: Sequence[str] | None, _target: object = None) -> ModuleSpec | None:
        """What Python asks each finder before an import."""
        package, _, name = module_name.rpartition(".")
        if package == __name__ and name in self.files:
            return _module_spec(module_name, Path(self.files[name]))
        if not module_name.startswith(f"{__name__}."):
            return None
        found = PathFinder.find_spec(module_name, path)
        if found is not None and isinstance(found.loader, SourceFileLoader):
            found.loader = _FromText(found.loader.name, found.loader.path)
        return found


_FINDER = _Finder()
sys.meta_path.insert(0, _FINDER)


def _search_in(folder: Path, files: Mapping[str, Sequence[str]]) -> None:
    """Make `models.other` the file of this folder, or else the one that ships; forget modules from other folders."""
    __path__[:] = [str(folder), str(SHIPPED)]
    single = {name: several[0] for name, several in files.items() if len(several) == 1}
    _FINDER.files = single
    for module_name, module in sys.modules.copy().items():
        package, _, name = module_name.partition(".")
        origin = getattr(module, "__file__", None)
        # A folder without an __init__.py has no file, and is looked up anew each time.
        if package == __name__ and name and origin is not None and origin not in _origins(name, single):
            _forget(module_name)


def _origins(name: str, single: Mapping[str, str]) -> tuple[str, ...]:
    """The files that `models.NAME` may be of now, NAME with a dot for each folder."""
    if name in single:
        return (single[name],)
    here, shipped = (Path(place, *name.split(".")) for place in __path__)
    file = here if here.with_suffix(".py").exists() else shipped
    return str(file.with_suffix(".py")), str(here / "__init__.py")


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
    if missing is not None and missing.startswith(f"{__name__}."):
        return ModelFileError(
            f"{where}: there is no {missing.replace('.', '/')}.py.",
            f"Correct the import; {__name__}/team/_x.py is {__name__}.team._x.",
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
