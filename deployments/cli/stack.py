"""evergreen up, down and rehearse: the stack on this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.command import Json, Name, guard, load_settings, use_prefect

if TYPE_CHECKING:
    from deployments.automations.rehearsal import Rehearsal
    from deployments.stack.stack import Stack
    from deployments.stack.worker_alone import Worker
    from evergreen.settings import Settings

_STOPPING = "[dim]stopping the worker, serving, the pages, MLflow and the Prefect server[/]"
_STOPPED = "Everything has stopped. Runs, schedules and models are kept."


def up(
    detach: Annotated[bool, typer.Option("--detach", help="Return when it is up.")] = False,
    worker: Annotated[bool, typer.Option("--worker", help="Only a worker, for the server of PREFECT_API_URL.")] = False,
    as_json: Json = False,
) -> None:
    """Start everything on this machine.

    These are the Prefect server, MLflow, the pages of the models, the server of
    predictions where a model asks for it, and a worker.
    The deployments of prefect.yaml and the automations go to the server.
    """

    def work() -> None:
        from deployments.cli import console
        from deployments.stack import stack

        settings = load_settings()
        stack.be_interruptible()
        configured = os.environ.get("PREFECT_API_URL")
        if worker:
            started = _up_worker(settings, as_json=as_json)
        else:
            with console.err.status("[dim]starting the Prefect server, MLflow, the pages, serving and a worker[/]"):
                running = stack.up(settings, lambda line: console.err.print(f"  {line}"))
            console.print_result(running, lambda result: _show_stack(result, configured), as_json=as_json)
            started = running.started
        if detach or not started:
            return
        console.err.print("[dim]Stop it with Ctrl-C.[/]")
        try:
            stack.wait_until_down(settings)
        except KeyboardInterrupt:
            with console.err.status(_STOPPING):
                stack.down(settings)
        console.err.print(_STOPPED)

    guard(work, as_json)


def _up_worker(settings: Settings, *, as_json: bool) -> bool:
    """Start a worker alone and show it; returns whether it was not up before."""
    from deployments.cli import console
    from deployments.stack.worker_alone import up_worker

    use_prefect(settings)
    with console.err.status("[dim]starting a worker[/]"):
        running = up_worker(
            settings, os.environ.get("PREFECT_API_URL", ""), lambda line: console.err.print(f"  {line}")
        )
    console.print_result(running, _show_worker, as_json=as_json)
    return running.started


def _show_worker(running: Worker) -> None:
    from rich.markup import escape

    from deployments.cli.console import out

    out.print(f"[bold green]{f'Up after {running.seconds:.0f} s.' if running.started else 'Up already.'}[/]")
    named = {"server": running.server, "pool": running.pool, "worker": running.name, "logs": str(running.logs)}
    for name, what in named.items():
        out.print(f"  {name:<8} {escape(what)}", soft_wrap=True)
    out.print("Stop it with: [bold]evergreen down[/]")


def _show_stack(running: Stack, configured: str | None) -> None:
    from rich.markup import escape

    from deployments.cli.console import out

    out.print(f"[bold green]{f'Up after {running.seconds:.0f} s.' if running.started else 'Up already.'}[/]")
    ports = running.ports
    addresses = {
        "Prefect": ports.prefect_ui,
        "MLflow": ports.mlflow_ui if running.mlflow else "the tracking server of EVERGREEN_TRACKING_URI",
        "pages": ports.pages_ui,
        **({"serving": ports.predictions} if running.serving else {}),
        "logs": str(running.logs),
    }
    for name, address in addresses.items():
        out.print(f"  {name:<8} {escape(address)}", soft_wrap=True)
    out.print("Test it with: [bold]evergreen rehearse NAME[/]. Stop it with: [bold]evergreen down[/]")
    if configured and configured != ports.api:
        warning = f"PREFECT_API_URL is set: commands go to {escape(configured)}, not to this stack."
        out.print(f"[yellow]{warning}[/]", soft_wrap=True)


def down(as_json: Json = False) -> None:
    """Stop what evergreen up started.

    Runs, schedules and models are kept.
    """

    def work() -> None:
        from deployments.cli import console
        from deployments.stack import stack

        settings = load_settings()
        with console.err.status(_STOPPING):
            stopped = stack.down(settings)
        if as_json:
            console.print_json({"up": False, "ended": stopped})
        else:
            console.out.print(_STOPPED if stopped else "Nothing was up.")

    guard(work, as_json)


def rehearse(name: Name, as_json: Json = False) -> None:
    """Test the chain from an event to its run.

    A test event goes through server, automation, deployment, work pool and
    worker. If a link is broken, it is named, and the exit status is 1.
    """

    def work() -> None:
        import models
        from deployments.automations import rehearsal
        from deployments.cli import console

        settings = load_settings()
        use_prefect(settings)
        spec = models.load(name, settings.models).spec
        with console.err.status("[dim]following a rehearsal event to its run[/]"):
            result = rehearsal.rehearse(settings.environment, spec)
        console.print_result(result, _show_rehearsal, as_json=as_json)
        if not result.ok:
            raise typer.Exit(1)

    guard(work, as_json)


def _show_rehearsal(result: Rehearsal) -> None:
    from rich.markup import escape

    from deployments.cli.console import out

    if result.ok:
        out.print(f"[green]The chain works[/]: {result.latency_s:.1f} s from the event to the flow's first line.")
    else:
        out.print(f"[red]Broken: {result.broken}.[/] {escape(result.reason)} {escape(result.fix)}", soft_wrap=True)
