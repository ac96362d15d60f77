"""evergreen doctor: check what Evergreen needs from this machine, and say how to fix what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.command import Json, guard, load_settings

if TYPE_CHECKING:
    from deployments.cli.doctor_checks import Finding


def doctor(
    fix: Annotated[
        bool,
        typer.Option("--fix", help="Let the model registry look for its files here, after the state folder was moved."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Check the installation, and say what to fix."""

    def work() -> None:
        from deployments.cli import console
        from deployments.cli.doctor_checks import examine
        from deployments.stack import prefect_home
        from evergreen.registry.moved_home import rewrite_places

        settings = load_settings()
        prefect_home.use(settings)
        for places in rewrite_places(settings) if fix else ():
            line = f"registry: {places.number} places of files, from {places.old} to {places.new}"
            console.print_step(line)
        findings = examine(settings)
        ok = all(finding.ok for finding in findings)
        if as_json:
            checks = [{"name": f.name, "ok": f.ok, "detail": f.detail, "fix": f.fix} for f in findings]
            console.print_json({"ok": ok, "checks": checks})
        else:
            show_findings(findings)
        if not ok:
            raise typer.Exit(1)

    guard(work, as_json)


def show_findings(findings: Sequence[Finding]) -> None:
    """Print each finding, with its fix if it is not ok."""
    from rich.markup import escape

    from deployments.cli.console import out

    for finding in findings:
        mark = "[green]ok [/]" if finding.ok else "[red]fix[/]"
        out.print(f"{mark} [bold]{finding.name:<13}[/] {escape(finding.detail)}", soft_wrap=True)
        if not finding.ok:
            out.print(f"    {'':<13} {escape(finding.fix)}", soft_wrap=True)
