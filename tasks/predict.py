"""Score an input: find it, predict its chunks in parallel, commit them in their order."""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from prefect.artifacts import create_progress_artifact, update_progress_artifact

import models
from evergreen.data.contract import scoring_schema
from evergreen.data.prediction_log import Progress
from evergreen.errors import EvergreenError
from evergreen.markdown import many
from evergreen.naming import artifact
from evergreen.registry.client import Registry
from evergreen.registry.version import Version
from evergreen.runs.context import RunContext
from evergreen.scoring import commit
from evergreen.scoring.chunk import LoadedVersion, RunStamp, ScoredChunk, score_chunk
from evergreen.scoring.input import Chunk, ScoringInput, resolve
from evergreen.settings import Settings, load_settings
from tasks import retried, run_logger

_loading = threading.Lock()


class ScoringJob:
    """What a task in another process needs to score a chunk; a plain class, as `RunContext`.

    Another process reads its own settings: passwords are in the environment of whoever needs them, and are not sent.

    Attributes:
        lake: where the run has its tables.
        model: its name; the model file is read where the task runs.
        spec_hash: of the model file's code.
        sha256: of the champion's stored pipeline.
        stamp: what every prediction is stamped with.
    """

    def __init__(self, context: RunContext, scoring_input: ScoringInput, champion: Version) -> None:
        self._settings: Settings | None = context.settings
        self.lake = context.settings.lake_uri
        self.model = context.spec.name
        self.spec_hash = context.spec_hash
        self.sha256 = champion.tags.sha256
        self.stamp = RunStamp(scoring_input.batch, scoring_input.name, champion.number, context.flow_run, context.now)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_settings": None}

    @property
    def settings(self) -> Settings:
        """The settings of this process.

        Raises:
            EvergreenError: they lead to other tables than those of the run.
        """
        if self._settings is None:
            settings = load_settings()
            if settings.lake_uri != self.lake:
                raise EvergreenError(
                    f"A worker on {platform.node()} has its tables at {settings.lake_uri}, and the run at {self.lake}.",
                    "Start the workers with the EVERGREEN_* variables of the run, and the same folders.",
                )
            self._settings = settings
        return self._settings


@retried("resolve-input", timeout_seconds=1800)
def resolve_input(context: RunContext, champion: Version, source: str | None) -> ScoringInput:
    """Find what is to be scored."""
    scoring_input = resolve(context.observations, context.predictions, source, champion.number, context.now)
    count = "" if scoring_input.end is None else f", {many(scoring_input.end - scoring_input.start, 'row')} to go"
    run_logger(context.spec.name, version=champion.number).info(
        "input: %s for version %d%s", scoring_input.name, champion.number, count
    )
    return scoring_input


# No timeout of its own: Prefect cannot end a task in a thread, and would say so in a warning for every chunk.
@retried("predict-{chunk.number}")
def predict(job: ScoringJob, chunk: Chunk) -> ScoredChunk:
    """Check and predict one chunk; the version is loaded, and its hash checked, once a process."""
    return score_chunk(chunk, _load(job), job.stamp, job.settings.lake_uri)


def _load(job: ScoringJob) -> LoadedVersion:
    """The version of a job, loaded by one thread at a time.

    A function of its own: Dask sends a task with the names that it uses, and a lock cannot be sent.
    """
    with _loading:
        return _load_version(job.settings, job.model, job.stamp.version, job.sha256, job.spec_hash)


@lru_cache(maxsize=2)
def _load_version(settings: Settings, model: str, version: int, _sha256: str, _spec_hash: str) -> LoadedVersion:
    """Load a version; it is loaded again whenever the model file or the stored pipeline changed."""
    spec, registry = models.load(model, settings.models).spec, Registry(settings)
    return LoadedVersion(spec, scoring_schema(spec), registry.load(registry.get(model, version), spec))


@retried("commit-{scored.chunk.number}", timeout_seconds=600)
def commit_chunk(context: RunContext, progress: Progress, scored: ScoredChunk, version: int) -> Progress:
    """Commit the next scored chunk."""
    after = commit.commit_chunk(context.predictions, context.quarantine, progress, scored, version)
    logger = run_logger(context.spec.name, version=version)
    logger.debug("score: %s scored, %d in quarantine", many(after.rows_scored, "row"), after.rows_rejected)
    return after


@retried("reject-input", timeout_seconds=600)
def reject_input(context: RunContext, scoring_input: ScoringInput, problem: str) -> None:
    """Record that an input was rejected as a whole."""
    commit.reject_input(context.quarantine, scoring_input, problem, context.spec, context.now)
    run_logger(context.spec.name).warning("quarantine: %s", problem)


@retried("close-batch", timeout_seconds=600)
def close_batch(context: RunContext, progress: Progress) -> Progress:
    """Record that a batch is complete."""
    closed = context.predictions.close(progress)
    rows = many(closed.rows_in, "row")
    run_logger(context.spec.name).info(
        "score: %d of %s, %d in quarantine", closed.rows_scored, rows, closed.rows_rejected
    )
    return closed


def progress_bar(environment: str, model: str, scoring_input: ScoringInput) -> Callable[[Progress], None]:
    """A function that shows progress as a bar among the run's artifacts, if the number of rows is known."""
    total = 0 if scoring_input.end is None else scoring_input.end - scoring_input.start
    if not total:
        return lambda _progress: None
    bar: Any = None
    shown_tenths = 0

    def show(progress: Progress) -> None:
        nonlocal bar, shown_tenths
        tenths = (progress.next_row - scoring_input.start) * 10 // total
        # One call for each tenth, so that many small chunks are not slowed down by their own report. None before the
        # first chunk is done: by then the chunks that follow are on their way.
        if bar is None:
            bar = create_progress_artifact(10.0 * tenths, artifact(environment, "scoring", model))
        elif tenths > shown_tenths:
            update_progress_artifact(bar, progress=10.0 * tenths)
        shown_tenths = tenths

    return show
