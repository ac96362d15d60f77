"""evergreen backtest: compare retraining policies on the history, and write the best one into the model file."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli.command import Json, Name, guard, load_libraries, prepare
from evergreen.errors import EvergreenError
from evergreen.markdown import many
from evergreen.timestamps import parse_time

if TYPE_CHECKING:
    from evergreen.backtest.report import Backtest, Row
    from evergreen.settings import Settings
    from evergreen.spec.model import ModelSpec

_COMPARED, _COST, _HISTORY, _RESULT = "What is compared", "What it costs", "Which part of the history", "Result"


def backtest(
    name: Name,
    policies: Annotated[
        list[str] | None,
        typer.Option(
            "--policies",
            metavar="POLICY",
            help="Such as 'never', 'every 30 days', 'OnDrift(confirm=2, of=3)'.",
            rich_help_panel=_COMPARED,
        ),
    ] = None,
    windows: Annotated[
        str,
        typer.Option(
            "--windows",
            metavar="LIST",
            help="Such as 90d,180d,all,'half-life 90d', or '5000 rows'.",
            rich_help_panel=_COMPARED,
        ),
    ] = "",
    routine_margins: Annotated[
        str,
        typer.Option(
            "--routine-margins",
            metavar="LIST",
            help="Burdens of proof of a routine candidate, such as 0,0.1,0.2.",
            rich_help_panel=_COMPARED,
        ),
    ] = "",
    price_retrain: Annotated[
        float | None,
        typer.Option(
            "--price-retrain", metavar="PRICE", min=0, help="The price of a retraining.", rich_help_panel=_COST
        ),
    ] = None,
    price_error: Annotated[
        float | None,
        typer.Option(
            "--price-error",
            metavar="PRICE",
            min=0,
            help="The price of a unit of the metric, for each row.",
            rich_help_panel=_COST,
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="The first step, or its row; by default as early as possible.",
            rich_help_panel=_HISTORY,
        ),
    ] = None,
    report_from: Annotated[
        str | None,
        typer.Option(
            "--report-from",
            metavar="TIME",
            help="Choose on the steps before it, report on the others.",
            rich_help_panel=_HISTORY,
        ),
    ] = None,
    label_delay: Annotated[
        float | None,
        typer.Option(
            "--label-delay", metavar="DAYS", min=0, help="Days from a row to its label.", rich_help_panel=_HISTORY
        ),
    ] = None,
    train_hours: Annotated[
        float | None,
        typer.Option("--train-hours", metavar="HOURS", min=0, help="How long a training takes.", rich_help_panel=_COST),
    ] = None,
    change: Annotated[
        str | None,
        typer.Option(
            "--change",
            metavar="TIME",
            help="When the data-generating process is known to have changed.",
            rich_help_panel=_HISTORY,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="FILE", help="The page to write; by default in EVERGREEN_HOME.", rich_help_panel=_RESULT
        ),
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Write the recommended policy into the model file.", rich_help_panel=_RESULT)
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare retraining policies on a model's history."""

    def work() -> None:
        from deployments.cli import console
        from evergreen.backtest.request import margins_of

        settings = prepare(name)
        rows = _check_texts(settings, name, policies or (), windows).order is not None
        margins = margins_of(routine_margins) if routine_margins else ()
        request: dict[str, Any] = {
            "policies": tuple(policies or ()),
            "windows": tuple(window for window in windows.split(",") if window.strip()),
            "routine_margins": margins,
            "prices": _prices(price_retrain, price_error),
            "since": _parse_place(since, "--since", rows=rows),
            "report_from": _parse_place(report_from, "--report-from", rows=rows),
            "label_delay_days": label_delay,
            "train_hours": train_hours or None,
            "change": _parse_place(change, "--change", rows=rows),
            "page": None if html is None else str(html.expanduser().absolute()),
        }
        with console.show_steps(f"replaying {name}") as listen:
            from flows.backtest import backtest as flow

            load_libraries(settings)
            listen()
            result = flow(name, **request)
        page = html or settings.backtest_page(name)
        if not as_json:
            show_backtest(result)
            console.out.print(f"[dim]Page: {page}[/]", soft_wrap=True)
        edit = _propose_edit(settings, result) if apply else None
        if edit is not None and not as_json:
            text = edit.diff or f"{edit.path.name} already has this policy."
            console.out.print(text, markup=False, soft_wrap=True)
        if edit is not None and edit.diff:
            _write_edit(settings, name, edit)
        if as_json:
            console.print_json(result.to_json() | {"page": str(page)} | ({"diff": edit.diff} if edit else {}))

    guard(work, as_json)


