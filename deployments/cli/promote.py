"""The commands that move the champion by a person's word: promote, reject, rollback."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from deployments.cli.command import Json, Name, Why, guard, prepare, start

By = Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who says so; your login name by default.")]


def _login() -> str:
    """The login name of whoever runs the command; empty where the system does not say."""
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return ""


def promote(
    name: Name,
    reason: Why,
    version: Annotated[int | None, typer.Argument(help="The version; the challenger where none is named.")] = None,
    reject: Annotated[bool, typer.Option("--reject", help="Take it out of the running instead.")] = False,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Make a version that passed its gates the champion, or reject it."""

    def work() -> None:
        from deployments.cli import console

        prepare(name)
        with console.steps(start(f"promoting {name}")) as listen:
            from flows.promote import promote as flow

            listen()
            result = flow(name, reason, version, reject, _login() if by is None else by)
        if as_json:
            console.emit_json(result.to_json())
        else:
            console.show_move(result)

    guard(work, as_json)


def rollback(
    name: Name,
    reason: Why,
    to: Annotated[int | None, typer.Option("--to", metavar="VERSION", help="The previous one by default.")] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Give the champion alias back to an earlier version."""

    def work() -> None:
        from deployments.cli import console

        prepare(name)
        with console.steps(start(f"rolling back {name}")) as listen:
            from flows.rollback import rollback as flow

            listen()
            result = flow(name, reason, to, _login() if by is None else by)
        if as_json:
            console.emit_json(result.to_json())
        else:
            console.show_move(result)

    guard(work, as_json)
