"""evergreen canary: how a challenger does on live traffic, and a person's hand on it."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from deployments.cli.command import Json, Name, guard, load_libraries, prepare
from deployments.cli.promote import By
from evergreen.actor import login_name
from evergreen.errors import EvergreenError


def canary(
    name: Name,
    pause: Annotated[bool, typer.Option("--pause", help="Let the champion answer everything for now.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Let a paused canary go on.")] = False,
    abort: Annotated[bool, typer.Option("--abort", help="End it and reject the challenger.")] = False,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why; kept in the log. Each of the three takes one.")
    ] = "",
    by: By = None,
    as_json: Json = False,
) -> None:
    """Look at the challenger on live traffic.

    A look decides what follows from the evidence by now: the next step, the
    end, or waiting. While `evergreen up` runs there is one each minute.
    """

    def work() -> None:
        from deployments.cli import console
        from deployments.cli.canary_view import show_canaries

        action = _action(name, pause=pause, resume=resume, abort=abort, reason=reason)
        settings = prepare(name)
        with console.show_steps(f"looking at the canary of {name}") as listen:
            from flows.canary import canary as flow

            load_libraries(settings)
            listen()
            reports = flow(name, action, reason, login_name() if by is None else by)
        if as_json:
            console.print_json({"model": name, "canaries": [report.to_json() for report in reports]})
        else:
            show_canaries(name, reports, aborted=action == "abort")

    guard(work, as_json)


def _action(
    name: str, *, pause: bool, resume: bool, abort: bool, reason: str
) -> Literal["look", "pause", "resume", "abort"]:
    """The one thing that is asked for.

    Raises:
        EvergreenError: more than one is, or there is no reason.
    """
    if pause + resume + abort > 1:
        raise EvergreenError(
            "Only one of --pause, --resume and --abort can be done at a time.", "Leave the others out."
        )
    action: Literal["look", "pause", "resume", "abort"] = (
        "pause" if pause else "resume" if resume else "abort" if abort else "look"
    )
    if action != "look" and not reason.strip():
        raise EvergreenError(
            f"--{action} takes a reason, which is kept in the log.",
            f"Run: evergreen canary {name} --{action} --reason TEXT",
        )
    if action == "look" and reason:
        raise EvergreenError("--reason belongs to --pause, --resume or --abort.", f"Run: evergreen canary {name}")
    return action
