"""evergreen new: write a model file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from deployments.cli.command import Json, Name, guard, load_settings
from evergreen.errors import EvergreenError

if TYPE_CHECKING:
    from evergreen.model_files.choices import Choice
    from evergreen.model_files.cross_validation import CrossValidation
    from evergreen.model_files.new import NewModelFile


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
        figure, not_measured = _cross_validate(model_file)
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
                | {"choices": {choice.about: choice.value for choice in model_file.choices}}
                | {"notes": list(model_file.notes), "not_measured": not_measured or None}
                | {"cross_validation": figure.to_json() if figure is not None else None}
                | {"next": f"evergreen retrain {name}"}
            )
            return
        console.out.print(f"Wrote [bold]{model_file.path}[/]: {model_file.task} of {target!r}.", soft_wrap=True)
        console.out.print(console.facts([(each.about, _choice_text(each)) for each in model_file.choices]))
        console.out.print("\nLook at this:")
        console.out.print(console.bullets(model_file.notes))
        console.out.print()
        if figure is None:
            console.out.print(f"[yellow]Not cross-validated:[/] {escape(not_measured)}")
        else:
            _show_figures(figure)
        if page is not None:
            console.out.print(f"The data on one page: [bold]{page}[/]", soft_wrap=True)
        console.out.print(f"Read it, then run: [bold]evergreen retrain {name}[/]")
        console.out.print("To run it on a schedule: [bold]evergreen deployments sync[/], then [bold]evergreen up[/]")

    guard(work, as_json)


def _cross_validate(made: NewModelFile) -> tuple[CrossValidation | None, str]:
    """Measure the new file beside one-line rules; returns that, or why it could not be measured."""
    import models
    from deployments.cli import console
    from evergreen.model_files.cross_validation import cross_validate

    with console.err.status("[dim]cross-validation: reading the rows[/]") as status:
        try:
            spec = models.load(made.path.stem, made.path.parent).spec
            shown = "[dim]cross-validation: {} of {} fits[/]"
            figure = cross_validate(
                made, spec, datetime.now(UTC), progress=lambda done, total: status.update(shown.format(done, total))
            )
        except EvergreenError as error:
            # The file is written, and says what it says.
            return None, f"{error.what} {error.fix}"
    return figure, ""


def _choice_text(choice: Choice) -> str:
    value = f"[bold]{escape(choice.value)}[/]"
    return f"{value}[dim]: {escape(choice.why)}[/]" if choice.why else value


def _show_figures(figure: CrossValidation) -> None:
    from deployments.cli import console

    rows = [("the model", figure.model), *((rule.name, rule.value) for rule in figure.rules)]
    console.out.print(f"{figure.title}:")
    console.out.print(console.grid("", ("", figure.metric), rows))
    console.out.print(escape(figure.conclusion))
