"""evergreen rebuild and rebuild-table: a past version, or the table in other types. They need no Prefect."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.command import Json, Name, guard, load_settings
from evergreen.markdown import many

if TYPE_CHECKING:
    from evergreen.maintenance.rebuild import Rebuilt
    from evergreen.maintenance.rebuild_table import RebuiltTable


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


def rebuild_table(name: Name, as_json: Json = False) -> None:
    """Give the stored rows the types of a changed contract().

    A number that becomes a text is read from its file again. Earlier versions of the table stay.
    """

    def work() -> None:
        import models
        from deployments.cli import console
        from evergreen.maintenance import rebuild_table

        settings = load_settings()
        spec = models.load(name, settings.models).spec
        with console.show_work(f"rebuilding the table of {name}") as (step, _):
            result = rebuild_table.rebuild_table(spec, settings, now=datetime.now(UTC), step=step)
        console.print_result(result, _show_table, as_json=as_json)

    guard(work, as_json)


def _show_table(result: RebuiltTable) -> None:
    from rich.markup import escape

    from deployments.cli.console import grid, out

    label = f"[bold]{escape(result.model)}[/]"
    if not result.columns:
        out.print(f"{label}: every column of the table has the contract's type already.")
        return
    out.print(f"{label}: the {result.rows:,} rows of the table are in the contract's types, version {result.version}.")
    rows = [
        (column.name, column.before, column.after, "the files" if column.from_files else "the stored values")
        for column in result.columns
    ]
    out.print(grid("Columns", ("column", "before", "now", "taken from"), rows))


def _show_rebuilt(result: Rebuilt) -> None:
    from rich.markup import escape

    from deployments.cli.console import err, grid, out

    label = f"[bold]{escape(result.model)}[/] version {result.version}"
    if result.damage:
        err.print(f"{label} [red]cannot be rebuilt:[/] {escape(result.damage)}", soft_wrap=True)
        return
    predictions = many(result.rows, "prediction")
    if result.equal:
        outcome = f"[green]equal to the bit.[/] {predictions} of the stored and of the rebuilt pipeline"
        digests = f"digest {result.stored}"
    else:
        outcome = f"[red]not equal.[/] {predictions}"
        digests = f"digest {result.stored} of the stored and {result.rebuilt} of the rebuilt pipeline"
    out.print(f"{label}: {outcome}, {digests}.", soft_wrap=True)
    if result.differences:
        rows = [(difference.name, difference.then, difference.now) for difference in result.differences]
        out.print(grid("Different now", ("what", "then", "now"), rows))
