"""What makes a model, as one digest: its recipe. Two fits of one recipe differ by their rows only.

A recipe is the part of the model file that shapes the rows and the fit, with the values that it came to when the file
was loaded; the files of the project that it imports; and the minor versions of the libraries that it imports, since
another minor version of scikit-learn may fit another model by the same code. What is not known to be harmless is part
of it. Not part of it are comments, docstrings, layout, and the arguments of `MODEL = ModelSpec(...)` that say how the
model is described, watched, judged and retrained; nor is Evergreen itself, which fits what the model file says.

A data file that a function reads, and a module that is imported by a computed name, are not seen.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

from evergreen.spec.fields import Frozen
from evergreen.spec.model import ModelSpec
from evergreen.spec.retraining import RENAMED

Parse = Callable[[str, Path], ast.Module]

HARMLESS = frozenset(
    {
        *("description", "tags", "source", "trusted"),
        *("gates", "slices", "drift", "performance", "shadow", "skew", "retraining", "approval", "serve"),
        *RENAMED,
    }
)
"""Fields of a model that shape neither rows nor fit."""
HARMLESS_WITHIN = {"metric": ("bound",), "holdout": ("min_rows",), "training": ("min_rows",), "search": ("at_most",)}
"""Fields of sections that do: they say what is asked, or when nothing is done."""
_FUNCTIONS = frozenset({"prepare", "contract", "pipeline", "labels"})
"""Fields whose code says what they are, and whose value says nothing more."""
_DOORS = ("evergreen.spec", "evergreen.sources", "datetime")
"""Modules that do nothing when they are imported: a name from them that is not used is as good as not imported."""
_INSTALLED = ("site-packages", "dist-packages")
_DISTRIBUTIONS = {"sklearn": "scikit-learn"}


def recipe_of(spec: ModelSpec, tree: ast.Module, path: Path, folders: Sequence[Path], parse: Parse) -> str:
    """The recipe of a model as 16 hex digits.

    Args:
        spec: the model as it was loaded.
        tree: of the model file.
        path: the model file.
        folders: where `models.other` is looked for, in this order.
        parse: reads a file of Python.
    """
    sources, libraries = _code(tree, path, folders, parse)
    parts = [_values(spec), *sources, *(f"{name} {_minor_version(name)}" for name in sorted(libraries))]
    return digest(*parts)


def files_of(path: Path, folders: Sequence[Path], parse: Parse) -> tuple[Mapping[str, Path], frozenset[str]]:
    """The project's files that a model file executes, by the name that they are imported by, and the libraries.

    Args:
        path: the model file, which is among them.
        folders: where `models.other` is looked for, in this order.
        parse: reads a file of Python.
    """

    def read(file: Path) -> ast.Module:
        return parse(file.read_text(encoding="utf-8"), file)

    found, libraries = _reach(path, read(path), folders, read)
    return {module.name: module.path for module in found}, libraries


def digest(*parts: str) -> str:
    """16 hex digits of some texts."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def without_docstrings(tree: ast.Module) -> ast.Module:
    """The same tree, of which every docstring was taken out."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list) or not body or not isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
            continue
        if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            node.body = body[1:] or [ast.Pass()]
    return tree


def _values(spec: ModelSpec) -> str:
    """The values of the fields that shape rows and fit; a default is left out, so that a new field changes nothing."""
    within: dict[str, set[str]] = {name: set(fields) for name, fields in HARMLESS_WITHIN.items()}
    within["metric"].add("function")
    values = {}
    for name in sorted(set(type(spec).model_fields) - HARMLESS - _FUNCTIONS):
        value = getattr(spec, name)
        if isinstance(value, Frozen):
            value = value.model_dump(exclude=within.get(name), exclude_defaults=True)
        if value != {} and value != type(spec).model_fields[name].default:
            values[name] = value
    # An object without a text of its own has its address in it.
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(values))


@dataclass(frozen=True, slots=True)
class _Module:
    """A file of the project by the name that it is imported by."""

    name: str
    path: Path

    def base(self, level: int) -> str:
        """The package that a relative import of this level starts from."""
        parts = self.name.split(".")
        inside = 1 if self.path.name == "__init__.py" else 0
        return ".".join(parts[: len(parts) - level + inside])


def _code(
    tree: ast.Module, path: Path, folders: Sequence[Path], parse: Parse
) -> tuple[tuple[str, ...], frozenset[str]]:
    """The code of the model file and of the project's files that it imports, and the libraries that they import."""
    found, libraries = _reach(path, _without_unused(_recipe_code(tree)), folders, lambda file: _read(file, parse))
    texts = sorted((module.path.name, ast.unparse(code)) for module, code in found.items())
    return tuple(f"{name}\n{text}" for name, text in texts), libraries | {"sklearn"}


def _reach(
    path: Path, code: ast.Module, folders: Sequence[Path], read: Callable[[Path], ast.Module]
) -> tuple[Mapping[_Module, ast.Module], frozenset[str]]:
    """The files of the project that are executed with the code of a model file, and the libraries that they import."""
    found, libraries = {_Module(f"models.{path.stem}", path): code}, set()
    known, waiting = {path}, list(found)
    while waiting:
        module = waiting.pop()
        for name in _imports(found[module], module):
            top = name.partition(".")[0]
            if top in sys.stdlib_module_names or top in ("evergreen", "__future__"):
                continue
            places = folders if top == "models" else _places(top)
            if places is None:
                libraries.add(top)
                continue
            for file in _files(name, places):
                # The package `models` is what loads model files.
                if file.path not in known and file.name != "models":
                    found[file] = read(file.path)
                    known.add(file.path)
                    waiting.append(file)
    return found, frozenset(libraries)


