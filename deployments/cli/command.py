"""What every command shares: its arguments, its environment, and how an error becomes one line and an exit status."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from typing import TYPE_CHECKING, Annotated

import typer

from evergreen.errors import EvergreenError
from evergreen.surroundings import prepare_environment, set_home_folder

if TYPE_CHECKING:
    from evergreen.settings import Settings

Name = Annotated[str, typer.Argument(metavar="NAME", help="A model: the name of a file in models/.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object; all else goes to stderr.")]
At = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="TIME",
        help="Run as if it were this time (ISO 8601; UTC without an offset); later labels are ignored.",
    ),
]
Seen = Annotated[
    str | None,
    typer.Option("--environment", metavar="NAME", help="Another environment, which EVERGREEN_SEES names."),
]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is stored in the log.")]


def load_settings() -> Settings:
    """Read the settings; their library takes half of the time of `evergreen --help`, so that it waits for a command."""
    from evergreen.settings import load_settings as load

    return load()


def guard(work: Callable[[], None], as_json: bool) -> None:
    """Run a command. An error that a person can fix becomes one line and exit status 2."""
    from deployments.cli.results import stdout_for_results

    with stdout_for_results() if as_json else nullcontext():
        _run(work, as_json)


def _run(work: Callable[[], None], as_json: bool) -> None:
    from deployments.cli import console

    try:
        prepare_environment(os.environ)
        settings = load_settings()
        set_home_folder(os.environ, settings.root)
        if settings.logs == "json":
            console.write_json()
        work()
    except EvergreenError as error:
        console.print_error(error)
        if as_json:
            console.print_json({"error": error.what, "fix": error.fix})
        raise typer.Exit(2) from None
    except RuntimeError as error:
        if "ephemeral Prefect API server" not in str(error):
            raise
        console.err.print(
            "[red]Prefect's temporary server did not start.[/] Run the command again, or start a server yourself with "
            "prefect server start and set PREFECT_API_URL."
        )
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        console.err.print("[yellow]Stopped.[/] Run the command again: it continues from what was stored.")
        raise typer.Exit(1) from None


def seen_settings(environment: str | None) -> Settings:
    """The settings of this environment, or those by which another one is read.

    Raises:
        EvergreenError: a setting has a mistake, or EVERGREEN_SEES does not name the environment.
    """
    from deployments.cli.console import err

    settings = load_settings()
    found = settings if environment is None else settings.see(environment)
    if found.read_only:
        err.print(f"[dim]The environment {environment} is only read; what is advised is to be done there.[/]")
    return found


def prepare(name: str, *, runs_flow: bool = True, seen: str | None = None) -> Settings:
    """Load the settings and set Prefect's environment.

    Args:
        name: of the model.
        runs_flow: for commands that need a Prefect server.
        seen: the other environment that a command reads.

    Raises:
        EvergreenError: a setting or the model file has a mistake, which is so reported before anything starts.
    """
    import models

    settings = seen_settings(seen)
    models.load(name, settings.models)
    if runs_flow:
        from deployments.stack.prefect_home import start_server

        use_prefect(settings)
        start_server(settings)
    return settings


def use_prefect(settings: Settings) -> None:
    """Set Prefect's environment before Prefect is imported.

    Raises:
        EvergreenError: a newer Prefect has used the database of the temporary server.
    """
    from deployments.stack import prefect_home

    prefect_home.use(settings)
    prefect_home.require_known_database(settings)


def load_libraries(settings: Settings) -> None:
    """Load what every flow needs, while a temporary server comes up, and so that no step is told with these seconds."""
    from evergreen.registry.mlflow_calls import load_mlflow

    for name in ("pandera.pandas", "deltalake", "pyarrow.dataset"):
        import_module(name)
    load_mlflow(settings.tracking)
