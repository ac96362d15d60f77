"""evergreen clean: delete what no model needs any more. It needs no Prefect."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.command import Json, guard, load_settings
from evergreen.errors import BusyError

if TYPE_CHECKING:
    from evergreen.maintenance.retention import Plan, Retention
    from evergreen.maintenance.state_folder import Part
    from evergreen.settings import Settings

_MEGABYTE = 1e6


def clean(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A model; by default all of them.")] = None,
    older_than: Annotated[
        int, typer.Option("--older-than", metavar="DAYS", min=0, help="Keep everything that is younger.")
    ] = 30,
    keep: Annotated[
        int, typer.Option("--keep", metavar="N", min=0, help="Keep this many of the newest versions.")
    ] = 10,
    quarantine: Annotated[
        int | None,
        typer.Option("--quarantine-older-than", metavar="DAYS", min=0, help="Delete rejected batches that are older."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete; without this option nothing is changed.")] = False,
    as_json: Json = False,
) -> None:
    """Show what can be deleted; with --yes, delete it.

    It also says why the rest stays. Without NAME, the whole state folder is measured, and databases give back what
    they have free.
    """

    def work() -> None:
        import models
        from deployments.cli import console
        from evergreen.maintenance.retention import Retention

        settings = load_settings()
        retention = Retention(older_than, keep, quarantine)
        plans: list[Plan] = []
        busy: list[str] = []
        with console.show_work("deleting" if yes else "looking for what can be deleted") as (step, _):
            for model in models.names(settings.models) if name is None else [name]:
                try:
                    plans.append(_clean_model(model, settings, retention, step if yes else None))
                except BusyError as error:
                    if name is not None:
                        raise
                    busy.append(str(error))
            parts, in_use = _clean_state(settings, step if yes else None) if name is None else ((), ())
        if as_json:
            freed = sum(plan.bytes for plan in plans) + _free_bytes(parts, in_use)
            summary = {"deleted": yes, "bytes": freed, "busy": busy, "models": [plan.to_json() for plan in plans]}
            console.print_json(summary | {"state": [asdict(part) for part in parts], "in_use": in_use})
        else:
            _show_plans(plans, deleted=yes)
            _show_state(parts, in_use, settings)
            _show_total(plans, _free_bytes(parts, in_use), busy, deleted=yes)
        if busy:
            raise typer.Exit(1)

    guard(work, as_json)


def _clean_model(model: str, settings: Settings, retention: Retention, step: Callable[[str], None] | None) -> Plan:
    """Delete, with a line for each step, and return what was deleted; without `step` only plan it."""
    import models
    from evergreen.maintenance import clean
    from evergreen.maintenance.retention import plan
    from evergreen.registry.client import Registry

    spec, registry, now = models.load(model, settings.models).spec, Registry(settings), datetime.now(UTC)
    if step is None:
        return plan(settings, registry, spec, retention, now=now)
    return clean.clean(settings, registry, spec, retention, now=now, step=step)


def _clean_state(settings: Settings, step: Callable[[str], None] | None) -> tuple[Sequence[Part], Sequence[str]]:
    """Give back what databases have free; without `step` only measure. Returns what there was, and what is in use."""
    from evergreen.maintenance import state_folder

    if step is None:
        return state_folder.measure(settings), ()
    return state_folder.shrink(settings, step=step)


def _free_bytes(parts: Sequence[Part], in_use: Sequence[str]) -> int:
    return sum(part.free for part in parts if part.name not in in_use)


def _show_state(parts: Sequence[Part], in_use: Sequence[str], settings: Settings) -> None:
    from deployments.cli.console import err, grid, out

    if parts:
        rows = [
            (part.name, f"{part.bytes / _MEGABYTE:.2f}", f"{part.free / _MEGABYTE:.2f}", part.bound) for part in parts
        ]
        out.print(grid(f"State folder {settings.root}", ("what", "MB", "free MB", "bounded by"), rows))
    for name in in_use:
        err.print(f"[yellow]Skipped:[/] {name} is in use. To give back what it has free, run: evergreen down")


def _show_plans(plans: Sequence[Plan], *, deleted: bool) -> None:
    for plan in plans:
        _show_plan(plan, deleted=deleted)


def _show_total(plans: Sequence[Plan], free: int, busy: Sequence[str], *, deleted: bool) -> None:
    from rich.markup import escape

    from deployments.cli.console import err, out

    total = (sum(plan.bytes for plan in plans) + free) / _MEGABYTE
    if deleted:
        out.print(f"{total:.2f} MB were freed. Decisions and their reasons are kept.")
    elif free or any(plan.going or plan.small for plan in plans):
        out.print(f"{total:.2f} MB would be freed. Nothing was deleted; to delete it, add [bold]--yes[/].")
    for line in busy:
        err.print(f"[yellow]Skipped:[/] {escape(line)}", soft_wrap=True)


def _show_plan(plan: Plan, *, deleted: bool) -> None:
    from deployments.cli.console import grid, out

    if plan.going:
        rows = [(item.kind, item.name, f"{item.bytes / _MEGABYTE:.2f}", item.why) for item in plan.going]
        out.print(grid(f"{plan.model}: {'deleted' if deleted else 'to delete'}", ("what", "which", "MB", "why"), rows))
    else:
        out.print(f"[bold]{plan.model}[/]: nothing to delete.")
    if plan.small:
        out.print(f"{plan.small} small files of its tables {'were' if deleted else 'would be'} joined.")
    if plan.kept:
        kept_rows = [(item.kind, item.name, item.why) for item in plan.kept]
        out.print(grid(f"{plan.model}: kept", ("what", "which", "why"), kept_rows))
