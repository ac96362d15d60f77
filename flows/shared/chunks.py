"""Score the chunks of an input through the tasks: predicted in parallel, committed in their order."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from prefect.task_runners import TaskRunner

from evergreen.data.prediction_log import Progress
from evergreen.registry.version import Version
from evergreen.runs.context import RunContext
from evergreen.scoring.chunk import ScoredChunk, require_columns
from evergreen.scoring.input import Chunk, ScoringInput, require_readable, write_chunks
from evergreen.training.dask_cluster import told_cluster_faults
from flows.shared.executors import task_runner, workers
from tasks.predict import ScoringJob, commit_chunk, predict, progress_bar


def score_chunks(
    context: RunContext, champion: Version, scoring_input: ScoringInput, progress: Progress, chunk_rows: int
) -> Progress:
    """Score every chunk after those that are committed; returns how far the batch has come then.

    Raises:
        InputError: the input cannot be read, or lacks a column; what was committed before stays.
        EvergreenError: a chunk could not be predicted or committed.
    """
    require_readable(scoring_input)
    settings, spec = context.settings, context.spec
    folder = settings.scratch(spec.name)
    # A killed run may have left files here. No other run uses them, because this one holds the model's lock.
    shutil.rmtree(folder, ignore_errors=True)
    try:
        chunks = write_chunks(scoring_input, context.observations, folder, chunk_rows, progress.chunks)
        first = next(chunks, None)
        if first is None:
            return progress
        require_columns(scoring_input, first, spec, context.now)
        show, job = (
            progress_bar(context.settings.environment, spec.name, scoring_input),
            ScoringJob(context, scoring_input, champion),
        )
        with told_cluster_faults(f"the Dask cluster {settings.dask or 'of this run'}"), task_runner(settings) as runner:
            for scored in _predict_in_order(runner, job, chain([first], chunks), 2 * workers(settings)):
                progress = commit_chunk(context, progress, scored, champion.number)
                show(progress)
        return progress
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _predict_in_order(
    runner: TaskRunner[Any], job: ScoringJob, chunks: Iterable[Chunk], ahead: int
) -> Iterator[ScoredChunk]:
    """Predict the chunks and yield each result in their order; at most `ahead` more chunks are in progress."""
    futures: deque[Any] = deque()
    for chunk in chunks:
        futures.append(runner.submit(predict, {"job": job, "chunk": chunk}))
        if len(futures) > ahead:
            yield futures.popleft().result()
    while futures:
        yield futures.popleft().result()
