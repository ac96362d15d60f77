"""The command that writes a version's dossier. It only looks, and needs no Prefect."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.command import Json, Name, guard


def dossier(
    name: Name,
    version: Annotated[int, typer.Argument(metavar="VERSION", help="The version's number.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="By default in EVERGREEN_HOME/dossiers.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write one offline page about a version: card, importance, data, decisions, approvals, lineage."""

    def work() -> None:
        from rich.markup import escape

        import models
        from deployments.cli import console
        from evergreen.pages import dossier as papers
        from evergreen.registry.client import Registry
        from evergreen.settings import load_settings

        settings = load_settings()
        loaded = models.load(name, settings.models)
        place = out.expanduser().absolute() if out else papers.dossier_file(settings, name, version)
        papers.require_writable(place)
        with console.err.status(f"[dim]gathering what there is about {name} version {version}[/]"):
            found = papers.dossier(
                settings, Registry(settings), loaded.spec, version, spec_hash=loaded.hash, now=datetime.now(UTC)
            )
        text = papers.page(found)
        papers.write(place, text)
        if as_json:
            seen = {"importance": found.explanation.method, "rows_explained": found.explanation.rows}
            told = {"model": name, "version": version, "path": str(place), "bytes": len(text.encode())}
            console.emit_json(told | seen | {"entries": len(found.entries), "notes": list(found.notes)})
            return
        console.out.print(f"Wrote [bold]{escape(str(place))}[/].", soft_wrap=True)
        for note in found.notes:
            console.out.print(f"  - {escape(note)}", soft_wrap=True)

    guard(work, as_json)
