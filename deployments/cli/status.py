"""evergreen status and history: what is in production, and how it got there. They change nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from deployments.cli.command import Json, Name, Seen, guard, prepare, seen_settings


def status(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A model; without it, all of them.")] = None,
    environment: Seen = None,
    as_json: Json = False,
) -> None:
    """Show the champion and the last decisions; without NAME, all models."""

    def work() -> None:
        import models

        if name is None:
            _show_all(environment, as_json)
            return
        from deployments.cli.console import locate_reports, print_json
        from deployments.cli.status_view import read_status, show_status

        settings = prepare(name, runs_flow=False, seen=environment)
        state = read_status(settings, name, models.load_spec(name, settings.models))
        if as_json:
            print_json(locate_reports(state, settings.report_place))
        else:
            show_status(state)

    guard(work, as_json)


def _show_all(environment: str | None, as_json: bool) -> None:
    from deployments.cli.console import print_json
    from deployments.cli.fleet_view import read_lines, show_fleet

    now = datetime.now(UTC)
    lines = read_lines(seen_settings(environment), now)
    if as_json:
        print_json({"at": now.isoformat(), "models": [line.to_json() for line in lines]})
    else:
        show_fleet(lines, now)


def history(
    name: Name,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="What was in production then (ISO 8601; UTC without an offset)."),
    ] = None,
    environment: Seen = None,
    as_json: Json = False,
) -> None:
    """Show every promotion and rollback, and why."""

    def work() -> None:
        from deployments.cli.console import print_json
        from deployments.cli.status_view import read_history, show_history
        from evergreen.timestamps import parse_time

        moves = read_history(prepare(name, runs_flow=False, seen=environment), name, parse_time(at, "--at"))
        if as_json:
            print_json(moves)
        else:
            show_history(moves)

    guard(work, as_json)
