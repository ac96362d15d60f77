"""How the steps of a flow are shown while it runs, in a terminal and in a pipe."""

from __future__ import annotations

import io
import logging
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from deployments.cli import console
from deployments.cli.console import StepLines, draw_bar, print_step, unawaited_heartbeats


def _record(message: str, level: int, share: float | None = None) -> logging.LogRecord:
    record = logging.LogRecord("prefect.task_runs", level, "/x/tasks/replay.py", 1, message, None, None)
    if share is not None:
        record.share_done = share
    return record


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_drawn_in_a_terminal_and_printed_in_a_pipe(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe gets a plain line every ten seconds and not more; a terminal the bar in the spinner alone."""
    written = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=written, force_terminal=terminal, width=80, highlight=False))
    now = [0.0]
    status = console.err.status("starting")
    steps = StepLines(status, lambda: now[0])
    for seconds in range(31):
        now[0] = float(seconds)
        steps.emit(_record(f"replay: {seconds} of 30 steps", logging.DEBUG, seconds / 30))
    printed = written.getvalue().splitlines()
    if terminal:
        assert printed == []
        assert "30 of 30 steps" in str(status.status) and "━" * 20 in str(status.status)
    else:
        assert printed == [f"  replay     {seconds} of 30 steps" for seconds in (10, 20, 30)]


def test_a_bar_is_filled_by_the_share() -> None:
    """Nothing, half, all, and not beyond."""
    assert [draw_bar(share).count("━") for share in (0.0, 0.5, 1.0, 1.2)] == [0, 10, 20, 20]


def test_a_long_step_is_indented_below_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first word has a column of its own; what follows wraps at words beside it, and markup stays text."""
    written = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=written, width=40, highlight=False))
    print_step("plan: [bold]version 2 came of this very data and was rolled back", "1.0 s")
    assert written.getvalue().splitlines() == [
        "  plan       [bold]version 2 came of",
        "             this very data and was",
        "             rolled back 1.0 s",
    ]


def test_a_flow_does_not_wait_for_the_thread_of_its_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats are sent as ever, and the thread is told to stop; Prefect alone would join it, and does so again."""
    from prefect import flow_engine

    joined: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "join", lambda thread, timeout=None: joined.append(thread))
    sent = threading.Semaphore(0)
    engine: Any = SimpleNamespace(
        heartbeat_seconds=30,
        flow_run=None,
        logger=logging.getLogger("test"),
        _build_heartbeat_event_template=lambda: ({}, []),
        _emit_flow_run_heartbeat=lambda *_: sent.release(),
    )
    with unawaited_heartbeats(), flow_engine._send_heartbeats(engine):
        assert sent.acquire(timeout=30)
    assert joined == []
    with flow_engine._send_heartbeats(engine):
        assert sent.acquire(timeout=30)
    assert len(joined) == 1


def test_json_tells_where_a_report_is() -> None:
    """At any depth, a path or a URL; a `report` that is no file of ours stays as it is."""
    told = {"drift": {"report": "reports/toy/d1/report.html"}, "links": [{"report": "none of ours"}], "report": None}
    assert console.locate_reports(told, "/srv/home") == {
        "drift": {"report": "/srv/home/reports/toy/d1/report.html"},
        "links": [{"report": "none of ours"}],
        "report": None,
    }
