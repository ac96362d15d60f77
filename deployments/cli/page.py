"""The command that writes a model's page, or shows those of all models on a loopback port."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.command import Json, guard
from deployments.stack.services import PAGES_PORT, read_ports
from evergreen.errors import EvergreenError
from evergreen.pages.links import Places, page_file, shown_url
from evergreen.settings import Settings, load_settings


def page(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A model: the name of a file in models/.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it here; by default below EVERGREEN_HOME/pages.")
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Show the pages of all models on 127.0.0.1.")] = False,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Of --serve; 0 for any.")] = None,
    as_json: Json = False,
) -> None:
    """Write a model's page: drift, performance, versions and the ledger in one HTML file."""

    def work() -> None:
        settings = load_settings()
        if serve:
            if name is not None or out is not None:
                raise EvergreenError("--serve shows every model, and writes no file.", "Run: evergreen page --serve")
            _serve(settings, PAGES_PORT if port is None else port, as_json)
        elif name is None:
            raise EvergreenError("Of which model?", "Run: evergreen page NAME, or evergreen page --serve for all.")
        elif port is not None:
            raise EvergreenError("--port is for --serve.", "Run: evergreen page --serve --port N")
        else:
            _write(settings, name, out, as_json)

    guard(work, as_json)


def _write(settings: Settings, name: str, out: Path | None, as_json: bool) -> None:
    from datetime import UTC, datetime

    import models
    from deployments.cli import console

    began = time.monotonic()
    spec = models.load(name, settings.models).spec
    with console.err.status(f"[dim]reading {name}[/]"):
        from evergreen.pages.gather import gather
        from evergreen.pages.render import write

        place = (page_file(settings, name) if out is None else out).absolute()
        if out is None:
            _make(place.parent)
        places = known_places(settings, place.parent)
        found = gather(settings, spec, places, now=datetime.now(UTC))
        write(found, places, place)
    told = {"model": name, "path": str(place), "windows": len(found.reports), "versions": len(found.versions)}
    if as_json:
        console.emit_json(told | {"seconds": round(time.monotonic() - began, 2)})
    else:
        console.out.print(f"Wrote [bold]{place}[/]", soft_wrap=True)


def _serve(settings: Settings, port: int, as_json: bool) -> None:
    from deployments.cli import console
    from deployments.stack.page_server import Pages, Server
    from deployments.stack.stack import be_interruptible

    with Server(Pages(settings, known_places(settings, None)), port) as server:
        be_interruptible()
        if as_json:
            console.emit_json({"url": server.url})
        else:
            console.out.print(f"The pages are at [bold]{server.url}[/]")
            console.err.print("[dim]Ctrl-C ends it.[/]")
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            console.err.print("Ended.")


def known_places(settings: Settings, folder: Path | None) -> Places:
    """Where MLflow and Prefect are, by the environment or the ports of `evergreen up`; `folder` is the page's own."""
    ports = read_ports(settings)
    prefect = os.environ.get("PREFECT_UI_URL") or os.environ.get("PREFECT_API_URL", "").removesuffix("/api")
    mlflow = shown_url(settings.tracking)
    if ports is not None:
        prefect, mlflow = prefect or ports.prefect_ui, mlflow or ports.mlflow_ui
    return Places(shown_url(prefect), mlflow, folder)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EvergreenError(
            f"{folder} cannot be made: {error.strerror}.", "Set EVERGREEN_HOME to a folder of yours."
        ) from None
