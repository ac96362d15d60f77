"""How `evergreen why` shows the ledger to a person; a module of its own, loaded when the command runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from evergreen.actor import describe_actor, describe_start
from evergreen.details.decision import ApprovalDetail, RetrainDetail, SuppressedDetail
from evergreen.details.watch import ShadowDetail
from evergreen.ledger.timeline_outcomes import describe_reason

if TYPE_CHECKING:
    from rich.table import Table

    from evergreen.ledger.timeline_entries import Entry, Measurement
    from evergreen.settings import Settings
    from evergreen.spec.model import ModelSpec

_MEASUREMENTS = 4
"""How many measurements of an entry are shown, the worst ones."""
_QUESTIONS = {
    "quarantine": "Do the new rows meet the contract?",
    "data": "Is there data that the champion has not learned from?",
    "drift": "Do the data still look like what the champion was trained on?",
    "performance": "Is the champion still as good as at its promotion?",
    "skew": "Does the server get the features that land later?",
    "shadow": "Did the promotion help?",
    "reconciled": "Was a decision left without an answer?",
    "suppressed": "Retrain?",
    "retrain": "Retrain?",
    "canary": "Is the challenger as good on live traffic?",
    "approval": "Does a person let the candidate into production?",
    "escalation": "Does retraining help?",
    "promote": "Make a version the champion?",
    "rollback": "Make an earlier version the champion again?",
    "loss": "Go on without the champion, because it is gone?",
}
_LINKS = {"report": "report", "flow_run": "flow run", "event": "event"}


def show_empty(name: str, time: datetime | None) -> None:
    """Say that the ledger has no entry, and what to run."""
    from deployments.cli.console import out

    until, fix = "yet", f"Run: evergreen retrain {name}"
    if time is not None:
        until, fix = f"by {time:%Y-%m-%d %H:%M:%S} UTC", f"What came later: evergreen why {name}"
    out.print(f"{name}: nothing was checked or decided {until}. {fix}", soft_wrap=True)


def show_entries(entries: Sequence[Entry], reports: str) -> None:
    """Print each entry with its figures, what was decided and what followed; `reports` is where its report is."""
    from deployments.cli.console import out, print_link
    from evergreen.storage.kept_files import show_kept

    for number, entry in enumerate(entries):
        if number:
            out.print()
        out.print(_headline(entry))
        out.print(_body(entry))
        for link, label in _LINKS.items():
            if link in entry.links:
                target = entry.links[link]
                print_link(label, show_kept(reports, target) if link == "report" else target)


def show_problem(settings: Settings, spec: ModelSpec) -> None:
    """Say in the end where the champion cannot be loaded any more, so that nothing will follow before it is mended."""
    from rich.markup import escape

    from deployments.cli.console import out
    from evergreen.ledger.promotions import Promotions
    from evergreen.registry.trust import champion_problem

    problem = champion_problem(Promotions(settings.lake_uri, spec.name), spec, trust_log=settings.trust_log)
    if problem:
        out.print(f"\n[red]Problem:[/] {escape(problem)}", soft_wrap=True)


def _headline(entry: Entry) -> str:
    from rich.markup import escape

    from deployments.cli.console import coloured

    time = f"{entry.at:%Y-%m-%d %H:%M:%S} UTC"
    return f"[bold]{time}  {escape(entry.kind)}[/] {coloured(entry.outcome)}  [dim]{escape(entry.id)}[/]"


def _body(entry: Entry) -> Table:
    """Question, reason, measurements, decision and consequences, each on lines of its own."""
    from rich.markup import escape

    from deployments.cli.console import facts

    table = facts(())
    reason = entry.reason
    if entry.kind == "promote" and entry.by == "retrain":
        reason = f"The candidate passed its gates; {describe_reason(entry)}."
    parts: list[tuple[str, Sequence[str]]] = [("question", [_question(entry) + _asker(entry)])]
    parts += [("reason", [reason]), ("decision", [entry.decided]), ("afterwards", entry.consequences)]
    for label, lines in parts:
        for number, line in enumerate(filter(None, lines)):
            table.add_row("" if number else label, escape(line))
        if label == "reason" and entry.measurements:
            table.add_row("measured", _measurements(entry.measurements))
    return table


def _question(entry: Entry) -> str:
    """What was asked; of a promotion, of which one."""
    if isinstance(entry.detail, ShadowDetail) and entry.detail.champion and entry.detail.former:
        return f"Did the promotion of version {entry.detail.champion} in place of version {entry.detail.former} help?"
    if isinstance(entry.detail, ApprovalDetail) and entry.detail.canary:
        return "Did the candidate pass its canary?"
    return _QUESTIONS.get(entry.kind, entry.kind)


def _asker(entry: Entry) -> str:
    """Who acted, or what asked for a retraining, in parentheses; empty where the entry does not say."""
    if entry.by:
        return f" (by: {describe_actor(entry.by)})"
    match entry.detail:
        case SuppressedDetail(asked_for=str(trigger)) if trigger:
            return f" (for: {trigger})"
        case RetrainDetail(reason=trigger) if trigger:
            return f" ({describe_start(trigger)})"
    return ""


def _measurements(seen: Sequence[Measurement]) -> Table:
    """The worst measurements against their bounds, and how many others there are."""
    from rich.markup import escape
    from rich.table import Table

    from deployments.cli.console import coloured
    from evergreen.markdown import number

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column()
    for figure in seen[:_MEASUREMENTS]:
        bound = "" if figure.bound is None else f"bound {number(figure.bound)}"
        weight = "" if figure.weight is None else f"{figure.weight:.0%} of the weight"
        figures = ", ".join(filter(None, (_value(figure), bound, weight)))
        table.add_row(coloured(figure.verdict), escape(figure.name), figures)
    if others := [figure.verdict for figure in seen[_MEASUREMENTS:]]:
        counts = ", ".join(f"{others.count(verdict)} {verdict}" for verdict in dict.fromkeys(others))
        table.add_row("", f"[dim]and {counts}[/]")
    return table


def _value(figure: Measurement) -> str:
    from evergreen.markdown import number

    if figure.value is None:
        return "not measured" if figure.bound is not None else ""
    interval = "" if figure.interval is None else f" ({' to '.join(number(end) for end in figure.interval)})"
    return f"{number(figure.value)}{interval}"
