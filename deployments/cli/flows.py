"""evergreen retrain, monitor and score: run a flow from the command line."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from deployments.cli.command import At, Json, Name, guard, prepare, start
from evergreen.errors import EvergreenError
from evergreen.timestamps import parse_time


def retrain(
    name: Name,
    reason: Annotated[str, typer.Option("--reason", help="Why; `manual` does nothing when nothing is new.")] = "manual",
    decision: Annotated[str | None, typer.Option("--decision", help="The stored decision that this answers.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also when nothing is new.")] = False,
    param: Annotated[
        list[str] | None, typer.Option("--param", metavar="NAME=VALUE", help="Use this instead of searching.")
    ] = None,
    at: At = None,
    as_json: Json = False,
) -> None:
    """Land new data, report drift, train, gate and promote."""

    def work() -> None:
        from deployments.cli import console

        prepare(name)
        params, moment = _params(param), parse_time(at, "--at")
        with console.steps(start(f"retraining {name}")) as listen:
            from flows.retrain import retrain as flow

            listen()
            result = flow(name, reason=reason, decision_id=decision, force=force, params=params, at=moment)
        if result is None:
            raise EvergreenError(f"{decision} is a rehearsal's.", f"Run: evergreen rehearse {name}")
        if as_json:
            console.emit_json(result.to_json())
        else:
            console.show_retrain(result)

    guard(work, as_json)


def monitor(name: Name, at: At = None, as_json: Json = False) -> None:
    """Land new data and report drift against what the champion was trained on."""

    def work() -> None:
        from deployments.cli import console

        prepare(name)
        moment = parse_time(at, "--at")
        with console.steps(start(f"watching {name}")) as listen:
            from flows.monitor import monitor as flow

            listen()
            result = flow(name, at=moment)
        if as_json:
            console.emit_json(result.to_json())
        else:
            console.show_monitor(result)

    guard(work, as_json)


def score(
    name: Name,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="INPUT", help="A file or a table; the source's rows without a prediction where none is named."
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Argument(metavar="OUTPUT", help="A .csv or .parquet file, a SQL table's or Redis' URL, or env:NAME."),
    ] = None,
    chunk_rows: Annotated[
        int | None, typer.Option("--chunk-rows", metavar="N", min=1, help="Rows at a time; bounds the memory.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Predict with the champion, and keep what it predicted."""

    def work() -> None:
        from deployments.cli import console
        from evergreen.scoring.export import require_target

        prepare(name)
        if output is not None:
            require_target(output, source)
        chosen = {} if chunk_rows is None else {"chunk_rows": chunk_rows}
        with console.steps(start(f"scoring with {name}")) as listen:
            from flows.score import score as flow

            listen()
            result = flow(name, source, output, **chosen)
        if result.version is None:
            raise EvergreenError(f"{name} has no champion yet: nothing was scored.", f"Run: evergreen retrain {name}")
        if as_json:
            console.emit_json(result.to_json())
        else:
            console.show_score(result)

    guard(work, as_json)


def _params(given: list[str] | None) -> dict[str, Any] | None:
    if not given:
        return None
    found: dict[str, Any] = {}
    for item in given:
        key, equals, text = item.partition("=")
        if not equals or not key:
            raise EvergreenError(f"--param {item!r} is not NAME=VALUE.", "Such as --param model__max_iter=100")
        try:
            found[key] = json.loads(text)
        except ValueError:
            found[key] = text
    return found
