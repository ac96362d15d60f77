"""Write what the image of a served model is built from: a Dockerfile, and a folder of exactly what it serves.

The folder holds the server's code, the files that the model file is made of, the requirements from the lock, and, where
a version is pinned, that version's file as it is registered. It holds nothing else: no setting, no key, no table.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import models
from deployments.production.requirements import serving_requirements
from evergreen.errors import EvergreenError, RefusedError, RegistryError
from evergreen.naming import PART_PREFIX, image_folder, image_tag, version_tag
from evergreen.registry.client import Registry
from evergreen.registry.version import CHAMPION, Version
from evergreen.settings import PROJECT, Settings
from serving.container import IMAGE, VERSION
from serving.pinned import serve_copy
from serving.verified_copy import copy_version

TEMPLATE = Path(__file__).with_name("serving.Dockerfile")
CODE = ("evergreen", "serving")
"""The packages that are copied whole, but for what is no code."""
_BASE = "ARG BASE=python:3-slim"


@dataclass(frozen=True, slots=True)
class WrittenImage:
    """What was written.

    Attributes:
        folder: to build from.
        model: that is served.
        version: that is pinned; None where the champion is followed.
        sha256: of the pinned version's file.
        tag: what the image may be called.
        base: the image that it is built on, unless another one is named.
        packages: of Python that are installed in it.
        example: a row as a request may bring it; empty where nobody knows.
        slow_because: why requests are answered as frames; empty where they are compiled, or nobody knows yet.
        note: what a person should know; often empty.
    """

    folder: Path
    model: str
    version: int | None
    sha256: str
    tag: str
    base: str
    packages: int
    example: Mapping[str, Any]
    slow_because: str
    note: str


def write_image(
    settings: Settings, name: str, *, number: int | None = None, follow: bool = False, out: Path | None = None
) -> WrittenImage:
    """Write the folder, in place of one of an earlier call.

    Args:
        settings: where model and registry are.
        name: of the model.
        number: of the version to pin; None for the champion of now.
        follow: pin none, but follow the champion.
        out: the folder; by default one in EVERGREEN_HOME.

    Raises:
        EvergreenError: there is no such version, it is not what was registered, it did not pass its gates, or the
            folder holds something else.
    """
    loaded, registry = models.load(name, settings.models), Registry(settings)
    version = None if follow else _version(registry, name, number)
    target = out or settings.images / image_folder(name, version.number if version else None)
    _require_replaceable(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=PART_PREFIX, dir=target.parent))
    try:
        # A folder that is given away is read by others, whatever a temporary one is.
        part.chmod(0o755)
        written = _write(settings, registry, loaded, version, part, target)
        if target.exists():
            shutil.rmtree(target)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return written


def _version(registry: Registry, name: str, number: int | None) -> Version:
    """The version to pin."""
    if number is None:
        version = registry.by_alias(name, CHAMPION)
        if version is None:
            raise RegistryError(f"{name} has no champion yet.", f"Make one: evergreen retrain {name}")
        return version
    version = registry.get(name, number)
    if version.status != "PASSED":
        raise RefusedError(
            f"{version.label} is {version.status}: only what passed its gates is served.",
            f"Choose another version: evergreen history {name}",
        )
    return version


def _require_replaceable(target: Path) -> None:
    """Refuse to replace what is no folder of an image."""
    if target.exists() and not (target / "app" / IMAGE).exists() and (target.is_file() or any(target.iterdir())):
        raise EvergreenError(f"{target} holds something else than an image.", "Name another folder with --out.")


def _write(
    settings: Settings,
    registry: Registry,
    loaded: models.LoadedModel,
    version: Version | None,
    part: Path,
    target: Path,
) -> WrittenImage:
    name, app = loaded.spec.name, part / "app"
    libraries = _copy_code(settings, name, app)
    served = serve_copy(loaded.spec, copy_version(app / VERSION, registry, version, loaded.spec)) if version else None
    number, sha256 = (version.number, version.tags.sha256) if version else (None, "")
    facts = {"model": name, "version": number, "sha256": sha256}
    (app / IMAGE).write_text(json.dumps(facts) + "\n", encoding="utf-8")
    requirements, packages = serving_requirements(PROJECT, libraries, follow=version is None)
    (part / "requirements.txt").write_text(requirements, encoding="utf-8")
    base = f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"
    (part / "Dockerfile").write_text(_dockerfile(base, facts, settings.environment), encoding="utf-8")
    changed = version is not None and version.tags.recipe not in ("", loaded.recipe)
    return WrittenImage(
        folder=target,
        model=name,
        version=number,
        sha256=sha256,
        tag=image_tag(settings.environment, name, number),
        base=base,
        packages=packages,
        example=served.example if served else {},
        slow_because=served.slow_because if served else "",
        note=f"{loaded.path.name} was changed since this version was trained; it is served by the file of now."
        if changed
        else "",
    )


def _copy_code(settings: Settings, name: str, app: Path) -> frozenset[str]:
    """Copy what is executed; returns the libraries that the model's files import."""
    files, libraries = models.files_of(name, settings.models)
    for package in CODE:
        for file in (PROJECT / package).rglob("*.py"):
            _copy(file, app / file.relative_to(PROJECT))
    _copy(models.SHIPPED / "__init__.py", app / "models" / "__init__.py")
    for module, file in files.items():
        place = app.joinpath(*module.split("."))
        _copy(file, place / file.name if file.name == "__init__.py" else place.with_suffix(".py"))
    number = installed_version("evergreen")
    # What tells Python the installed version, which the server says of itself.
    metadata = app / f"evergreen-{number}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: evergreen\nVersion: {number}\n", encoding="utf-8")
    return libraries


def _copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    # Without its mode: whoever runs in the image has to be able to read it.
    shutil.copyfile(file, to)


def _dockerfile(base: str, facts: Mapping[str, object], environment: str) -> str:
    text = TEMPLATE.read_text(encoding="utf-8")
    labels = "".join(f" \\\n    {version_tag(key)}={json.dumps(str(value))}" for key, value in facts.items() if value)
    whose = f"ENV EVERGREEN_ENVIRONMENT={environment}\n" if environment else ""
    return f"{text.replace(_BASE, f'ARG BASE={base}', 1)}{whose}LABEL{labels}\n"
