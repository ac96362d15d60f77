"""evergreen retrain, monitor and score: run a flow in this process."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from deployments.cli.command import At, Json, Name, guard, load_libraries, prepare
from evergreen.errors import EvergreenError
from evergreen.timestamps import parse_time


def retrain(
    name: Name,
    reason: Annotated[
        str, typer.Option("--reason", help="Why. With `manual`, nothing is trained if nothing is new.")
    ] = "manual",
    decision: Annotated[
        str | None, typer.Option("--decision", metavar="ID", help="The stored decision that this run answers.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Train even if nothing is new.")] = False,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="NAME=VALUE", help="Use this parameter instead of searching; repeatable."),
    ] = None,
    at: At = None,
    as_json: Json = False,
) -> None:
    """Train on new data, and promote what is proven better.

    It ingests new data, reports drift, trains a candidate, judges it by the
    gates of the model file, and makes it the champion if it passes.
    """

    def work() -> None:
        from deployments.cli import console
        from evergreen.ledger.detail_json import detail_to_json

        settings = prepare(name)
        params, time = _parse_params(param or []), parse_time(at, "--at")
        with console.show_steps(f"retraining {name}") as listen:
            from flows.retrain import retrain as flow

            load_libraries(settings)
            listen()
            result = flow(name, reason=reason, decision_id=decision, force=force, params=params or None, at=time)
        if result is None:
            raise EvergreenError(
                f"--decision {decision}: a rehearsal made this id, so nothing was trained.",
                f"Run: evergreen rehearse {name}",
            )
        if as_json:
            console.print_json(console.locate_reports(detail_to_json(result), settings.report_place))
        else:
            console.show_retrain(result)

    guard(work, as_json)


def monitor(name: Name, at: At = None, as_json: Json = False) -> None:
    """Ingest new data, and report drift and performance.

    Drift is measured against the data that the champion was trained on,
    performance against the champion's at its promotion.
    """

    def work() -> None:
        from deployments.cli import console

        settings = prepare(name)
        time = parse_time(at, "--at")
        with console.show_steps(f"monitoring {name}") as listen:
            from flows.monitor import monitor as flow

            load_libraries(settings)
            listen()
            result = flow(name, at=time)
        if as_json:
            console.print_json(console.locate_reports(result.to_json(), settings.report_place))
        else:
            console.show_monitor(result)

    guard(work, as_json)


def score(
    name: Name,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="INPUT", help="A file or a table; by default all rows of the source without a prediction."
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Argument(
            metavar="OUTPUT", help="A .csv or .parquet file, the URL of a SQL table or of Redis, or env:NAME."
        ),
    ] = None,
    chunk_rows: Annotated[
        int | None, typer.Option("--chunk-rows", metavar="N", min=1, help="Rows at a time; bounds the memory.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Predict with the champion, and store the predictions."""

    def work() -> None:
        from deployments.cli import console
        from evergreen.scoring.export import require_destination

        settings = prepare(name)
        if output is not None:
            require_destination(settings.environment, output, source)
        options = {} if chunk_rows is None else {"chunk_rows": chunk_rows}
        with console.show_steps(f"scoring with {name}") as listen:
            from flows.score import score as flow

            load_libraries(settings)
            listen()
            result = flow(name, source, output, **options)
        if result.version is None:
            raise EvergreenError(f"{name} has no champion yet: nothing was scored.", f"Run: evergreen retrain {name}")
        console.print_result(result, console.show_score, as_json=as_json)

    guard(work, as_json)


def _parse_params(options: list[str]) -> dict[str, Any]:
    """Read `NAME=VALUE` options; a value that is not JSON is a text.

    Raises:
        EvergreenError: an option has no name or no `=`.
    """
    params: dict[str, Any] = {}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals or not name:
            raise EvergreenError(f"--param {option!r} is not NAME=VALUE.", "Write it like --param model__max_iter=100")
        try:
            params[name] = json.loads(text)
        except ValueError:
            params[name] = text
    return params
