"""evergreen dossier: write the dossier of a version. It needs no Prefect."""

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
        Path | None, typer.Option("--out", metavar="FILE", help="The file to write; by default in EVERGREEN_HOME.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the dossier of a version: one HTML file.

    It has model card, importance, data, decisions, approvals and lineage.
    """

    def work() -> None:
        from rich.markup import escape

        import models
        from deployments.cli import console
        from evergreen.pages import dossier as pages
        from evergreen.registry.client import Registry
        from evergreen.settings import load_settings

        settings = load_settings()
        loaded = models.load(name, settings.models)
        path = out.expanduser().absolute() if out else pages.dossier_file(settings, name, version)
        pages.require_writable(path)
        with console.err.status(f"[dim]collecting what is stored about {name} version {version}[/]"):
            contents = pages.dossier(
                settings, Registry(settings), loaded.spec, version, spec_hash=loaded.hash, now=datetime.now(UTC)
            )
        text = pages.page(contents)
        pages.write(path, text)
        if as_json:
            summary = {"model": name, "version": version, "path": str(path), "bytes": len(text.encode())}
            explained = {"importance": contents.explanation.method, "rows_explained": contents.explanation.rows}
            console.print_json(summary | explained | {"entries": len(contents.entries), "notes": list(contents.notes)})
            return
        console.out.print(f"Wrote [bold]{escape(str(path))}[/].", soft_wrap=True)
        for note in contents.notes:
            console.out.print(f"  - {escape(note)}", soft_wrap=True)

    guard(work, as_json)
