"""How results look in a terminal. The result itself goes to stdout, everything else that is for people to stderr."""

from __future__ import annotations

import gc
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO, TypeVar, cast

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table
from rich.text import Text

from deployments.cli.results import print_result_text
from evergreen import naming
from evergreen.details.decision import DriftResult, Ingested, RetrainDetail
from evergreen.details.watch import RuleFigure
from evergreen.errors import EvergreenError
from evergreen.logs import JsonText, log_as_json
from evergreen.markdown import many, number
from evergreen.settings import load_settings
from evergreen.storage.kept_files import show_kept

if TYPE_CHECKING:
    from evergreen.runs.results import MonitorResult, MoveResult, ScoreResult


class Result(Protocol):
    """What a flow or a command returns."""

    def to_json(self) -> dict[str, Any]:
        """The result as one JSON object."""


T = TypeVar("T", bound=Result)

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

LABEL_WIDTH = 10
_INDENT = 13
"""Of the text of a step, behind the step's name."""
_PIPE_SECONDS = 10.0
"""Progress is printed so often where it is not drawn, as in a pipe."""
_SEND_HEARTBEATS = "_send_heartbeats"
"""What of Prefect's flow engine starts the thread of a run's heartbeats."""
_ANY_WIDTH = 100_000
_SHORT = 24
"""A column of a table whose texts are all as short as this is not wrapped."""
_COLOURS = {
    "PASS": "green",
    "FAIL": "red",
    "INCONCLUSIVE": "yellow",
    "promoted": "green",
    "rejected": "red",
    "inconclusive": "yellow",
    "unchanged": "cyan",
    "awaiting-approval": "yellow",
    "in-canary": "yellow",
    "open": "cyan",
    "started": "cyan",
    "step": "cyan",
    "paused": "yellow",
    "passed": "green",
    "refused": "red",
    "aborted": "red",
    "unproven": "yellow",
}


def write_json() -> None:
    """Write what is for people as JSON lines, as the log is; results on stdout stay as they are."""
    log_as_json(logging.WARNING)
    # A line is one object, however long it is.
    err.width = _ANY_WIDTH
    err.file = cast(TextIO, JsonText(sys.stderr, naming.LOGGER))


def _as_json() -> JsonText | None:
    return err.file if isinstance(err.file, JsonText) else None


