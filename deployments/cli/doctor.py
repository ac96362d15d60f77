"""Check what Evergreen needs from a machine, and say what to mend."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

import typer

import models
from deployments.cli.command import Json, guard, use_prefect
from evergreen.errors import EvergreenError
from evergreen.registry.client import Registry
from evergreen.settings import Settings, load_settings

_FREE_GB = 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `fix` says what to do where it is not well."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


def doctor(as_json: Json = False) -> None:
    """Check the installation and say what to mend."""

    def work() -> None:
        from deployments.cli import console

        settings = load_settings()
        use_prefect(settings)
        findings = examine(settings)
        fine = all(finding.ok for finding in findings)
        if as_json:
            checks = [{"name": f.name, "ok": f.ok, "detail": f.detail, "fix": f.fix} for f in findings]
            console.emit_json({"ok": fine, "checks": checks})
        else:
            show(findings)
        if not fine:
            raise typer.Exit(1)

    guard(work, as_json)


def examine(settings: Settings) -> tuple[Finding, ...]:
    """Look at everything; a look that fails is a finding."""
    looks: tuple[tuple[str, Callable[[Settings], Finding]], ...] = (
        ("python", _python),
        ("packages", _packages),
        ("state folder", _home),
        ("model files", _models),
        ("registry", _registry),
        ("prefect", _prefect),
    )
    findings = []
    for name, look in looks:
        try:
            findings.append(look(settings))
        except EvergreenError as error:
            findings.append(Finding(name, False, error.what, error.fix))
    return tuple(findings)


def show(findings: Sequence[Finding]) -> None:
    """Print the findings."""
    from rich.markup import escape

    from deployments.cli.console import out

    for finding in findings:
        mark = "[green]ok  [/]" if finding.ok else "[red]mend[/]"
        out.print(f"{mark} [bold]{finding.name:<13}[/] {escape(finding.detail)}", soft_wrap=True)
        if not finding.ok:
            out.print(f"     {'':<13} {escape(finding.fix)}", soft_wrap=True)


def _python(_settings: Settings) -> Finding:
    found = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Finding("python", sys.version_info >= (3, 11), found, "Install Python 3.11 or newer, then: make install")


def _packages(_settings: Settings) -> Finding:
    from packaging.requirements import Requirement

    wrong = []
    for line in requires("evergreen") or ():
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            found = "missing"
        if found == "missing" or not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} {found} (needs {requirement.specifier})")
    return Finding("packages", not wrong, "; ".join(wrong) or "as locked", "Run: make install")


def _home(settings: Settings) -> Finding:
    root = settings.root
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return Finding("state folder", False, f"{root}: {error.strerror}", "Set EVERGREEN_HOME to a folder of yours.")
    if not os.access(root, os.W_OK):
        return Finding("state folder", False, f"{root} cannot be written", "Set EVERGREEN_HOME to a folder of yours.")
    free = shutil.disk_usage(root).free / 1e9
    return Finding("state folder", free >= _FREE_GB, f"{root}, {free:.0f} GB free", f"Free at least {_FREE_GB:.0f} GB.")


def _models(settings: Settings) -> Finding:
    found = models.names(settings.models)
    for name in found:
        models.load(name, settings.models)
    return Finding("model files", bool(found), ", ".join(found) or f"none in {settings.models}", "evergreen new --help")


def _registry(settings: Settings) -> Finding:
    Registry(settings).client  # noqa: B018 - opening it is the check
    return Finding("registry", True, "opens, is of this MLflow's version and can be written")


def _prefect(_settings: Settings) -> Finding:
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return Finding("prefect", True, "no PREFECT_API_URL: each command starts a temporary server")
    import httpx

    try:
        healthy = httpx.get(f"{url.rstrip('/')}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        healthy = False
    return Finding("prefect", healthy, f"server at {url}", "Start it (prefect server start), or unset PREFECT_API_URL.")
