"""evergreen new: write a model file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.command import Json, Name, guard, load_settings


def new(
    name: Name,
    target: Annotated[str, typer.Option("--target", metavar="COL", help="The column to predict.")],
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="PATH", help="Read a CSV or Parquet file, or a folder of them."),
    ] = None,
    sql: Annotated[
        str | None, typer.Option("--sql", metavar="URL", help="Read the --query of a database: its URL, or env:NAME.")
    ] = None,
    query: Annotated[
        str | None, typer.Option("--query", metavar="SELECT", help="The SELECT statement for --sql.")
    ] = None,
    watermark: Annotated[
        str | None,
        typer.Option("--watermark", metavar="COL", help="A column of --query that only grows; read what is newer."),
    ] = None,
    delta: Annotated[str | None, typer.Option("--delta", metavar="TABLE", help="Read a Delta table.")] = None,
    dvc: Annotated[Path | None, typer.Option("--dvc", metavar="PATH", help="Read a path that DVC tracks.")] = None,
    rev: Annotated[str | None, typer.Option("--rev", metavar="REV", help="The revision of --dvc.")] = None,
    time: Annotated[
        str | None, typer.Option("--time", metavar="COL", help="The column with the time of a row; else one is found.")
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option("--key", metavar="COL", help="A column that identifies a row; repeatable.")
    ] = None,
    task: Annotated[str | None, typer.Option("--task", help="regression or classification.")] = None,
    metric: Annotated[str | None, typer.Option("--metric", help="The metric that decides.")] = None,
    timezone: Annotated[
        str | None, typer.Option("--timezone", help="The time zone of times without an offset.")
    ] = None,
    look: Annotated[bool, typer.Option("--look", help="Write a page about the data beside the model file.")] = False,
    as_json: Json = False,
) -> None:
    """Write a model file for your data.

    The data are a CSV file, a SQL query, a Delta table or a path of DVC's.
    """

    def work() -> None:
        from deployments.cli import console
        from evergreen.model_files.first_rows import DataOptions
        from evergreen.model_files.new import scaffold

        settings = load_settings()
        data = DataOptions(csv, sql, query, watermark, delta, dvc, rev)
        model_file = scaffold(
            name, data, settings.models, target=target, time=time, keys=tuple(key or ()), task=task, metric=metric,
            timezone=timezone, now=datetime.now(UTC), landing=settings.landing,
        )  # fmt: skip
        page = model_file.path.with_suffix(".html") if look else None
        if page is not None:
            from evergreen.pages.data_page import write_data_page

            write_data_page(model_file, page, datetime.now(UTC))
        if as_json:
            kind = {"task": model_file.task, "metric": model_file.metric}
            console.print_json(
                {"model": name, "path": str(model_file.path)}
                | kind
                | ({"page": str(page)} if page is not None else {})
                | {"notes": list(model_file.notes), "next": f"evergreen retrain {name}"}
            )
            return
        kind_of_model = f"{model_file.task} of {target!r}, judged by {model_file.metric}"
        console.out.print(f"Wrote [bold]{model_file.path}[/]: {kind_of_model}.")
        console.out.print(console.bullets(model_file.notes))
        if page is not None:
            console.out.print(f"The data on one page: [bold]{page}[/]")
        console.out.print(f"Read it, then run: [bold]evergreen retrain {name}[/]")
        console.out.print("To run it on a schedule: [bold]evergreen deployments sync[/], then [bold]evergreen up[/]")

    guard(work, as_json)
