"""The chunks of an input on their way through the tasks: predicted beside each other, committed in their order."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from prefect.task_runners import TaskRunner

from evergreen.data.prediction_log import Progress
from evergreen.registry.version import Version
from evergreen.runs.context import Workspace
from evergreen.scoring.chunk import Scored, require_columns
from evergreen.scoring.input import Chunk, Input, chunks_of, require_readable
from flows.shared.executors import task_runner, workers
from tasks.predict import Errand, keep, predict, show_progress


def in_chunks(workspace: Workspace, champion: Version, found: Input, progress: Progress, chunk_rows: int) -> Progress:
    """Score every chunk from where the batch stands on; returns where it stands then.

    Raises:
        InputError: the input cannot be read, or lacks a column; what was committed before stays.
        EvergreenError: a chunk could not be predicted or committed.
    """
    require_readable(found)
    settings, spec = workspace.settings, workspace.spec
    folder = settings.scratch(spec.name)
    # What a killed run left; no other run is at work, for the model's lock is held.
    shutil.rmtree(folder, ignore_errors=True)
    try:
        chunks = chunks_of(found, spec, settings, folder, chunk_rows, progress.chunks)
        first = next(chunks, None)
        if first is None:
            return progress
        require_columns(found, first, spec, workspace.now)
        show, errand = show_progress(spec.name, found), Errand(workspace, found, champion)
        with task_runner(settings) as runner:
            for scored in _in_order(runner, errand, chain([first], chunks), 2 * workers(settings)):
                progress = keep(workspace, progress, scored, champion.number)
                show(progress)
        return progress
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _in_order(runner: TaskRunner[Any], errand: Errand, chunks: Iterable[Chunk], ahead: int) -> Iterator[Scored]:
    """What became of each chunk, in their order; at most `ahead` more of them are on their way."""
    waiting: deque[Any] = deque()
    for chunk in chunks:
        waiting.append(runner.submit(predict, {"errand": errand, "chunk": chunk}))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
