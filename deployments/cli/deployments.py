"""evergreen deployments: write the models into prefect.yaml, and bring prefect.yaml to the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.command import Json, guard, load_settings, use_prefect
from evergreen.naming import work_pool

if TYPE_CHECKING:
    from deployments.manifest.apply import Applied
    from deployments.manifest.sync import Synced


def show_applied(environment: str, applied: Applied) -> None:
    """Print what was brought to the server."""
    from rich.markup import escape

    from deployments.cli.console import out

    if applied.made_pool:
        out.print(f"Created the work pool {work_pool(environment)}, of type process.")
    out.print(f"{len(applied.deployed)} deployed, {len(applied.unchanged)} unchanged.")
    for name in applied.deployed:
        out.print(f"  {escape(name)}")
    for state, names in (("Paused", applied.paused), ("Switched off", applied.off)):
        for name in names:
            out.print(f"[yellow]{state} on the server, and not changed:[/] {escape(name)}", soft_wrap=True)
    for name in applied.strangers:
        fix = f"To delete it: prefect deployment delete '{escape(name)}'"
        out.print(f"[yellow]On the server, but not in prefect.yaml:[/] {escape(name)}. {fix}", soft_wrap=True)


def show_synced(synced: Synced, *, check: bool) -> None:
    """Print what a sync changed, or with `check` would change."""
    from rich.markup import escape

    from deployments.cli.console import out

    for change in synced.changes:
        out.print(f"  {escape(change)}", soft_wrap=True)
    for name in synced.orphans:
        out.print(f"[yellow]{escape(name)}: its model does not exist. Remove it with --prune.[/]", soft_wrap=True)
    if not synced.changes:
        out.print("prefect.yaml is up to date.")
    elif check:
        out.print("Nothing was written. Run: [bold]evergreen deployments sync[/]")
    else:
        out.print("Read it in prefect.yaml, then run: [bold]evergreen deployments apply[/]")


commands = typer.Typer(no_args_is_help=True, help="Keep prefect.yaml and the server in step with models/.")


@commands.command("sync")
def sync_deployments(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit status 1 if prefect.yaml is not up to date.")
    ] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Remove the deployments of models that do not exist.")] = False,
    as_json: Json = False,
) -> None:
    """Add the models in models/ to prefect.yaml.

    What you wrote there is not changed.
    """

    def work() -> None:
        from deployments.cli import console
        from deployments.manifest import sync

        synced = sync.sync(load_settings(), check=check, prune=prune)
        console.print_result(synced, lambda result: show_synced(result, check=check), as_json=as_json)
        if check and synced.changes:
            raise typer.Exit(1)

    guard(work, as_json)


@commands.command("apply")
def apply_deployments(as_json: Json = False) -> None:
    """Bring prefect.yaml to the Prefect server.

    What was paused or switched off there stays so.
    """

    def work() -> None:
        from deployments.cli import console
        from deployments.manifest import apply

        settings = load_settings()
        use_prefect(settings)
        with console.err.status("[dim]deploying[/]"):
            applied = apply.apply(settings.environment)
        console.print_result(applied, lambda result: show_applied(settings.environment, result), as_json=as_json)

    guard(work, as_json)
