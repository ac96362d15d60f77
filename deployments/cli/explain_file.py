"""evergreen explain-file: what a model file says. It reads the file, prefect.yaml and the first rows of the source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployments.cli.command import Json, Name, guard, prepare

if TYPE_CHECKING:
    from evergreen.reports.file_explanation import FileExplanation

_NOT_RUN = (
    "Nothing runs by itself: prefect.yaml has no deployment of this model. Run: evergreen deployments sync, then "
    "evergreen up"
)


def explain_file(name: Name, as_json: Json = False) -> None:
    """Show what a model file says, and what it does not.

    Each column and its use, what is left out and why, the split, the gates, what starts a retraining, and what nothing
    protects from.
    """

    def work() -> None:
        import models
        from deployments.cli import console
        from deployments.manifest.planned_runs import describe_runs
        from evergreen.reports import file_explanation

        settings = prepare(name, runs_flow=False)
        loaded, runs = models.load(name, settings.models), describe_runs(name)
        gaps = () if runs else (_NOT_RUN,)
        explanation = file_explanation.explain_file(loaded.spec, loaded.path, settings.landing, runs, gaps)
        console.print_result(explanation, show_explanation, as_json=as_json)

    guard(work, as_json)


def show_explanation(explanation: FileExplanation) -> None:
    """Print the columns as a table, the rules and the gaps as sentences."""
    from rich.markup import escape

    from deployments.cli.console import grid, out

    out.print(f"[bold]{explanation.model}[/]: {escape(explanation.path)}", soft_wrap=True)
    if explanation.description:
        out.print(escape(explanation.description))
    columns = [(column.name, column.type, column.use, ", ".join(column.checks)) for column in explanation.columns]
    out.print()
    out.print(grid("Columns", ("column", "type", "use", "checks"), columns))
    out.print(f"[dim]{escape(explanation.looked_at)}[/]")
    if explanation.left_out:
        left_out = [(column.name, column.why) for column in explanation.left_out]
        out.print()
        out.print(grid("Left out of the features", ("column", "why"), left_out))
    for rules in explanation.rules:
        _show_sentences(rules.title, rules.sentences)
    _show_sentences("What is not protected", explanation.gaps)


def _show_sentences(title: str, sentences: tuple[str, ...]) -> None:
    """Print sentences under a title, each behind a dash, wrapped at words."""
    from rich.markup import escape
    from rich.table import Table

    from deployments.cli.console import out

    table = Table.grid(padding=(0, 1))
    for sentence in sentences:
        table.add_row(" -", escape(sentence))
    out.print(f"\n[bold]{title}[/]")
    out.print(table)
