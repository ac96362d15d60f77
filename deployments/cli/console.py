"""How results look in a terminal. Everything for people goes to stderr but the result itself, which is on stdout."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from evergreen.markdown import number
from evergreen.runs.results import DriftResult, Ingested, MonitorResult, MoveResult, RetrainResult, ScoreResult

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

_COLOURS = {
    "PASS": "green",
    "FAIL": "red",
    "INCONCLUSIVE": "yellow",
    "promoted": "green",
    "rejected": "red",
    "inconclusive": "yellow",
    "unchanged": "cyan",
    "awaiting-approval": "yellow",
}


class StepLines(logging.Handler):
    """One line for each step that ended, a spinner for what is going on."""

    def __init__(self, status: Status) -> None:
        super().__init__(logging.DEBUG)
        self.status = status
        self.last = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        """Show a line of one of our own tasks; Prefect's own lines are for its UI."""
        folder = Path(record.pathname).parent
        if not {"tasks", "flows"} & {folder.name, folder.parent.name}:
            return
        text = escape(record.getMessage())
        if record.levelno < logging.INFO:
            self.status.update(f"[dim]{text}[/]")
            return
        now = time.monotonic()
        step, _, rest = text.partition(": ")
        colour = "yellow" if record.levelno >= logging.WARNING else "bold"
        err.print(f"  [{colour}]{step:<10}[/] {rest} [dim]{now - self.last:.1f} s[/]")
        self.last = now
        self.status.update("[dim]working[/]")


@contextmanager
def steps(title: str) -> Iterator[Callable[[], None]]:
    """Show the steps of a flow on stderr while it runs; listening starts with the call of what this yields.

    It starts late because importing Prefect sets up logging anew and drops every handler that was there before.
    """
    loggers = [logging.getLogger(name) for name in ("prefect.task_runs", "prefect.flow_runs")]
    with err.status(f"[dim]{escape(title)}[/]") as status:
        handler = StepLines(status)

        def listen() -> None:
            from prefect.logging.configuration import setup_logging

            setup_logging()
            handler.last = time.monotonic()
            for logger in loggers:
                logger.addHandler(handler)
                logger.setLevel(logging.DEBUG)

        try:
            yield listen
        finally:
            for logger in loggers:
                logger.removeHandler(handler)


def emit_json(told: Mapping[str, Any]) -> None:
    """One JSON object on stdout."""
    print(json.dumps(told, allow_nan=False, sort_keys=False))


def coloured(word: str) -> str:
    """A verdict or an outcome in its colour."""
    return f"[{_COLOURS.get(word, 'white')}]{escape(word)}[/]"


def grid(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A table of text; verdicts are coloured."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        cells = [number(cell) for cell in row]
        table.add_row(*(coloured(cell) if cell in _COLOURS else escape(cell) for cell in cells))
    return table


def show_retrain(result: RetrainResult) -> None:
    """What became of a retraining."""
    out.print()
    out.print(f"[bold]{escape(result.model)}[/]: {coloured(result.outcome)}. {escape(result.explanation)}")
    _show_ingest(result.ingest)
    if result.checks:
        rows = [(check.name, str(check.status), check.value, check.bound, check.reason) for check in result.checks]
        out.print(grid("Gates", ("gate", "status", "value", "bound", "reason"), rows))
        _show_drift(result.drift)
    where = "none yet" if result.champion is None else f"version {result.champion}"
    out.print(
        f"Champion: {where}. Data: {result.snapshot.rows} rows, version {result.snapshot.version}. "
        f"[dim]Decision {result.decision_id}.[/]"
    )
    if result.outcome == "awaiting-approval":
        out.print(f"Approve it with: [bold]evergreen promote {result.model} {result.version} --reason TEXT[/]")


def show_monitor(result: MonitorResult) -> None:
    """What a monitor run saw."""
    out.print()
    _show_ingest(result.ingest)
    _show_drift(DriftResult(result.verdict, result.share, result.columns, result.reason, result.report))
    if result.doubt:
        out.print(f"[yellow]Suspected only:[/] {escape(result.doubt)}.")
    measured = result.performance
    if measured.decision_id:
        out.print(f"Performance: {coloured(measured.verdict)}. {escape(measured.reason)}")
    for beside in measured.also:
        bound = "" if beside.bound is None else f" ({coloured(str(beside.verdict))} against {number(beside.bound)})"
        out.print(f"  {escape(beside.name)}: {number(beside.value) or 'not measured'}{bound}")
    if result.shadow.decision_id:
        out.print(f"Last promotion: {coloured(result.shadow.verdict)}. {escape(result.shadow.reason)}")
    if result.rolled_back is not None:
        out.print(f"[red]Version {result.rolled_back} was rolled back:[/] version {result.champion} is the champion.")
        return
    failed = {"drift": result.decision_id if result.confirmed else None}
    failed["performance"] = measured.decision_id if measured.verdict == "FAIL" else None
    failed["data"] = result.data
    for reason, decision in failed.items():
        if decision:
            out.print(
                f"Answer it with: [bold]evergreen retrain {result.model} --reason {reason} --decision {decision}[/]"
            )
            return


def show_score(result: ScoreResult) -> None:
    """What was scored, and where it is."""
    where = escape(result.output) if result.output else "the predictions table"
    out.print(
        f"[bold]{escape(result.model)}[/]: version {result.version} scored {result.rows_scored} of {result.rows_in} "
        f"rows; they are in {where}.",
        soft_wrap=True,
    )
    if result.rows_rejected:
        out.print(f"[yellow]In quarantine:[/] {result.rows_rejected} rows that broke the contract.")


def show_move(result: MoveResult) -> None:
    """What a promotion, a rejection or a rollback did."""
    if result.rejected:
        where = f"version {result.champion} stays champion" if result.champion else "there is no champion yet"
        out.print(f"[bold]{result.model}[/]: version {result.rejected} was rejected, {where}. {escape(result.reason)}")
        return
    if not result.changed:
        out.print(f"[bold]{result.model}[/]: version {result.champion} is the champion already.")
        return
    before = "" if result.previous is None else f"; previous is version {result.previous}"
    out.print(f"[bold]{result.model}[/]: version {result.champion} is the champion{before}. {escape(result.reason)}")


def _show_drift(drift: DriftResult) -> None:
    columns = f" ({escape(', '.join(drift.columns))})" if drift.columns else ""
    out.print(f"Drift: {coloured(drift.verdict)}. {escape(drift.reason)}{columns}")
    if drift.report:
        out.print(f"[dim]Report: {escape(drift.report)}[/]", soft_wrap=True)


def _show_ingest(ingest: Ingested) -> None:
    if ingest.labels:
        out.print(f"Labels: {ingest.labels} rows got theirs.")
    for item in ingest.quarantined:
        out.print(f"[yellow]In quarantine:[/] {escape(str(item['origin']))}: {escape(str(item['reason']))}")
    for waiting in ingest.waiting:
        out.print(f"[yellow]Left alone:[/] {escape(waiting['origin'])}: {escape(waiting['reason'])}")
