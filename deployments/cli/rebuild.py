"""The commands that go back, `rebuild`, and that bound how far one can, `clean`. They need no Prefect."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.command import Json, Name, guard
from evergreen.errors import BusyError
from evergreen.settings import Settings, load_settings

if TYPE_CHECKING:
    from evergreen.maintenance.rebuild import Rebuilt
    from evergreen.maintenance.retention import Plan, Retention

MEGABYTE = 1e6


def rebuild(
    name: Name,
    version: Annotated[int, typer.Argument(help="A version's number, such as evergreen history shows it.")],
    as_json: Json = False,
) -> None:
    """Train a past version again and say whether it predicts the same to the bit; exit status 1 where it does not."""

    def work() -> None:
        import models
        from deployments.cli import console
        from evergreen.maintenance.rebuild import rebuild as again
        from evergreen.registry.client import Registry

        settings = load_settings()
        loaded = models.load(name, settings.models)
        with _steps(f"rebuilding {name} version {version}") as (step, progress):
            found = again(loaded.spec, loaded.hash, settings, Registry(settings), version, step=step, progress=progress)
        if as_json:
            console.emit_json(found.to_json())
        else:
            _show_rebuilt(found)
        if not found.equal:
            raise typer.Exit(1)

    guard(work, as_json)


def clean(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A model; all of them where none is named.")
    ] = None,
    older_than: Annotated[int, typer.Option("--older-than", metavar="DAYS", min=0, help="Nothing younger goes.")] = 30,
    keep: Annotated[int, typer.Option("--keep", metavar="N", min=0, help="The newest versions that stay.")] = 10,
    quarantine: Annotated[
        int | None,
        typer.Option("--quarantine-older-than", metavar="DAYS", min=0, help="Refused batches go too, if older."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete it; without this nothing is touched.")] = False,
    as_json: Json = False,
) -> None:
    """Say what a model no longer needs on the disk and why the rest stays; with --yes, delete it."""

    def work() -> None:
        import models
        from deployments.cli import console
        from evergreen.maintenance.retention import Retention

        settings = load_settings()
        policy = Retention(older_than, keep, quarantine)
        chosen = [name] if name is not None else list(models.names(settings.models))
        plans: list[Plan] = []
        busy: list[str] = []
        with _steps("cleaning" if yes else "looking") as (step, _):
            for model in chosen:
                try:
                    plans.append(_cleaned(model, settings, policy, step if yes else None))
                except BusyError as error:
                    if name is not None:
                        raise
                    busy.append(str(error))
        if as_json:
            told = {"deleted": yes, "bytes": sum(plan.bytes for plan in plans), "busy": busy}
            console.emit_json(told | {"models": [plan.to_json() for plan in plans]})
        else:
            _show_plans(plans, busy, yes=yes)
        if busy:
            raise typer.Exit(1)

    guard(work, as_json)


def _cleaned(model: str, settings: Settings, policy: Retention, step: Callable[[str], None] | None) -> Plan:
    """What went, told step by step; without a `step`, what would go."""
    import models
    from evergreen.maintenance.clean import clean as carry_out
    from evergreen.maintenance.retention import plan
    from evergreen.registry.client import Registry

    spec, registry, now = models.load(model, settings.models).spec, Registry(settings), datetime.now(UTC)
    if step is None:
        return plan(settings, registry, spec, policy, now=now)
    return carry_out(settings, registry, spec, policy, now=now, step=step)


@contextmanager
def _steps(title: str) -> Iterator[tuple[Callable[[str], None], Callable[[int, int], None]]]:
    """A spinner on stderr, a line for each step that is done, and how far a search is."""
    from rich.markup import escape

    from deployments.cli import console

    last = time.monotonic()
    with console.err.status(f"[dim]{escape(title)}[/]") as status:

        def step(text: str) -> None:
            nonlocal last
            now = time.monotonic()
            what, _, rest = escape(text).partition(": ")
            console.err.print(f"  [bold]{what:<10}[/] {rest} [dim]{now - last:.1f} s[/]", soft_wrap=True)
            last = now

        yield step, lambda done, total: status.update(f"[dim]{done} of {total} fits of the search[/]")


def _show_rebuilt(found: Rebuilt) -> None:
    from rich.markup import escape

    from deployments.cli.console import err, grid, out

    label = f"[bold]{escape(found.model)}[/] version {found.version}"
    if found.damage:
        err.print(f"{label} [red]cannot be rebuilt:[/] {escape(found.damage)}", soft_wrap=True)
        return
    if found.equal:
        out.print(
            f"{label}: [green]equal to the bit.[/] {found.rows} predictions of the stored and of the rebuilt pipeline, "
            f"digest {found.stored}.",
            soft_wrap=True,
        )
    else:
        out.print(
            f"{label}: [red]not equal.[/] {found.rows} predictions; their digest was {found.stored} and is "
            f"{found.rebuilt} now.",
            soft_wrap=True,
        )
    if found.differences:
        rows = [(each.name, each.then, each.now) for each in found.differences]
        out.print(grid("Different now", ("what", "then", "now"), rows))


def _show_plans(plans: Sequence[Plan], busy: Sequence[str], *, yes: bool) -> None:
    from rich.markup import escape

    from deployments.cli.console import err, grid, out

    for plan in plans:
        if plan.going:
            rows = [(item.kind, item.name, f"{item.bytes / MEGABYTE:.2f}", item.why) for item in plan.going]
            out.print(grid(f"{plan.model}: {'gone' if yes else 'would go'}", ("what", "which", "MB", "why"), rows))
        else:
            out.print(f"[bold]{plan.model}[/]: nothing to delete.")
        if plan.small:
            out.print(f"{plan.small} small files of its observations {'were' if yes else 'would be'} joined.")
        if plan.kept:
            out.print(
                grid(f"{plan.model}: kept", ("what", "which", "why"), [(k.kind, k.name, k.why) for k in plan.kept])
            )
    total = sum(plan.bytes for plan in plans) / MEGABYTE
    if yes:
        out.print(f"{total:.2f} MB are free. What was decided, and why, is kept.")
    elif any(plan.going or plan.small for plan in plans):
        out.print(f"{total:.2f} MB would be free. Nothing was deleted; to delete it, add [bold]--yes[/].")
    for line in busy:
        err.print(f"[yellow]Left alone:[/] {escape(line)}", soft_wrap=True)
