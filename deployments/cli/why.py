"""The command `why`: the ledger of one model, told to a person or as JSON. Reads what is stored and nothing else."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli.command import Name, guard
from evergreen.actor import who
from evergreen.timestamps import parse_time

if TYPE_CHECKING:
    from rich.table import Table

    from evergreen.ledger.timeline import Entry, Seen

_FIGURES = 4
_ASKED = {
    "quarantine": "whether what came meets the contract",
    "data": "whether there is data that the champion has not learned from",
    "drift": "whether the data still look like what the champion was trained on",
    "performance": "whether the champion still does as well as at its promotion",
    "shadow": "whether the last promotion helped",
    "reconciled": "whether a decision was left without an answer",
    "suppressed": "to retrain",
    "retrain": "to retrain",
    "approval": "a person, whether a candidate may go into production",
    "escalation": "whether retraining helps",
    "promote": "to make a version the champion",
    "rollback": "to give the champion alias back",
}
_LINKS = {"report": "report", "flow_run": "flow run", "event": "event"}


def why(
    name: Name,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="As it stood then. ISO 8601; without an offset, UTC.")
    ] = None,
    last: Annotated[int, typer.Option("--last", metavar="N", min=1, help="So many entries, the newest ones.")] = 10,
    as_json: Annotated[
        bool, typer.Option("--json", help="A JSON list of entries on stdout, everything else on stderr.")
    ] = False,
) -> None:
    """Why something happened or did not: every check, what was seen, what was decided, what followed."""

    def work() -> None:
        import models
        from evergreen.ledger.timeline import ledger
        from evergreen.settings import load_settings

        settings, moment = load_settings(), parse_time(at, "--at")
        spec = models.load(name, settings.models).spec
        entries = ledger(settings, name, at=moment, last=last, spec=spec)
        if as_json:
            print(json.dumps([_plain(asdict(entry) | {"at": entry.at.isoformat()}) for entry in entries]))
        elif entries:
            _show(entries)
        else:
            _show_nothing(name, moment)

    guard(work, as_json)


def _show_nothing(name: str, moment: datetime | None) -> None:
    from deployments.cli.console import out

    when, then = "yet", f"Begin with: evergreen retrain {name}"
    if moment is not None:
        when, then = f"by {moment:%Y-%m-%d %H:%M:%S} UTC", f"What came later: evergreen why {name}"
    out.print(f"{name}: nothing was checked or decided {when}. {then}", soft_wrap=True)


def _show(entries: Sequence[Entry]) -> None:
    from deployments.cli.console import out

    for number, entry in enumerate(entries):
        if number:
            out.print()
        out.print(_head(entry))
        out.print(_body(entry))


def _head(entry: Entry) -> str:
    from rich.markup import escape

    from deployments.cli.console import coloured

    when = f"{entry.at:%Y-%m-%d %H:%M:%S} UTC"
    return f"[bold]{when}  {escape(entry.kind)}[/] {coloured(entry.outcome)}  [dim]{escape(entry.id)}[/]"


def _body(entry: Entry) -> Table:
    """What was asked, seen and decided, what followed, and where to look: one line each, as many as there are."""
    from rich.markup import escape
    from rich.table import Table

    table = Table.grid(padding=(0, 1))
    table.add_column(width=10, style="dim", justify="right")
    table.add_column(overflow="fold")
    parts: list[tuple[str, Sequence[str]]] = [("asked", [_ASKED.get(entry.kind, entry.kind) + _by(entry)])]
    parts += [("because", [entry.reason]), ("decided", [entry.decided]), ("followed", entry.followed)]
    for label, lines in parts:
        for number, line in enumerate(filter(None, lines)):
            table.add_row("" if number else label, escape(line))
        if label == "because" and entry.seen:
            table.add_row("seen", _figures(entry.seen))
    for link, words in _LINKS.items():
        if link in entry.links:
            table.add_row(words, escape(entry.links[link]))
    return table


def _by(entry: Entry) -> str:
    """Who or what asked, where the entry knows."""
    ground = entry.detail.get("asked_for") or (entry.detail.get("reason") if entry.kind == "retrain" else "")
    found = f"by: {who(entry.detail['by'])}" if "by" in entry.detail else f"for: {ground}" if ground else ""
    return f" ({found})" if found else ""


def _figures(seen: Sequence[Seen]) -> Table:
    """The worst figures against their bounds."""
    from rich.markup import escape
    from rich.table import Table

    from deployments.cli.console import coloured
    from evergreen.markdown import number

    table = Table.grid(padding=(0, 2))
    for figure in seen[:_FIGURES]:
        weight = "" if figure.weight is None else f"{figure.weight:.0%} of the weight"
        table.add_row(
            coloured(figure.verdict),
            escape(figure.name),
            _measured(figure),
            "" if figure.bound is None else f"bound {number(figure.bound)}",
            weight,
        )
    if seen[_FIGURES:]:
        left = [figure.verdict for figure in seen[_FIGURES:]]
        counts = ", ".join(f"{left.count(verdict)} {verdict}" for verdict in dict.fromkeys(left))
        table.add_row(f"[dim]and {counts}[/]")
    return table


def _measured(figure: Seen) -> str:
    from evergreen.markdown import number

    if figure.value is None:
        return "not measured" if figure.bound is not None else ""
    interval = "" if figure.interval is None else f" ({' to '.join(number(end) for end in figure.interval)})"
    return f"{number(figure.value)}{interval}"


def _plain(value: Any) -> Any:
    """As JSON can have it: what is not finite was not measured."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
