"""The parts of `requirements.lock` that a server and the project's image need, with their hashes; no network is asked.

Below each package of the lock stands by which others it came in (`# via`). From the project's own dependencies, less
those that no server imports, that leads to all that is needed, and to a few that only an extra would have asked for.

`python -m deployments.production.requirements EXTRA...` prints that of the image; it needs nothing but Python.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path

from evergreen.errors import EvergreenError

NOT_SERVING = frozenset(
    {
        *("prefect", "prefect-redis", "fastapi", "httpx", "asyncpg", "supervisor", "yaml-edit", "pyyaml"),
        *("evidently", "clevercsv", "fsspec", "jinja2", "vl-convert-python", "markdown-it-py", "typer", "rich"),
    }
)
"""Dependencies of the project that neither the server nor the loading of a model file imports."""
REGISTRY = frozenset({"mlflow"})
"""Those that only a server imports that follows the champion."""
EXTRAS = ("serve", "redis", "postgres")
"""Optional ones that a server may need: itself, and features that are looked up in Redis or PostgreSQL."""


@dataclass(frozen=True, slots=True)
class _Locked:
    """A package of the lock: its lines, and the packages that it came in by."""

    name: str
    lines: tuple[str, ...]
    via: frozenset[str]


def serving_requirements(project: Path, libraries: Iterable[str], *, follow: bool) -> tuple[str, int]:
    """The lines for pip, and how many packages they are.

    Args:
        project: the folder of `pyproject.toml` and `requirements.lock`.
        libraries: what the model's files import.
        follow: the server follows the champion, for which it asks the registry.

    Raises:
        EvergreenError: something that is needed is not in the lock.
    """
    needed = _own(project / "pyproject.toml", EXTRAS) - NOT_SERVING - (frozenset() if follow else REGISTRY)
    return _cut_down(project, needed | _distributions(libraries))


def image_requirements(project: Path, extras: Iterable[str]) -> tuple[str, int]:
    """The lines for pip of all that the project needs, with these extras, and how many packages they are.

    Raises:
        EvergreenError: there is no such extra, or something that is needed is not in the lock.
    """
    return _cut_down(project, _own(project / "pyproject.toml", extras))


def _cut_down(project: Path, needed: set[str]) -> tuple[str, int]:
    """The lines of the lock for what is needed, and for what that needs."""
    locked = _read_lock(project / "requirements.lock")
    if missing := sorted(needed - {each.name for each in locked}):
        raise EvergreenError(
            f"requirements.lock does not have {', '.join(missing)}.",
            "Name it among the dependencies in pyproject.toml, and run: make lock",
        )
    names = _with_what_they_need(needed, locked)
    lines = [line for each in locked if each.name in names for line in each.lines]
    return "\n".join([*lines, ""]), len(names)


def _own(file: Path, extras: Iterable[str]) -> set[str]:
    """The names of the project's dependencies, and of those of the extras."""
    project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
    optional: Mapping[str, list[str]] = project["optional-dependencies"]
    extras = tuple(extras)
    if unknown := sorted(set(extras) - set(optional)):
        raise EvergreenError(
            f"pyproject.toml has no extra {', '.join(unknown)}.", f"Choose from: {', '.join(sorted(optional))}."
        )
    wanted = [*project["dependencies"], *(each for extra in extras for each in optional[extra])]
    return {_normal(re.split(r"[^\w.-]", each, maxsplit=1)[0]) for each in wanted}


def _distributions(libraries: Iterable[str]) -> set[str]:
    """What brings the libraries that are installed here."""
    known = packages_distributions()
    return {_normal(known[name][0]) for name in libraries if name in known}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _read_lock(file: Path) -> list[_Locked]:
    """Its packages; one that has several versions, for several platforms, is there several times."""
    packages: list[_Locked] = []
    for block in re.split(r"\n(?=[A-Za-z0-9])", file.read_text(encoding="utf-8")):
        lines = block.splitlines()
        name, marker, _ = lines[0].partition("==")
        if marker:
            comments = [line.strip().removeprefix("#").strip() for line in lines if line.startswith("    #")]
            via = {_normal(re.split(r"[\[ ]", each.removeprefix("via").strip(), maxsplit=1)[0]) for each in comments}
            kept = tuple(line for line in lines if not line.lstrip().startswith("#"))
            packages.append(_Locked(_normal(name), kept, frozenset(via)))
    return packages


def _with_what_they_need(needed: set[str], locked: Iterable[_Locked]) -> set[str]:
    found: set[str] = set()
    waiting = set(needed)
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= {each.name for each in locked if name in each.via} - found
    return found


if __name__ == "__main__":
    try:
        print(image_requirements(Path.cwd(), sys.argv[1:])[0], end="")
    except EvergreenError as error:
        sys.exit(str(error))
