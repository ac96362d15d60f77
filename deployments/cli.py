"""The command line.

Exit status: 0 the command did its work, whatever it decided; 2 the input is at fault; 1 anything else.

With `--json` there is one JSON object on stdout and everything else is on stderr.
"""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from deployments import backtest, dossier, moves, operations, page, timetravel, why
from deployments.invocation import At, Json, Name, guard, prepare, start, use_prefect
from evergreen.errors import EvergreenError
from evergreen.settings import load_settings
from evergreen.timestamps import parse_time

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Keep a scikit-learn model fresh: ingest, drift report, retrain, gates, promotion.",
)

app.add_typer(operations.deployments, name="deployments")
app.add_typer(operations.automations, name="automations")
app.command()(operations.up)
app.command()(operations.down)
app.command()(operations.rehearse)
app.command()(backtest.backtest)
app.command()(moves.promote)
app.command()(moves.rollback)
app.command()(page.page)
app.command()(why.why)
app.command()(timetravel.rebuild)
app.command()(timetravel.clean)
app.command()(dossier.dossier)


@app.command()
def new(
    name: Name,
    target: Annotated[str, typer.Option("--target", metavar="COL", help="The column to predict.")],
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Start from a CSV file.")] = None,
    sql: Annotated[
        str | None, typer.Option("--sql", metavar="URL", help="Start from a database's --query, or env:NAME.")
    ] = None,
    query: Annotated[str | None, typer.Option("--query", metavar="SELECT", help="What --sql selects.")] = None,
    watermark: Annotated[
        str | None, typer.Option("--watermark", metavar="COL", help="Read on from the newest value of this column.")
    ] = None,
    delta: Annotated[str | None, typer.Option("--delta", metavar="TABLE", help="Start from a Delta table.")] = None,
    dvc: Annotated[Path | None, typer.Option("--dvc", metavar="PATH", help="Start from what DVC tracks.")] = None,
    rev: Annotated[str | None, typer.Option("--rev", metavar="REV", help="The revision of --dvc.")] = None,
    time: Annotated[str | None, typer.Option("--time", metavar="COL", help="The column that says when.")] = None,
    key: Annotated[list[str] | None, typer.Option("--key", metavar="COL", help="A column that names a row.")] = None,
    task: Annotated[str | None, typer.Option("--task", help="regression or classification.")] = None,
    metric: Annotated[str | None, typer.Option("--metric", help="The figure that decides.")] = None,
    timezone: Annotated[str | None, typer.Option("--timezone", help="Zone of times without an offset.")] = None,
    as_json: Json = False,
) -> None:
    """Write a model file from a CSV, a SQL query, a Delta table or what DVC tracks."""

    def work() -> None:
        from deployments import console
        from evergreen.first_rows import Data
        from evergreen.scaffold import scaffold

        settings = load_settings()
        data = Data(csv, sql, query, watermark, delta, dvc, rev)
        made = scaffold(
            name, data, settings.models, target=target, time=time, keys=tuple(key or ()), task=task, metric=metric,
            timezone=timezone,
        )  # fmt: skip
        if as_json:
            told = {"model": name, "path": str(made.path), "task": made.task, "metric": made.metric}
            console.emit_json(told | {"notes": list(made.notes), "next": f"evergreen retrain {name}"})
            return
        console.out.print(f"Wrote [bold]{made.path}[/]: {made.task} of {target!r}, judged by {made.metric}.")
        for note in made.notes:
            console.out.print(f"  - {note}")
        console.out.print(f"Read it, then run: [bold]evergreen retrain {name}[/]")
        console.out.print("To have it run by itself: [bold]evergreen deployments sync[/], then [bold]evergreen up[/]")

    guard(work, as_json)


@app.command()
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
        from deployments import console

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


@app.command()
def monitor(name: Name, at: At = None, as_json: Json = False) -> None:
    """Land new data and report drift against what the champion was trained on."""

    def work() -> None:
        from deployments import console

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


@app.command()
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
        from deployments import console
        from evergreen.outputs import require

        prepare(name)
        if output is not None:
            require(output, source)
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


@app.command()
def status(name: Name, as_json: Json = False) -> None:
    """What is in production, and what was decided last."""

    def work() -> None:
        from deployments import console, inspection

        told = inspection.status(prepare(name), name)
        if as_json:
            console.emit_json(told)
        else:
            inspection.show_status(told)

    guard(work, as_json)


@app.command()
def history(
    name: Name,
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help="ISO 8601; without an offset, UTC.")] = None,
    as_json: Json = False,
) -> None:
    """What was in production when, and why."""

    def work() -> None:
        from deployments import console, inspection

        told = inspection.history(prepare(name), name, parse_time(at, "--at"))
        if as_json:
            console.emit_json(told)
        else:
            inspection.show_history(told)

    guard(work, as_json)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check the installation and say what to mend."""

    def work() -> None:
        from deployments import console
        from deployments.doctor import examine, show

        settings = load_settings()
        use_prefect(settings)
        findings = examine(settings)
        fine = all(finding.ok for finding in findings)
        if as_json:
            checks = [{"name": f.name, "ok": f.ok, "detail": f.detail, "fix": f.fix} for f in findings]
            console.emit_json({"ok": fine, "checks": checks})
        else:
            show(findings)
        if not fine:
            raise typer.Exit(1)

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


def main() -> None:
    """The `evergreen` command."""
    # Python's cycle collector walks again and again through what the imports leave behind, and twice more at the exit:
    # 2 of the 12 seconds of a retraining. Arrays and frames are freed by reference counts, without it.
    gc.set_threshold(100_000, 20, 100)
    try:
        app()
    finally:
        gc.freeze()


if __name__ == "__main__":
    main()
