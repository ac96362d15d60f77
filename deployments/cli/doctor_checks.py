"""What `evergreen doctor` checks on this machine; a module of its own, loaded when the command runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

import models
from deployments.manifest.apply import read_document
from deployments.stack import prefect_home
from deployments.stack.health import authorization
from evergreen.errors import EvergreenError, ModelFileError
from evergreen.ledger.promotions import Promotions
from evergreen.registry.client import Registry
from evergreen.registry.promotion import require_consistent
from evergreen.settings import Settings
from evergreen.sources.folder import Folder
from evergreen.surroundings import make_home

_FREE_GB = 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        name: what was checked.
        ok: whether it is as it has to be.
        detail: what was found.
        fix: what to do if it is not ok.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""


def examine(settings: Settings) -> tuple[Finding, ...]:
    """Run every check; a check that raises an error is a finding that is not ok."""
    checks: tuple[tuple[str, Callable[[Settings], Finding]], ...] = (
        ("python", _check_python),
        ("packages", _check_packages),
        ("state folder", _check_home),
        ("model files", _check_models),
        ("landing", _check_landing),
        ("deployments", _check_manifest),
        ("registry", _check_registry),
        ("champions", _check_champions),
        ("prefect", _check_prefect),
    )
    findings = []
    for name, check in checks:
        try:
            findings.append(check(settings))
        except EvergreenError as error:
            findings.append(Finding(name, False, error.what, error.fix))
    return tuple(findings)


def _check_python(_settings: Settings) -> Finding:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Finding("python", sys.version_info >= (3, 11), version, "Install Python 3.11 or newer, then: make install")


def _check_packages(_settings: Settings) -> Finding:
    from packaging.requirements import Requirement

    try:
        lines = requires("evergreen") or []
    except PackageNotFoundError:
        return Finding("packages", False, "The project is not installed in this Python.", "Run: make install")
    wrong = []
    for line in lines:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is not installed.")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            wrong.append(f"{requirement.name} {installed} is installed, and {requirement.specifier} is needed.")
    return Finding("packages", not wrong, " ".join(wrong) or "all in the required versions", "Run: make install")


def _check_home(settings: Settings) -> Finding:
    root = settings.root
    try:
        make_home(root)
    except OSError as error:
        what = f"{root} cannot be created: {error.strerror}."
        return Finding("state folder", False, what, "Set EVERGREEN_HOME to a folder of yours.")
    try:
        with tempfile.TemporaryFile(dir=root) as file:
            file.write(b"evergreen")
            file.flush()
            file.seek(0)
            file.read()
    except OSError as error:
        what = f"{root} cannot be written: {error.strerror}."
        return Finding("state folder", False, what, "Set EVERGREEN_HOME to a folder of yours, or free space.")
    free = shutil.disk_usage(root).free / 1e9
    if free < _FREE_GB:
        what = f"The disk of {root} has {free:.1f} GB free."
        return Finding(
            "state folder", False, what, f"Free at least {_FREE_GB:.0f} GB; evergreen clean removes old files."
        )
    return Finding("state folder", True, f"{root}, {free:.0f} GB free")


def _check_models(settings: Settings) -> Finding:
    """Load every model file, and look at its contract and its pipeline as a retraining does before the fit."""
    from evergreen.data.contract import schema_of
    from evergreen.training.pipeline_checks import require_fittable

    specs, wrong = [], []
    for name in models.names(settings.models):
        try:
            spec = models.load_spec(name, settings.models)
            schema_of(spec)
            require_fittable(spec)
            specs.append(spec)
        except EvergreenError as error:
            wrong.append(error)
    if wrong:
        fix = wrong[0].fix if len(wrong) == 1 else "Correct each of these files."
        return Finding("model files", False, " ".join(error.what for error in wrong), fix)
    names = [spec.name for spec in specs]
    detail = ", ".join(names) or f"none in {settings.models}"
    before = [spec.name for spec in specs if spec.reading is None and isinstance(spec.source, Folder)]
    if before:
        detail += f"; without Reading(...) NA, None, null and the like are missing in the files of {', '.join(before)}"
    return Finding("model files", bool(names), detail, "Write one: evergreen new NAME --csv FILE --target COLUMN")


def _check_landing(settings: Settings) -> Finding:
    """Files that lie in a landing folder and are no data by their names; nothing has to be done about them."""
    passed_over = []
    for name in models.names(settings.models):
        with contextlib.suppress(ModelFileError):
            source = models.load(name, settings.models).spec.source
            files = source.passed_over(settings.landing) if isinstance(source, Folder) else []
            more = f" and {len(files) - 5} more" if len(files) > 5 else ""
            passed_over += [f"{', '.join(files[:5])}{more} ({name})"] if files else []
    return Finding("landing", True, f"passed over by their names: {'; '.join(passed_over) or 'none'}")


def _check_manifest(_settings: Settings) -> Finding:
    names = [entry["name"] for entry in read_document()["deployments"]]
    return Finding("deployments", True, f"prefect.yaml has {len(names)}")


def _check_registry(settings: Settings) -> Finding:
    Registry(settings).client  # noqa: B018 - opening it is the check
    return Finding("registry", True, "opens, has the version of this MLflow, and can be written")


def _check_champions(settings: Settings) -> Finding:
    """Load each champion as a scoring would, and hold its files to what was registered."""
    registry, loaded, wrong = Registry(settings), [], []
    for name in models.names(settings.models):
        with contextlib.suppress(ModelFileError):
            spec, champion = models.load(name, settings.models).spec, registry.champion(name)
            try:
                require_consistent(registry, champion, Promotions(settings.lake_uri, name))
                if champion is not None:
                    registry.load(champion, spec)
                    registry.files(champion)
                    loaded.append(f"{name} version {champion.number}")
            except EvergreenError as error:
                wrong.append(error)
    if wrong:
        return Finding("champions", False, " ".join(error.what for error in wrong), wrong[0].fix)
    return Finding("champions", True, f"{', '.join(loaded)} can be loaded" if loaded else "none yet")


def _check_prefect(settings: Settings) -> Finding:
    prefect_home.require_known_database(settings)
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return Finding("prefect", True, "PREFECT_API_URL is not set: each command starts a temporary server")
    import httpx

    try:
        status = httpx.get(f"{url.rstrip('/')}/health", timeout=5, headers=authorization(os.environ)).status_code
    except (httpx.HTTPError, ValueError, ImportError) as error:
        detail = f"The server at {url} does not answer: {type(error).__name__}."
        fix = "Start it with evergreen up or prefect server start, or unset PREFECT_API_URL."
        return Finding("prefect", False, detail, fix)
    fix = "Check PREFECT_API_URL, and PREFECT_API_KEY or PREFECT_API_AUTH_STRING."
    if status != 200:
        return Finding("prefect", False, f"The server at {url} answers with status {status}.", fix)
    return Finding("prefect", True, f"the server at {url} answers")