def _read(path: Path, parse: Parse) -> ast.Module:
    """The code of a project's file; of one that cannot be read as Python, all that it holds."""
    try:
        return _recipe_code(without_docstrings(parse(path.read_text(encoding="utf-8"), path)))
    except (SyntaxError, ValueError):
        return ast.Module([ast.Expr(ast.Constant(digest(path.read_bytes().hex())))], [])


def _imports(tree: ast.Module, module: _Module) -> Iterator[str]:
    """Every module that is imported anywhere; what is imported from one may be a module itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(filter(None, (module.base(node.level) if node.level else "", node.module)))
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _places(top: str) -> Sequence[Path] | None:
    """The folders of a package of the project, or the file of a module; None for a library, or where there is none."""
    found = PathFinder.find_spec(top)
    if found is None:
        return None
    folders = found.submodule_search_locations
    places = [Path(place) for place in folders] if folders else [Path(found.origin or "")]
    installed = any(part in _INSTALLED for place in places for part in place.parts)
    return None if installed else places


def _files(name: str, places: Sequence[Path]) -> Iterator[_Module]:
    """The files of the project that are executed when `name` is imported: of the packages around it, and its own."""
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        for place in places:
            inner = Path(place, *parts[1:count])
            paths = (inner / "__init__.py", inner.with_suffix(".py")) if count > 1 or place.is_dir() else (place,)
            path = next((path for path in paths if path.is_file()), None)
            if path is not None:
                yield _Module(".".join(parts[:count]), path)
                break


def _minor_version(library: str) -> str:
    """Major and minor version of a library by the name that it is imported by; empty where it is not installed."""
    name = _DISTRIBUTIONS.get(library, library)
    try:
        full = version(name)
    except PackageNotFoundError:
        names = packages_distributions().get(library, [])
        full = version(names[0]) if names else ""
    return ".".join(full.split(".")[:2])


def _recipe_code(tree: ast.Module) -> ast.Module:
    """A file's code without what shapes neither rows nor fit; a copy."""
    body = list(tree.body)
    for place, node in enumerate(body):
        call = node.value if isinstance(node, ast.Assign | ast.AnnAssign) and _names_the_model(node) else None
        if isinstance(call, ast.Call):
            body[place] = ast.Assign([ast.Name("MODEL", ast.Store())], _recipe_call(call), lineno=node.lineno)
    return ast.Module(body, [])


def _names_the_model(node: ast.Assign | ast.AnnAssign) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return any(isinstance(target, ast.Name) and target.id == "MODEL" for target in targets)


def _recipe_call(call: ast.Call) -> ast.Call:
    """`ModelSpec(...)`, or `OTHER.model_copy(update={...})`, with the fields that are part of the recipe."""
    if isinstance(call.func, ast.Name) and call.func.id == ModelSpec.__name__:
        given = [(keyword.arg, keyword.value) for keyword in call.keywords]
        return ast.Call(call.func, call.args, [ast.keyword(name, value) for name, value in _recipe_fields(given)])
    keywords = []
    for keyword in call.keywords:
        value = keyword.value
        if isinstance(call.func, ast.Attribute) and call.func.attr == "model_copy" and isinstance(value, ast.Dict):
            names = [key.value for key in value.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
            # With another key, such as ** of a dictionary, all of it counts.
            if len(names) == len(value.keys):
                fields = _recipe_fields(list(zip(names, value.values, strict=True)))
                value = ast.Dict([ast.Constant(name) for name, _ in fields], [part for _, part in fields])
        keywords.append(ast.keyword(keyword.arg, value))
    return ast.Call(call.func, call.args, keywords)


def _recipe_fields(given: Sequence[tuple[str | None, ast.expr]]) -> list[tuple[str | None, ast.expr]]:
    """The fields of a model that shape rows or fit, their sections without what does not."""
    fields: list[tuple[str | None, ast.expr]] = []
    for name, value in given:
        if name in HARMLESS:
            continue
        left_out = HARMLESS_WITHIN.get(name or "", ())
        if left_out and isinstance(value, ast.Call):
            kept = [keyword for keyword in value.keywords if keyword.arg not in left_out]
            fields.append((name, ast.Call(value.func, value.args, kept)))
        else:
            fields.append((name, value))
    return fields


def _without_unused(tree: ast.Module) -> ast.Module:
    """The code without functions and constants that nothing else in it names, and without such names of the doors.

    A name counts as used wherever it is a word, in a text as well. Only for a file that no other one imports.
    """
    body = tree.body
    while (left := _used(body)) != body:
        body = left
    return ast.Module(body, [])


def _used(body: list[ast.stmt]) -> list[ast.stmt]:
    words = [set(re.findall(r"\w+", ast.unparse(node))) for node in body]
    left: list[ast.stmt] = []
    for place, node in enumerate(body):
        others = set().union(*(words[other] for other in range(len(body)) if other != place))
        if isinstance(node, ast.ImportFrom) and node.module in _DOORS:
            names = [alias for alias in node.names if (alias.asname or alias.name) in others or alias.name == "*"]
            if names:
                left.append(node if len(names) == len(node.names) else ast.ImportFrom(node.module, names, node.level))
            continue
        name = _defined(node)
        if name is None or name == "MODEL" or name in others:
            left.append(node)
    return left


def _defined(node: ast.stmt) -> str | None:
    """The name of a plain function or of a constant; None for a statement that may do something."""
    if isinstance(node, ast.FunctionDef):
        return None if node.decorator_list or node.args.defaults or node.args.kw_defaults else node.name
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        try:
            ast.literal_eval(node.value)
        except ValueError:
            return None
        return node.targets[0].id
    return None
