"""evergreen status and history: what is in production, and how it got there. They change nothing."""

from __future__ import annotations

from typing import Annotated

import typer

from deployments.cli.command import Json, Name, guard, prepare


def status(name: Name, as_json: Json = False) -> None:
    """Show the champion and the last decisions."""

    def work() -> None:
        import models
        from deployments.cli.console import print_json
        from deployments.cli.status_view import read_status, show_status

        settings = prepare(name, runs_flow=False)
        state = read_status(settings, name, models.load_spec(name, settings.models))
        if as_json:
            print_json(state)
        else:
            show_status(state)

    guard(work, as_json)


def history(
    name: Name,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="What was in production then (ISO 8601; UTC without an offset)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show every promotion and rollback, and why."""

    def work() -> None:
        from deployments.cli.console import print_json
        from deployments.cli.status_view import read_history, show_history
        from evergreen.timestamps import parse_time

        moves = read_history(prepare(name, runs_flow=False), name, parse_time(at, "--at"))
        if as_json:
            print_json(moves)
        else:
            show_history(moves)

    guard(work, as_json)
