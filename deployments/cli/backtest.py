"""The command that chooses a policy of retraining on history, and writes it into the model file where asked to."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli.command import Json, Name, guard, prepare, start
from evergreen.errors import EvergreenError
from evergreen.timestamps import parse_time

if TYPE_CHECKING:
    from evergreen.backtest.report import Backtest, Row
    from evergreen.settings import Settings


def backtest(
    name: Name,
    policies: Annotated[
        list[str] | None,
        typer.Option(
            "--policies", metavar="POLICY", help="Such as 'never', 'every 30 days', 'OnDrift(confirm=2, of=3)'."
        ),
    ] = None,
    windows: Annotated[
        str, typer.Option("--windows", metavar="LIST", help="Such as 90d,180d,365d,all,'half-life 90d'.")
    ] = "",
    price_retrain: Annotated[
        float | None, typer.Option("--price-retrain", min=0, help="What a retraining costs.")
    ] = None,
    price_error: Annotated[
        float | None, typer.Option("--price-error", min=0, help="What a unit of the metric costs, for each row.")
    ] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="TIME", help="The first step.")] = None,
    report_from: Annotated[
        str | None, typer.Option("--report-from", metavar="TIME", help="Choose on what is before, report on the rest.")
    ] = None,
    label_delay: Annotated[
        float | None, typer.Option("--label-delay", metavar="DAYS", min=0, help="Labels come so long after their rows.")
    ] = None,
    train_hours: Annotated[
        float | None, typer.Option("--train-hours", metavar="HOURS", min=0, help="How long a training takes.")
    ] = None,
    change: Annotated[
        str | None, typer.Option("--change", metavar="TIME", help="Since when the data has another law, if known.")
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Where the page goes.")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Write the recommended policy into the model file.")] = False,
    as_json: Json = False,
) -> None:
    """Choose when a model is retrained: replay its history under several policies."""

    def work() -> None:
        from deployments.cli import console

        settings = prepare(name)
        _understood(settings, name, policies or (), windows)
        asked: dict[str, Any] = {
            "policies": tuple(policies or ()),
            "windows": tuple(one for one in windows.split(",") if one.strip()),
            "prices": _prices(price_retrain, price_error),
            "since": parse_time(since, "--since"),
            "report_from": parse_time(report_from, "--report-from"),
            "label_delay_days": label_delay,
            "train_hours": train_hours or None,
            "change": parse_time(change, "--change"),
            "page": None if html is None else str(html.expanduser().absolute()),
        }
        with console.steps(start(f"replaying {name}")) as listen:
            from flows.backtest import backtest as flow

            listen()
            found = flow(name, **asked)
        page = html or settings.root / "backtest" / name / "backtest.html"
        if not as_json:
            show(found)
            console.out.print(f"[dim]The page: {page}[/]", soft_wrap=True)
        edit = _proposed(settings, found) if apply else None
        if edit is not None and not as_json:
            console.out.print(edit.diff or f"{edit.path.name} has it already.", markup=False, soft_wrap=True)
        if edit is not None and edit.diff:
            _apply(settings, name, edit)
        if as_json:
            console.emit_json(found.to_json() | {"page": str(page)} | ({"diff": edit.diff} if edit else {}))

    guard(work, as_json)


def show(found: Backtest) -> None:
    """The table and the recommendation, for a person."""
    from rich.markup import escape

    from deployments.cli.console import grid, out

    shown = _Shown(
        windows=len({row.variant.window for row in found.rows}) > 1,
        priced=any(row.cost is not None for row in found.rows),
        known=any(row.false_triggers is not None for row in found.rows),
    )
    head = ["policy", *(["window"] if shown.windows else []), f"{found.metric}, 95 %"]
    head += ["to\nnever", "to\nalways", "to\noracle", "retrains", "in\nvain"]
    head += (["cost"] if shown.priced else []) + (["false", "late, days"] if shown.known else [])
    rows = [_line(row, found, shown) for row in found.rows]
    turn = found.steps[found.chosen]
    out.print(grid(f"{found.model} from {turn:%Y-%m-%d} on, {len(found.steps) - found.chosen} steps", head, rows))
    for label, why in found.left_out.items():
        out.print(f"[yellow]{escape(label)}:[/] {escape(why)}.", soft_wrap=True)
    if found.warning:
        out.print(f"[yellow]{escape(found.warning)}[/]", soft_wrap=True)
    out.print(
        f"[bold]{escape(found.recommended or 'Nothing is recommended')}[/]: {escape(found.reason)}", soft_wrap=True
    )


@dataclass(frozen=True, slots=True)
class _Shown:
    """Columns that not every backtest has: a terminal of eighty characters is narrow."""

    windows: bool
    priced: bool
    known: bool


def _line(row: Row, found: Backtest, shown: _Shown) -> list[Any]:
    from evergreen.markdown import number

    ends = "\n" + " to ".join(number(end) for end in row.interval) if row.interval else ""
    regret = [f"{row.regret[name].value:+.3g}" if name in row.regret else "" for name in ("never", "always", "oracle")]
    mark = "* " if row.variant.label == found.recommended else ""
    told: list[Any] = [f"{mark}{row.variant.name}", *([row.variant.window] if shown.windows else [])]
    told += [f"{number(row.error)}{ends}", *regret, row.retrains, row.rejected]
    told += [row.cost] if shown.priced else []
    late = "" if row.late is None else f"{row.late.total_seconds() / 86400:.3g}"
    return told + ([row.false_triggers, late] if shown.known else [])


@dataclass(frozen=True, slots=True)
class _Edit:
    """A model file before and after; `diff` is empty where it has the policy already."""

    path: Path
    before: str
    after: str
    diff: str


def _proposed(settings: Settings, found: Backtest) -> _Edit:
    """What the recommended policy changes in the model file.

    Raises:
        EvergreenError: nothing is recommended, or the file is not written in a way that can be edited.
    """
    import models
    from evergreen.model_files.policy_edit import with_policy

    row = found.row(found.recommended) if found.recommended else None
    if row is None:
        raise EvergreenError(f"{found.model}: nothing is recommended: {found.reason}", "Wait for more history.")
    loaded = models.load(found.model, settings.models)
    before = after = loaded.path.read_text(encoding="utf-8")
    if row.variant.policy is not None:
        training = row.variant.training if row.variant.training != loaded.spec.training else None
        after = with_policy(before, loaded.path, row.variant.policy, training)
    name = loaded.path.name
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), name, name, lineterm="")
    return _Edit(loaded.path, before, after, "\n".join(lines))


def _apply(settings: Settings, model: str, edit: _Edit) -> None:
    """Write the edit.

    Raises:
        EvergreenError: the file could not be loaded any more; it is left as it was.
    """
    import models
    from evergreen.storage.atomic_write import write_text

    write_text(edit.path, edit.after)
    try:
        models.load(model, settings.models)
    except EvergreenError:
        write_text(edit.path, edit.before)
        raise


def _understood(settings: Settings, name: str, policies: Sequence[str], windows: str) -> None:
    """Refuse what is no policy and no training window before anything starts."""
    import models
    from evergreen.backtest.request import named, window_of

    spec = models.load(name, settings.models).spec
    named(policies, spec)
    for text in windows.split(",") if windows else ():
        window_of(text, spec.training)


def _prices(retrain: float | None, error: float | None) -> Mapping[str, float]:
    if (retrain is None) is not (error is None):
        missing = "--price-error" if error is None else "--price-retrain"
        raise EvergreenError(f"One price alone compares nothing: {missing} is missing.", "Say both, or neither.")
    return {} if retrain is None or error is None else {"retrain": retrain, "error": error}
