"""A report shows what is stored already: where it cannot be shown, the run ends as it would have."""

from __future__ import annotations

import pytest
from prefect import flow

import tasks.report
from evergreen.runs.results import MoveResult

pytestmark = pytest.mark.usefixtures("in_process")


@pytest.mark.parametrize("error", [RuntimeError("no answer"), TimeoutError("no answer")])
def test_a_report_that_cannot_be_shown(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The run completes with its result, and its log tells of the report's task that failed."""
    moved = MoveResult("toy", "promote", champion=2, previous=1, reason="better", changed=True)

    def fail(*_: object, **__: object) -> None:
        raise error

    @flow
    def move() -> int:
        tasks.report.report_move("", moved)
        return moved.champion

    monkeypatch.setattr(tasks.report, "create_markdown_artifact", fail)
    assert move() == 2
    assert "no answer" in caplog.text
