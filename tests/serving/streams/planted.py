"""The command line with a consumer that is killed at a point, or does wrong what the others do right.

`KILL_AT` names a step of the first batch, at whose end the process kills itself; `PLANT` names what is wrong.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from evergreen.storage.append_once import OnceWriter
from evergreen.storage.delta_table import Table
from serving.streams.consumer import Consumer
from serving.streams.lake import StreamLog
from serving.streams.message import Message


def _die_once() -> None:
    marker = Path(os.environ["KILL_MARKER"])
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def _die_after(method: Callable[..., Any], *, before: bool = False) -> Callable[..., Any]:
    def work(self: Any, *words: Any) -> Any:
        if before:
            _die_once()
        result = method(self, *words)
        _die_once()
        return result

    return work


async def _acknowledge_first(self: Consumer, messages: Sequence[Message]) -> None:
    """Acknowledge before anything is kept."""
    await self._acknowledge(messages)
    await _score(self, messages)


def _append_blindly(self: OnceWriter, table: Table, rows: pa.Table, again: Collection[str]) -> set[str]:
    """Append without a look at what is there."""
    table.append_in_turn(rows, table.open())
    return set()


_score = Consumer._score

if __name__ == "__main__":
    match os.environ.get("PLANT"):
        case "acknowledges first":
            Consumer._score = _acknowledge_first  # type: ignore[method-assign]
        case "looks for nothing":
            OnceWriter.append = _append_blindly  # type: ignore[method-assign]
            StreamLog.find = lambda self, version, messages: {}  # type: ignore[method-assign, assignment]
    match os.environ.get("KILL_AT"):
        case "before the commit":
            StreamLog.keep = _die_after(StreamLog.keep, before=True)  # type: ignore[method-assign]
        case "after the commit":
            StreamLog.keep = _die_after(StreamLog.keep)  # type: ignore[method-assign]
    from deployments.cli.main import main

    main()
