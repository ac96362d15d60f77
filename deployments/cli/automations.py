"""evergreen automations: make, list and switch those that tell people."""

from __future__ import annotations

from typing import Annotated

import typer

from deployments.cli.command import Json, guard, use_prefect
from evergreen.settings import load_settings

commands = typer.Typer(no_args_is_help=True, help="Who is told of what, and what is swept.")


@commands.command("list")
def list_automations(as_json: Json = False) -> None:
    """What there is, and whether it is on."""

    def work() -> None:
        from dataclasses import asdict

        from deployments.automations import sync as made
        from deployments.cli import console

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


@commands.command("sync")
def sync_automations(as_json: Json = False) -> None:
    """Make them what EVERGREEN_NOTIFY and the model files ask for; what is off stays off."""

    def work() -> None:
        from dataclasses import asdict

        from deployments.automations import sync as made
        from deployments.cli import console

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


@commands.command("on")
def switch_on(name: AutomationName, as_json: Json = False) -> None:
    """Switch one on."""
    _switch(name, True, as_json)


@commands.command("off")
def switch_off(name: AutomationName, as_json: Json = False) -> None:
    """Switch one off; a sync leaves it off."""
    _switch(name, False, as_json)


def _switch(name: str, on: bool, as_json: bool) -> None:
    def work() -> None:
        from dataclasses import asdict

        from deployments.automations import sync as made
        from deployments.cli import console

        use_prefect(load_settings())
        done = made.switch(name, on)
        if as_json:
            console.emit_json(asdict(done))
        else:
            console.out.print(f"[bold]{done.name}[/] is {'on' if done.on else 'off'}.")

    guard(work, as_json)
