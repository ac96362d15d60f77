"""evergreen automations: the Prefect automations that send alerts and end dead runs."""

from __future__ import annotations

from typing import Annotated

import typer

from deployments.cli.command import Json, guard, load_settings, use_prefect

commands = typer.Typer(no_args_is_help=True, help="Send alerts, and end dead runs.")


@commands.command("list")
def list_automations(as_json: Json = False) -> None:
    """List the automations, and whether they are on."""

    def work() -> None:
        from dataclasses import asdict

        from deployments.automations import sync
        from deployments.cli import console

        settings = load_settings()
        use_prefect(settings)
        automations = sync.list_all(settings.environment)
        if as_json:
            console.print_json({"automations": [asdict(automation) for automation in automations]})
        elif automations:
            rows = [("on" if each.on else "off", each.name, each.description) for each in automations]
            console.out.print(console.grid("Automations", ("", "name", "when"), rows))
        else:
            console.out.print("There are no automations yet. Run: [bold]evergreen automations sync[/]")

    guard(work, as_json)


@commands.command("sync")
def sync_automations(as_json: Json = False) -> None:
    """Bring the automations to the Prefect server.

    EVERGREEN_NOTIFY says who gets alerts, the model files which ones.
    An automation that was switched off stays off.
    """

    def work() -> None:
        from dataclasses import asdict

        from deployments.automations import sync
        from deployments.cli import console

        settings = load_settings()
        use_prefect(settings)
        names_by_change = asdict(sync.sync(settings))
        if as_json:
            console.print_json(names_by_change)
            return
        console.out.print(", ".join(f"{len(names)} {change}" for change, names in names_by_change.items()) + ".")
        if not settings.notify.get_secret_value():
            console.out.print("Nobody gets alerts: EVERGREEN_NOTIFY is not set.")

    guard(work, as_json)


AutomationName = Annotated[str, typer.Argument(metavar="NAME", help="As evergreen automations list shows it.")]


@commands.command("on")
def switch_on(name: AutomationName, as_json: Json = False) -> None:
    """Switch an automation on."""
    _switch(name, True, as_json)


@commands.command("off")
def switch_off(name: AutomationName, as_json: Json = False) -> None:
    """Switch an automation off; a sync does not switch it on."""
    _switch(name, False, as_json)


def _switch(name: str, on: bool, as_json: bool) -> None:
    def work() -> None:
        from dataclasses import asdict

        from deployments.automations import sync
        from deployments.cli import console

        settings = load_settings()
        use_prefect(settings)
        automation = sync.switch(settings.environment, name, on)
        if as_json:
            console.print_json(asdict(automation))
        else:
            console.out.print(f"[bold]{automation.name}[/] is {'on' if automation.on else 'off'}.")

    guard(work, as_json)
