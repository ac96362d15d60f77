"""evergreen promote, rollback, accept-loss and adopt: what a person decides of versions and the champion."""

from __future__ import annotations

from typing import Annotated

import typer

from deployments.cli.command import Json, Name, Reason, guard, load_libraries, prepare
from evergreen.actor import login_name

By = Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who decides this; by default your login name.")]


def promote(
    name: Name,
    reason: Reason,
    version: Annotated[
        int | None, typer.Argument(metavar="VERSION", help="The version's number; by default the challenger.")
    ] = None,
    reject: Annotated[bool, typer.Option("--reject", help="Reject the version instead of promoting it.")] = False,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Make a version the champion, or reject it.

    Only a version that passed its gates can become the champion.
    """

    def work() -> None:
        from deployments.cli import console

        settings = prepare(name)
        with console.show_steps(f"promoting {name}") as listen:
            from flows.promote import promote as flow

            load_libraries(settings)
            listen()
            result = flow(name, reason, version, reject, login_name() if by is None else by)
        console.print_result(result, console.show_move, as_json=as_json)

    guard(work, as_json)


def rollback(
    name: Name,
    reason: Reason,
    to: Annotated[
        int | None, typer.Option("--to", metavar="VERSION", help="The version's number; by default the previous one.")
    ] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Make an earlier version the champion again."""

    def work() -> None:
        from deployments.cli import console

        settings = prepare(name)
        with console.show_steps(f"rolling back {name}") as listen:
            from flows.rollback import rollback as flow

            load_libraries(settings)
            listen()
            result = flow(name, reason, to, login_name() if by is None else by)
        console.print_result(result, console.show_move, as_json=as_json)

    guard(work, as_json)


def accept_loss(name: Name, reason: Reason, by: By = None, as_json: Json = False) -> None:
    """Go on without a champion that is gone.

    Only a champion whose version, run or files are missing or damaged is accepted as lost.
    """

    def work() -> None:
        from deployments.cli import console

        settings = prepare(name)
        with console.show_steps(f"accepting the loss of {name}'s champion") as listen:
            from flows.accept_loss import accept_loss as flow

            load_libraries(settings)
            listen()
            result = flow(name, reason, login_name() if by is None else by)
        console.print_result(result, console.show_move, as_json=as_json)

    guard(work, as_json)


def adopt(
    name: Name,
    version: Annotated[int, typer.Argument(metavar="VERSION", help="The version's number in that environment.")],
    source: Annotated[
        str, typer.Option("--from", metavar="ENVIRONMENT", help="One that EVERGREEN_SEES names; it is only read.")
    ],
    as_json: Json = False,
) -> None:
    """Carry a version over from another environment.

    It is judged by the gates of the model file on the newest rows of this
    environment, and becomes the champion if it passes.
    """

    def work() -> None:
        from deployments.cli import console
        from evergreen.ledger.detail_json import detail_to_json

        settings = prepare(name)
        with console.show_steps(f"adopting {name} version {version} from {source}") as listen:
            from flows.adopt import adopt as flow

            load_libraries(settings)
            listen()
            result = flow(name, version, source)
        if as_json:
            console.print_json(console.locate_reports(detail_to_json(result), settings.report_place))
        else:
            console.show_retrain(result)

    guard(work, as_json)
