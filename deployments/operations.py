"""Commands of the live stack: deployments, automations, up, down, rehearse."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.invocation import Json, Name, guard, use_prefect
from evergreen.settings import load_settings

if TYPE_CHECKING:
    from deployments.stack import Stack

deployments = typer.Typer(no_args_is_help=True, help="What prefect.yaml says of the models.")
automations = typer.Typer(no_args_is_help=True, help="Who is told of what, and what is swept.")


def up(
    detach: Annotated[bool, typer.Option("--detach", help="Come back when it is up.")] = False,
    as_json: Json = False,
) -> None:
    """Bring up the Prefect server, MLflow and a worker on this machine, with the deployments of prefect.yaml."""

    def work() -> None:
        from deployments import console, stack

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

    from deployments.console import out

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
        from deployments import console, stack

        settings = load_settings()
        with console.err.status("[dim]ending the worker, MLflow and the Prefect server[/]"):
            ended = stack.down(settings)
        if as_json:
            console.emit_json({"up": False, "ended": ended})
        else:
            console.out.print("Everything that was up has ended; all is kept." if ended else "Nothing was up.")

    guard(work, as_json)


@deployments.command("sync")
def sync_deployments(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit status 1 when something would.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Take out those of models that are not there.")] = False,
    as_json: Json = False,
) -> None:
    """Bring the models in models/ into prefect.yaml; what is there already stays as it was written."""

    def work() -> None:
        from deployments import console, manifest

        found = manifest.sync(load_settings(), check=check, prune=prune)
        if as_json:
            console.emit_json(found.to_json())
        else:
            manifest.show(found, check=check)
        if check and found.changes:
            raise typer.Exit(1)

    guard(work, as_json)


@deployments.command("apply")
def apply_deployments(as_json: Json = False) -> None:
    """Bring prefect.yaml to the Prefect server; what was paused or switched off there stays so."""

    def work() -> None:
        from deployments import console, deploying

        settings = load_settings()
        use_prefect(settings)
        with console.err.status("[dim]deploying[/]"):
            found = deploying.apply(settings)
        if as_json:
            console.emit_json(found.to_json())
        else:
            deploying.show(found)

    guard(work, as_json)


@automations.command("list")
def list_automations(as_json: Json = False) -> None:
    """What there is, and whether it is on."""

    def work() -> None:
        from dataclasses import asdict

        from deployments import automations as made
        from deployments import console

        use_prefect(load_settings())
        found = made.list_all()
        if as_json:
            console.emit_json({"automations": [asdict(one) for one in found]})
        elif found:
            rows = [("on" if one.on else "off", one.name, one.description) for one in found]
            console.out.print(console.grid("Automations", ("", "name", "when"), rows))
        else:
            console.out.print("There are none yet. Run: [bold]evergreen automations sync[/]")

    guard(work, as_json)


@automations.command("sync")
def sync_automations(as_json: Json = False) -> None:
    """Make them what EVERGREEN_NOTIFY and the model files ask for; what is off stays off."""

    def work() -> None:
        from dataclasses import asdict

        from deployments import automations as made
        from deployments import console

        settings = load_settings()
        use_prefect(settings)
        done = asdict(made.sync(settings))
        if as_json:
            console.emit_json(done)
            return
        console.out.print(", ".join(f"{len(names)} {what}" for what, names in done.items()) + ".")
        if not settings.notify.get_secret_value():
            console.out.print("Nobody is told of anything: EVERGREEN_NOTIFY is not set.")

    guard(work, as_json)


AutomationName = Annotated[str, typer.Argument(metavar="NAME", help="As in: evergreen automations list")]


@automations.command("on")
def switch_on(name: AutomationName, as_json: Json = False) -> None:
    """Switch one on."""
    _switch(name, True, as_json)


@automations.command("off")
def switch_off(name: AutomationName, as_json: Json = False) -> None:
    """Switch one off; a sync leaves it off."""
    _switch(name, False, as_json)


def _switch(name: str, on: bool, as_json: bool) -> None:
    def work() -> None:
        from dataclasses import asdict

        from deployments import automations as made
        from deployments import console

        use_prefect(load_settings())
        done = made.switch(name, on)
        if as_json:
            console.emit_json(asdict(done))
        else:
            console.out.print(f"[bold]{done.name}[/] is {'on' if done.on else 'off'}.")

    guard(work, as_json)


def rehearse(name: Name, as_json: Json = False) -> None:
    """Send a canary event through the whole chain and say which link is broken."""

    def work() -> None:
        from rich.markup import escape

        import models
        from deployments import console
        from deployments.rehearsal import rehearse as follow

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
