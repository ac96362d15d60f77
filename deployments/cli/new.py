"""evergreen new: write a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.command import Json, Name, guard
from evergreen.settings import load_settings


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
        from deployments.cli import console
        from evergreen.model_files.first_rows import Data
        from evergreen.model_files.new import scaffold

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
