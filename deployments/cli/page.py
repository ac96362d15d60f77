"""evergreen page: write a model's page, or serve the pages of all models."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.command import Json, Seen, guard, load_settings, seen_settings
from evergreen import naming
from evergreen.errors import EvergreenError
from evergreen.logs import print_as_json

if TYPE_CHECKING:
    from evergreen.pages.links import PageLinks
    from evergreen.settings import Settings


def page(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A model: the name of a file in models/.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The file to write; by default in EVERGREEN_HOME/pages."),
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Serve the pages of all models on 127.0.0.1.")] = False,
    host: Annotated[
        str | None,
        typer.Option("--host", metavar="ADDRESS", help="Where --serve listens; it has no login: behind a proxy."),
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", metavar="N", min=0, max=65535, help="The port of --serve; 0 for any.")
    ] = None,
    environment: Seen = None,
    as_json: Json = False,
) -> None:
    """Write a model's HTML page, or serve the pages of all models.

    A page shows drift, performance, versions and the ledger.
    """

    def work() -> None:
        settings = load_settings()
        if serve and environment is not None:
            raise EvergreenError("--serve takes no --environment.", "Run: evergreen page NAME --environment NAME")
        if serve:
            if name is not None or out is not None:
                raise EvergreenError(
                    "--serve takes no NAME and no --out: it serves the pages of all models.",
                    "Run: evergreen page --serve",
                )
            _serve(settings, host, port, as_json)
        elif name is None:
            raise EvergreenError(
                "NAME is missing.", "Run: evergreen page NAME, or for all models: evergreen page --serve"
            )
        elif port is not None or host is not None:
            raise EvergreenError("--port and --host need --serve.", "Run: evergreen page --serve --port N")
        else:
            _write(settings, seen_settings(environment), name, out, as_json)

    guard(work, as_json)


def _write(own: Settings, settings: Settings, name: str, out: Path | None, as_json: bool) -> None:
    """Write the page of a model of `settings`, which are another environment's or our own, among our pages."""
    from datetime import UTC, datetime

    import models
    from deployments.cli import console

    began = time.monotonic()
    spec = models.load(name, settings.models).spec
    with console.err.status(f"[dim]reading {name}[/]"):
        from evergreen.pages.gather import gather
        from evergreen.pages.links import page_file
        from evergreen.pages.render import write

        path = (
            page_file(own, name, (settings.environment or naming.UNNAMED) if settings.read_only else "")
            if out is None
            else out
        ).absolute()
        if out is None:
            _make_folder(path.parent)
        links = find_links(own, path.parent, settings.environment)
        contents = gather(settings, spec, links, now=datetime.now(UTC))
        write(contents, links, path)
    if as_json:
        counts = {"windows": len(contents.reports), "versions": len(contents.versions)}
        seconds = round(time.monotonic() - began, 2)
        console.print_json({"model": name, "path": str(path)} | counts | {"seconds": seconds})
    else:
        console.out.print(f"Wrote [bold]{path}[/]", soft_wrap=True)


def _serve(settings: Settings, host: str | None, port: int | None, as_json: bool) -> None:
    from deployments.cli import console
    from deployments.stack.page_server import PageCache, Server
    from deployments.stack.services import HOST, PAGES_PORT
    from deployments.stack.stack import be_interruptible

    port = PAGES_PORT if port is None else port
    with Server(PageCache(settings, find_links(settings, None, settings.environment)), port, host or HOST) as server:
        be_interruptible()
        if settings.logs == "json" and not as_json:
            print_as_json(naming.LOGGER)
        if as_json:
            console.print_json({"url": server.url})
        else:
            console.out.print(f"The pages are at [bold]{server.url}[/]")
            console.err.print("[dim]Stop it with Ctrl-C.[/]")
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            console.err.print("Stopped.")


def find_links(settings: Settings, folder: Path | None, environment: str) -> PageLinks:
    """The addresses of MLflow and Prefect, from the environment or `evergreen up`.

    Args:
        settings: our own.
        folder: that of the page.
        environment: whose model it shows.
    """
    from deployments.stack.services import read_ports
    from evergreen.pages.links import PageLinks, shown_url

    ports = read_ports(settings)
    prefect = os.environ.get("PREFECT_UI_URL") or os.environ.get("PREFECT_API_URL", "").removesuffix("/api")
    mlflow = shown_url(settings.tracking)
    if ports is not None:
        prefect, mlflow = prefect or ports.prefect_ui, mlflow or ("" if ports.server else ports.mlflow_ui)
    return PageLinks(shown_url(prefect), mlflow, environment, folder)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EvergreenError(
            f"The folder {folder} cannot be created: {error.strerror}.", "Set EVERGREEN_HOME to a folder of yours."
        ) from None