def show_backtest(result: Backtest) -> None:
    """Print the policies as a table, and the recommendation."""
    from rich.markup import escape

    from deployments.cli.console import grid, out

    columns = _Columns(
        windows=len({row.variant.window for row in result.rows}) > 1,
        costs=any(row.cost is not None for row in result.rows),
        change=any(row.false_triggers is not None for row in result.rows),
        margins=any(row.harmful is not None for row in result.rows),
    )
    header = ["policy", *(["window"] if columns.windows else []), *(["margin"] if columns.margins else [])]
    header += [f"{result.metric}, 95 %"]
    header += ["to\nnever", "to\nalways", "to\noracle", "retrains", "in\nvain"]
    header += ["harm-\nful", "stale"] if columns.margins else []
    header += (["cost"] if columns.costs else []) + (
        ["false", f"late, {'rows' if result.clock.by_rows else 'days'}"] if columns.change else []
    )
    rows = [_cells(row, result, columns) for row in result.rows]
    reported_from = result.clock.name(result.steps[result.chosen])
    title = f"{result.model} from {reported_from} on, {many(len(result.steps) - result.chosen, 'step')}"
    out.print(grid(title, header, rows))
    for label, reason in result.left_out.items():
        out.print(f"[yellow]{escape(label)}:[/] {escape(reason)}.", soft_wrap=True)
    for remark in result.remarks:
        out.print(f"[dim]{escape(remark)}[/]")
    if result.warning:
        out.print(f"[yellow]{escape(result.warning)}[/]", soft_wrap=True)
    recommendation = escape(result.recommended or "Nothing is recommended")
    out.print(f"[bold]{recommendation}[/]: {escape(result.reason)}", soft_wrap=True)


@dataclass(frozen=True, slots=True)
class _Columns:
    """The optional columns that a table has; a terminal of eighty characters has no room for empty ones."""

    windows: bool
    costs: bool
    change: bool
    margins: bool


def _cells(row: Row, result: Backtest, columns: _Columns) -> list[Any]:
    from evergreen.markdown import number

    interval = "\n" + " to ".join(number(end) for end in row.interval) if row.interval else ""
    regret = [f"{row.regret[name].value:+.3g}" if name in row.regret else "" for name in ("never", "always", "oracle")]
    mark = "* " if row.variant.label == result.recommended else ""
    cells: list[Any] = [f"{mark}{row.variant.name}", *([row.variant.window] if columns.windows else [])]
    margin = row.variant.gates.routine_margin
    cells += ["" if margin is None else f"{margin:g}"] if columns.margins else []
    cells += [f"{number(row.error)}{interval}", *regret, row.retrains, row.rejected]
    if columns.margins:
        cells += [f"{row.harmful.harmful} of {row.harmful.promotions}" if row.harmful else "", row.stale]
    cells += [row.cost] if columns.costs else []
    late = "never" if row.late is None else result.clock.describe(row.late).split()[0]
    return cells + ([row.false_triggers, late] if columns.change else [])


@dataclass(frozen=True, slots=True)
class _Edit:
    """A model file before and after an edit; `diff` is empty if it has the policy already."""

    path: Path
    before: str
    after: str
    diff: str


def _propose_edit(settings: Settings, result: Backtest) -> _Edit:
    """Work out what the recommended policy changes in the model file.

    Raises:
        EvergreenError: nothing is recommended, or the file is not written in a way that can be edited.
    """
    import models
    from evergreen.model_files.policy_edit import with_policy, with_routine_margin

    row = result.row(result.recommended) if result.recommended else None
    if row is None:
        raise EvergreenError(f"{result.model}: nothing is recommended: {result.reason}", "Wait for more history.")
    loaded = models.load(result.model, settings.models)
    before = after = loaded.path.read_text(encoding="utf-8")
    if row.variant.policy is not None:
        training = row.variant.training if row.variant.training != loaded.spec.training else None
        after = with_policy(before, loaded.path, row.variant.policy, training)
    margin = row.variant.gates.routine_margin
    if margin is not None and margin != loaded.spec.gates.routine_margin:
        after = with_routine_margin(after, loaded.path, margin)
    name = loaded.path.name
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), name, name, lineterm="")
    return _Edit(loaded.path, before, after, "\n".join(lines))


def _write_edit(settings: Settings, model: str, edit: _Edit) -> None:
    """Write an edited model file.

    Raises:
        EvergreenError: the edited file cannot be loaded; the file is restored.
    """
    import models
    from evergreen.storage.atomic_write import write_text

    write_text(edit.path, edit.after)
    try:
        models.load(model, settings.models)
    except EvergreenError:
        write_text(edit.path, edit.before)
        raise


def _check_texts(settings: Settings, name: str, policies: Sequence[str], windows: str) -> ModelSpec:
    """Check the policies and training windows before anything starts; returns the model.

    Raises:
        EvergreenError: a text is no policy, or no training window.
    """
    import models
    from evergreen.backtest.request import named, window_of

    spec = models.load(name, settings.models).spec
    named(policies, spec)
    for text in windows.split(",") if windows else ():
        window_of(text, spec.training, rows=spec.order is not None)
    return spec


def _parse_place(text: str | None, option: str, *, rows: bool) -> datetime | int | None:
    """A place in the history: a time, or the number of a row where these have the order of landing.

    Raises:
        EvergreenError: it is not that.
    """
    if text is None or not rows:
        return parse_time(text, option)
    if not (text.isascii() and text.isdigit()):
        raise EvergreenError(f"{option} {text!r} is not the number of a row.", "Such as 5000: these rows have no time.")
    return int(text)


def _prices(retrain: float | None, error: float | None) -> Mapping[str, float]:
    if (retrain is None) is not (error is None):
        missing = "--price-error" if error is None else "--price-retrain"
        raise EvergreenError(
            f"One price alone compares nothing: {missing} is missing.", "Give both prices, or neither."
        )
    return {} if retrain is None or error is None else {"retrain": retrain, "error": error}