class StepLines(logging.Handler):
    """Prints a line for each step that ended, and shows the current one in a spinner."""

    def __init__(self, status: Status, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` counts seconds."""
        super().__init__(logging.DEBUG)
        self.status, self.clock = status, clock
        self.last = self.shown = clock()

    def emit(self, record: logging.LogRecord) -> None:
        """Show a line of our own flows and tasks; Prefect's own lines are for its UI."""
        folder = Path(record.pathname).parent
        if {"tasks", "flows"}.isdisjoint({folder.name, folder.parent.name}) or not getattr(record, "step", True):
            return
        now = self.clock()
        share = getattr(record, "share_done", None)
        if record.levelno < logging.INFO:
            bar = "" if share is None else f"{draw_bar(share)} "
            self.status.update(f"{bar}[dim]{escape(record.getMessage())}[/]")
            if share is not None and not err.is_terminal and now - self.shown >= _PIPE_SECONDS:
                # There is no spinner in a pipe.
                print_step(record.getMessage(), style="dim")
                self.shown = now
            return
        style = "yellow" if record.levelno >= logging.WARNING else "bold"
        print_step(record.getMessage(), f"{now - self.last:.1f} s", style=style)
        self.last = now
        self.status.update("[dim]working[/]")


@contextmanager
def show_steps(title: str) -> Iterator[Callable[[], None]]:
    """Show the steps of a flow on stderr while it runs.

    Yields the function that starts it. Call it after the flow was imported: importing Prefect sets up logging again and
    drops every handler that was there before. It waits for a temporary server, and prints what all of that took.
    """
    from deployments.cli.loading import read_once
    from deployments.stack import temporary_server

    began = time.monotonic()
    loggers = [logging.getLogger(name) for name in ("prefect.task_runs", "prefect.flow_runs")]
    with err.status(f"[dim]{escape(title)}: loading libraries[/]") as status, ExitStack() as around_flow:
        handler = StepLines(status)
        around_flow.enter_context(read_once())

        def listen() -> None:
            from prefect.logging.configuration import setup_logging
            from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

            setup_logging()
            status.update("[dim]waiting for a temporary Prefect server[/]")
            server = ""
            if temporary_server.wait():
                server = ", a temporary Prefect server started"
                # Nobody watches a run for heartbeats on a server that ends with it, and their thread sleeps for whole
                # seconds, which a run waits for at its end.
                around_flow.enter_context(temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}))
            around_flow.enter_context(unawaited_heartbeats())
            # What is loaded stays; the collector need not look through it.
            gc.freeze()
            handler.last = time.monotonic()
            print_step(f"start: libraries loaded{server}", f"{handler.last - began:.1f} s")
            status.update(f"[dim]{escape(title)}[/]")
            if _as_json() is not None:
                # The steps are in the log.
                return
            for logger in loggers:
                logger.addHandler(handler)
                logger.setLevel(logging.DEBUG)

        try:
            yield listen
        finally:
            for logger in loggers:
                logger.removeHandler(handler)


@contextmanager
def unawaited_heartbeats() -> Iterator[None]:
    """Let a flow end while the thread of its heartbeats still sleeps, as Prefect lets an asynchronous one.

    The thread sleeps for a whole second before it sees that it is to stop, and Prefect joins it at the end of a flow:
    half a second of each command on average. Nothing is lost: it is a daemon, and begins no other heartbeat.
    """
    from prefect import flow_engine

    send: Callable[..., AbstractContextManager[None]] | None = getattr(flow_engine, _SEND_HEARTBEATS, None)
    if send is None:
        # Another Prefect, of which only this half second is known.
        yield
        return
    setattr(flow_engine, _SEND_HEARTBEATS, partial(send, join_on_exit=False))
    try:
        yield
    finally:
        setattr(flow_engine, _SEND_HEARTBEATS, send)


@contextmanager
def show_work(
    title: str, *, of: str = "fit", within: str = "the search"
) -> Iterator[tuple[Callable[[str], None], Callable[[int, int], None]]]:
    """Show work that is no flow on stderr, with a spinner.

    Yields a function that prints a line for a step that is done, and one that shows how far the present one is: so many
    `of` those `within` it.
    """
    last = time.monotonic()
    with err.status(f"[dim]{escape(title)}[/]") as status:

        def step(line: str) -> None:
            nonlocal last
            now = time.monotonic()
            print_step(line, f"{now - last:.1f} s")
            last = now

        yield step, lambda done, total: status.update(f"[dim]{done} of {many(total, of)} of {within}[/]")


def draw_bar(share: float) -> str:
    """A bar of 20 characters, filled by so large a share (0 to 1), as markup."""
    filled = round(20 * min(max(share, 0.0), 1.0))
    return f"[green]{'━' * filled}[/][dim]{'─' * (20 - filled)}[/]"


def print_step(line: str, duration: str = "", *, style: str = "bold") -> None:
    """Print a line such as `gate: PASS, 8 checks` on stderr, its first word in a column of its own."""
    if lines := _as_json():
        lines.log(logging.INFO, f"{line} {duration}")
        return
    step, _, rest = line.partition(": ")
    text = Text.from_markup(f"{escape(rest)}{f' [dim]{duration}[/]' if duration else ''}")
    first, *others = text.wrap(err, max(err.width - _INDENT, 20)) or [text]
    for part in (first, *others):
        part.rstrip()
    err.print(Text.assemble("  ", (f"{step:<10}", style), " ", first), soft_wrap=True)
    for part in others:
        err.print(Text.assemble(" " * _INDENT, part), soft_wrap=True)


def print_run_line(line: str) -> None:
    """Print a log line of a run in the worker as a step of a run in this process would look; other lines not at all."""
    step, colon, _ = line.partition(": ")
    if colon and " " not in step:
        print_step(line)


def print_error(error: EvergreenError) -> None:
    """Print what is wrong, and what to do next, on stderr."""
    if lines := _as_json():
        lines.log(logging.ERROR, str(error))
        return
    err.print(f"[red]{escape(error.what)}[/] {escape(error.fix)}", soft_wrap=True)


def print_json(document: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout."""
    print_result_text(json.dumps(document, allow_nan=False, sort_keys=False))


def locate_reports(told: Any, place: str) -> Any:
    """JSON in which each `report` is a path or a URL, for the name by which it is kept; `place` is that of reports."""
    if isinstance(told, list | tuple):
        return [locate_reports(each, place) for each in told]
    if not isinstance(told, dict):
        return told
    found = {name: locate_reports(each, place) for name, each in told.items()}
    return found | ({"report": show_kept(place, found["report"])} if isinstance(found.get("report"), str) else {})


def print_result(result: T, show: Callable[[T], None], *, as_json: bool) -> None:
    """Print the result of a command: as one JSON object, or for a person with `show`."""
    if as_json:
        print_json(result.to_json())
    else:
        show(result)


def bullets(lines: Sequence[str]) -> Table:
    """Lines as a list; what goes on in the next line stands below its text, not below its mark."""
    table = Table.grid(padding=(0, 1))
    for line in lines:
        table.add_row(" ", "-", Text(line))
    return table


def coloured(word: str) -> str:
    """A verdict or an outcome as markup in its colour."""
    return f"[{_COLOURS.get(word, 'white')}]{escape(word)}[/]"


def grid(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A table of numbers and texts, in which verdicts and outcomes are coloured.

    Only columns with sentences are wrapped: a number, a name or a verdict is not broken in a narrow terminal.
    """
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    texts = [[number(cell) for cell in row] for row in rows]
    for place, name in enumerate(header):
        widest = max([len(row[place]) for row in texts], default=0)
        table.add_column(name, overflow="fold", no_wrap=widest <= _SHORT and "\n" not in name)
    for cells in texts:
        table.add_row(*(coloured(cell) if cell in _COLOURS else escape(cell) for cell in cells))
    return table


def facts(rows: Sequence[tuple[str, str]]) -> Table:
    """Lines of a label and a text with markup, the labels in a column of their own, the texts wrapped at words."""
    table = Table.grid(padding=(0, 1))
    table.add_column(width=LABEL_WIDTH, style="dim", justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in rows:
        table.add_row(label, text)
    return table


def print_link(label: str, link: str) -> None:
    """Print a path or a URL behind its label; it is never broken, so that it can be copied and clicked."""
    out.print(f"[dim]{label:>{LABEL_WIDTH}}[/] {escape(link)}", soft_wrap=True)


def show_retrain(result: RetrainDetail) -> None:
    """Print the outcome of a retraining: gates, drift, champion and data."""
    out.print()
    out.print(f"[bold]{escape(result.model)}[/]: {coloured(result.outcome)}. {escape(result.explanation)}")
    _show_ingest(result.ingest)
    if result.checks:
        rows = [(check.name, str(check.status), check.value, check.bound, check.reason) for check in result.checks]
        out.print(grid("Gates", ("gate", "status", "value", "bound", "reason"), rows))
        _show_drift(result.drift)
    champion = "none yet" if result.champion is None else f"version {result.champion}"
    out.print(
        f"Champion: {champion}. Data: {many(result.snapshot.rows, 'row')}, version {result.snapshot.version}. "
        f"[dim]Decision {result.decision_id}.[/]"
    )
    if result.outcome == "in-canary":
        out.print(f"See how it stands on live traffic: [bold]evergreen canary {result.model}[/]")
    if result.outcome == "awaiting-approval":
        out.print(f"Approve it with: [bold]evergreen promote {result.model} {result.version} --reason TEXT[/]")


def show_monitor(result: MonitorResult) -> None:
    """Print the reports of a monitor run, and the command that answers a failure."""
    out.print()
    _show_ingest(result.ingest)
    _show_drift(DriftResult(result.verdict, result.share, result.columns, result.reason, result.report))
    if result.doubt:
        out.print(f"[yellow]Suspected only:[/] {escape(result.doubt)}.")
    performance = result.performance
    if performance.decision_id:
        out.print(f"Performance: {coloured(performance.verdict)}. {escape(performance.reason)}")
    for extra in performance.also:
        bound = "" if extra.bound is None else f" ({coloured(str(extra.verdict))} against {number(extra.bound)})"
        out.print(f"  {escape(extra.name)}: {number(extra.value) or 'not measured'}{bound}")
    for rule in performance.rules:
        out.print(f"  {rule.name}: {_beside(rule)}")
    if result.shadow.decision_id:
        out.print(f"Last promotion: {coloured(result.shadow.verdict)}. {escape(result.shadow.reason)}")
    if result.skew.decision_id:
        out.print(f"Asked online: {coloured(result.skew.verdict)}. {escape(result.skew.reason)}")
    if result.rolled_back is not None:
        out.print(f"[red]Version {result.rolled_back} was rolled back:[/] version {result.champion} is the champion.")
        return
    triggers = {
        "drift": result.decision_id if result.confirmed else None,
        "performance": performance.decision_id if performance.verdict == "FAIL" else None,
        "data": result.data,
    }
    reason, decision = next(((name, value) for name, value in triggers.items() if value), ("", None))
    if decision:
        command = f"evergreen retrain {result.model} --reason {reason} --decision {decision}"
        out.print(f"Answer it with: [bold]{command}[/]")


def _beside(rule: RuleFigure) -> str:
    """A rule of one line and how much better or worse the champion does."""
    if rule.gain is None:
        return "not measured"
    word, sign = ("[yellow]worse[/]", -1.0) if rule.gain < 0 else ("better", 1.0)
    ends = sorted(sign * end for end in rule.interval or ())
    within = f" ({number(ends[0])} to {number(ends[1])})" if ends else ""
    late = "" if rule.covered == 1 else f"; a label in time for {rule.covered:.0%} of the rows"
    return f"{number(rule.value)}, the champion {word} by {number(sign * rule.gain)}{within}{late}"


def show_score(result: ScoreResult) -> None:
    """Print how many rows were scored, by which version, and where the predictions are."""
    destination = escape(result.output) if result.output else "the predictions table"
    out.print(
        f"[bold]{escape(result.model)}[/]: version {result.version} scored {result.rows_scored:,} of "
        f"{many(result.rows_in, 'row')}; the predictions are in {destination}.",
        soft_wrap=True,
    )
    if result.rows_rejected:
        out.print(f"[yellow]In quarantine:[/] {many(result.rows_rejected, 'row')} that broke the contract.")


def show_move(result: MoveResult) -> None:
    """Print what a promotion, a rejection, a rollback or a loss changed."""
    if result.lost:
        retrain, rollback = f"evergreen retrain {result.model}", f"evergreen rollback {result.model} --to VERSION"
        out.print(
            f"[bold]{result.model}[/]: version {result.lost} is given up as lost, there is no champion now. "
            f"{escape(result.reason)}"
        )
        out.print(f"Make one: [bold]{retrain}[/], or go back to an older version: [bold]{rollback} --reason TEXT[/]")
        return
    if result.rejected:
        champion = f"version {result.champion} stays champion" if result.champion else "there is no champion yet"
        head = f"[bold]{result.model}[/]: version {result.rejected} was rejected, {champion}."
        out.print(f"{head} {escape(result.reason)}")
        return
    if not result.changed:
        out.print(f"[bold]{result.model}[/]: version {result.champion} is the champion already.")
        return
    before = "" if result.previous is None else f"; previous is version {result.previous}"
    out.print(f"[bold]{result.model}[/]: version {result.champion} is the champion{before}. {escape(result.reason)}")


def _show_drift(drift: DriftResult) -> None:
    # The reason names the columns that drifted.
    out.print(f"Drift: {coloured(drift.verdict)}. {escape(drift.reason)}")
    if drift.report:
        place = show_kept(load_settings().report_place, drift.report)
        out.print(f"[dim]Report: {escape(place)}[/]", soft_wrap=True)


def _show_ingest(ingest: Ingested) -> None:
    if ingest.labels:
        out.print(f"Labels: {many(ingest.labels, 'row got its', 'rows got their')} label.")
    for refused in ingest.quarantined:
        out.print(f"[yellow]In quarantine:[/] {escape(refused.origin)}: {escape(refused.reason)}")
    for waiting in ingest.waiting:
        out.print(f"[yellow]Not read yet:[/] {escape(waiting.origin)}: {escape(waiting.reason)}")
    for doubt in ingest.doubts:
        out.print(f"[yellow]Look at this:[/] {escape(doubt)}")
