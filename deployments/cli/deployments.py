"""evergreen deployments: bring the models into prefect.yaml, and prefect.yaml to the server."""

from __future__ import annotations

from typing import Annotated

import typer

from deployments.cli.command import Json, guard, use_prefect
from deployments.manifest.apply import Applied
from deployments.manifest.sync import Synced
from deployments.manifest.work_pool import POOL
from evergreen.settings import load_settings


def show_applied(applied: Applied) -> None:
    """What was brought to the server, for a person."""
    from rich.markup import escape

    from deployments.cli.console import out

    if applied.made_pool:
        out.print(f"Made the work pool {POOL}, of type process.")
    out.print(f"{len(applied.deployed)} deployed, {len(applied.unchanged)} stood there already.")
    for name in applied.deployed:
        out.print(f"  {escape(name)}")
    for what, names in (("Paused", applied.paused), ("Switched off", applied.off)):
        for name in names:
            out.print(f"[yellow]{what} on the server, and left so:[/] {escape(name)}", soft_wrap=True)
    for name in applied.strangers:
        fix = f"prefect deployment delete '{escape(name)}'"
        out.print(f"[yellow]Not in prefect.yaml, and goes on:[/] {escape(name)}; {fix} ends it", soft_wrap=True)


def show_synced(synced: Synced, *, check: bool) -> None:
    """What a sync did, or would do, for a person."""
    from rich.markup import escape

    from deployments.cli.console import out

    for change in synced.changes:
        out.print(f"  {escape(change)}", soft_wrap=True)
    for name in synced.orphans:
        out.print(f"[yellow]{escape(name)} is of a model that is not there; --prune takes it out.[/]", soft_wrap=True)
    if not synced.changes:
        out.print("prefect.yaml has every model.")
    elif check:
        out.print("Nothing was written. Run: [bold]evergreen deployments sync[/]")
    else:
        out.print("Read it in prefect.yaml, then run: [bold]evergreen deployments apply[/]")


commands = typer.Typer(no_args_is_help=True, help="What prefect.yaml says of the models.")


@commands.command("sync")
def sync_deployments(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit status 1 when something would.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Take out those of models that are not there.")] = False,
    as_json: Json = False,
) -> None:
    """Bring the models in models/ into prefect.yaml; what is there already stays as it was written."""

    def work() -> None:
        from deployments.cli import console
        from deployments.manifest import sync

        found = sync.sync(load_settings(), check=check, prune=prune)
        if as_json:
            console.emit_json(found.to_json())
        else:
            show_synced(found, check=check)
        if check and found.changes:
            raise typer.Exit(1)

    guard(work, as_json)


@commands.command("apply")
def apply_deployments(as_json: Json = False) -> None:
    """Bring prefect.yaml to the Prefect server; what was paused or switched off there stays so."""

    def work() -> None:
        from deployments.cli import console
        from deployments.manifest import apply

        use_prefect(load_settings())
        with console.err.status("[dim]deploying[/]"):
            found = apply.apply()
        if as_json:
            console.emit_json(found.to_json())
        else:
            show_applied(found)

    guard(work, as_json)
