"""evergreen rebuild: train a past version again and compare its predictions. It needs no Prefect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.command import Json, Name, guard
from evergreen.settings import load_settings

if TYPE_CHECKING:
    from evergreen.maintenance.rebuild import Rebuilt


def rebuild(
    name: Name,
    version: Annotated[int, typer.Argument(metavar="VERSION", help="The number that evergreen history shows.")],
    as_json: Json = False,
) -> None:
    """Train a past version again and compare the predictions.

    The exit status is 1 unless they are equal to the bit.
    """

    def work() -> None:
        import models
        from deployments.cli import console
        from evergreen.maintenance import rebuild
        from evergreen.registry.client import Registry

        settings = load_settings()
        loaded = models.load(name, settings.models)
        with console.show_work(f"rebuilding {name} version {version}") as (step, progress):
            result = rebuild.rebuild(
                loaded.spec, loaded.hash, settings, Registry(settings), version, step=step, progress=progress
            )
        console.print_result(result, _show_rebuilt, as_json=as_json)
        if not result.equal:
            raise typer.Exit(1)

    guard(work, as_json)


def _show_rebuilt(result: Rebuilt) -> None:
    from rich.markup import escape

    from deployments.cli.console import err, grid, out

    label = f"[bold]{escape(result.model)}[/] version {result.version}"
    if result.damage:
        err.print(f"{label} [red]cannot be rebuilt:[/] {escape(result.damage)}", soft_wrap=True)
        return
    if result.equal:
        outcome = f"[green]equal to the bit.[/] {result.rows} predictions of the stored and of the rebuilt pipeline"
        digests = f"digest {result.stored}"
    else:
        outcome = f"[red]not equal.[/] {result.rows} predictions"
        digests = f"digest {result.stored} of the stored and {result.rebuilt} of the rebuilt pipeline"
    out.print(f"{label}: {outcome}, {digests}.", soft_wrap=True)
    if result.differences:
        rows = [(difference.name, difference.then, difference.now) for difference in result.differences]
        out.print(grid("Different now", ("what", "then", "now"), rows))
