"""What every command shares: its arguments, its surroundings, and how a fault becomes one line and an exit status."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from evergreen.errors import EvergreenError
from evergreen.settings import Settings, load_settings

Name = Annotated[str, typer.Argument(metavar="NAME", help="A model: the name of a file in models/.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, everything else on stderr.")]
At = Annotated[
    str | None,
    typer.Option(
        "--at", metavar="TIME", help="Look at the past: what became known later does not count. ISO 8601, or UTC."
    ),
]
Why = Annotated[str, typer.Option("--reason", help="Why; kept in the log.")]


def guard(work: Callable[[], None], as_json: bool) -> None:
    """Run a command; a fault that a person can mend is one line and exit status 2."""
    from rich.markup import escape

    from deployments.cli import console

    try:
        work()
    except EvergreenError as error:
        console.err.print(f"[red]{escape(error.what)}[/] {escape(error.fix)}", soft_wrap=True)
        if as_json:
            console.emit_json({"error": error.what, "fix": error.fix})
        raise typer.Exit(2) from None
    except RuntimeError as error:
        if "ephemeral Prefect API server" not in str(error):
            raise
        console.err.print(
            "[red]Prefect's temporary server did not start.[/] Run it again, or start one yourself: "
            "prefect server start, then set PREFECT_API_URL."
        )
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        console.err.print("[yellow]Stopped.[/] Run it again: it goes on from what was stored.")
        raise typer.Exit(1) from None


def prepare(name: str) -> Settings:
    """Settings, with Prefect's environment set; a mistake in the model file is told before anything starts."""
    import models

    settings = load_settings()
    models.load(name, settings.models)
    use_prefect(settings)
    return settings


def use_prefect(settings: Settings) -> None:
    """Set Prefect's environment before Prefect is imported."""
    from deployments.stack import prefect_home

    prefect_home.use(settings)


def start(what: str) -> str:
    """What a spinner says at first: without a server it takes a while."""
    from deployments.stack import prefect_home

    return what if prefect_home.has_server() else f"{what}: starting a temporary Prefect server"
