"""Commands of the live stack: deployments, automations, up, down, rehearse."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.command import Json, Name, guard, use_prefect
from evergreen.settings import load_settings

if TYPE_CHECKING:
    from deployments.stack.stack import Stack


def up(
    detach: Annotated[bool, typer.Option("--detach", help="Come back when it is up.")] = False,
    as_json: Json = False,
) -> None:
    """Bring up the Prefect server, MLflow and a worker on this machine, with the deployments of prefect.yaml."""

    def work() -> None:
        from deployments.cli import console
        from deployments.stack import stack

        settings = load_settings()
        stack.be_interruptible()
        elsewhere = os.environ.get("PREFECT_API_URL")
        with console.err.status("[dim]bringing up the Prefect server, MLflow and a worker[/]"):
            found = stack.up(settings, lambda part: console.err.print(f"  {part}"))
        if as_json:
            console.emit_json(found.to_json())
        else:
            _show_stack(found, elsewhere)
        if detach or not found.started:
            return
        console.err.print("[dim]Ctrl-C ends it.[/]")
        try:
            stack.stay(settings)
        except KeyboardInterrupt:
            with console.err.status("[dim]ending the worker, MLflow and the Prefect server[/]"):
                stack.down(settings)
        console.err.print("Everything that was up has ended; all is kept.")

    guard(work, as_json)


def _show_stack(found: Stack, elsewhere: str | None) -> None:
    from rich.markup import escape

    from deployments.cli.console import out

    was = f"Up after {found.seconds:.0f} s." if found.started else "Up already."
    out.print(f"[bold green]{was}[/]")
    mlflow = found.ports.mlflow_ui if found.mlflow else "the tracking server of EVERGREEN_TRACKING_URI"
    pages = ("pages", found.ports.pages_ui)
    for name, place in (("Prefect", found.ports.prefect_ui), ("MLflow", mlflow), pages, ("logs", str(found.logs))):
        out.print(f"  {name:<8} {escape(place)}", soft_wrap=True)
    out.print("Next: [bold]evergreen rehearse NAME[/] sends a canary through it. [bold]evergreen down[/] ends all.")
    if elsewhere and elsewhere != found.ports.api:
        warning = f"PREFECT_API_URL is set: commands go to {escape(elsewhere)}, not to this stack."
        out.print(f"[yellow]{warning}[/]", soft_wrap=True)


def down(as_json: Json = False) -> None:
    """End what `evergreen up` started; runs, schedules and models are kept."""

    def work() -> None:
        from deployments.cli import console
        from deployments.stack import stack

        settings = load_settings()
        with console.err.status("[dim]ending the worker, MLflow and the Prefect server[/]"):
            ended = stack.down(settings)
        if as_json:
            console.emit_json({"up": False, "ended": ended})
        else:
            console.out.print("Everything that was up has ended; all is kept." if ended else "Nothing was up.")

    guard(work, as_json)


def rehearse(name: Name, as_json: Json = False) -> None:
    """Send a canary event through the whole chain and say which link is broken."""

    def work() -> None:
        from rich.markup import escape

        import models
        from deployments.automations.rehearsal import rehearse as follow
        from deployments.cli import console

        settings = load_settings()
        use_prefect(settings)
        spec = models.load(name, settings.models).spec
        with console.err.status("[dim]following a canary from the event to the run[/]"):
            found = follow(spec)
        if as_json:
            console.emit_json(found.to_json())
        elif found.ok:
            held = f"{found.latency_s:.1f} s from the event to the flow's first line"
            console.out.print(f"[green]The chain holds[/]: {held}.")
        else:
            console.out.print(
                f"[red]Broken: {found.broken}.[/] {escape(found.reason)} {escape(found.fix)}", soft_wrap=True
            )
        if not found.ok:
            raise typer.Exit(1)

    guard(work, as_json)
