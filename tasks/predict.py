"""Score an input: find it, predict its chunks beside each other, commit them in their order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.logging import get_run_logger

import models
from evergreen.data.contract import scoring_schema
from evergreen.data.prediction_log import PredictionLog, Progress
from evergreen.naming import artifact
from evergreen.registry.client import Registry
from evergreen.registry.version import Version
from evergreen.runs.context import Workspace
from evergreen.scoring import commit
from evergreen.scoring.chunk import LoadedVersion, Scored, Stamp, score_chunk
from evergreen.scoring.input import Chunk, Input, resolve
from evergreen.settings import Settings
from tasks import retried

_opening = threading.Lock()


class Errand:
    """What a task in another process needs to score a chunk; a plain class, as `Workspace`.

    Attributes:
        settings: where things live.
        model: its name; the model file is read where the task runs.
        spec_hash: of the model file's code.
        sha256: of the champion's stored pipeline.
        stamp: what every prediction bears.
    """

    __slots__ = ("model", "settings", "sha256", "spec_hash", "stamp")

    def __init__(self, workspace: Workspace, found: Input, champion: Version) -> None:
        self.settings = workspace.settings
        self.model = workspace.spec.name
        self.spec_hash = workspace.spec_hash
        self.sha256 = champion.tags.sha256
        self.stamp = Stamp(found.batch, found.name, champion.number, workspace.flow_run, workspace.now)


@retried("take", timeout_seconds=1800)
def take(workspace: Workspace, champion: Version, source: str | None) -> Input:
    """What is to be scored."""
    found = resolve(workspace.spec, workspace.settings, source, champion.number, workspace.now)
    known = "" if found.end is None else f", {found.end - found.start} rows to go"
    get_run_logger().info("take: %s for version %d%s", found.name, champion.number, known)
    return found


# No timeout of its own: Prefect cannot end a task in a thread, and would say so in a warning for every chunk.
@retried("predict-{chunk.number}")
def predict(errand: Errand, chunk: Chunk) -> Scored:
    """Check and predict one chunk; the version is loaded, and its hash checked, once a process."""
    return score_chunk(chunk, _ready(errand), errand.stamp, errand.settings.lake_uri)


def _ready(errand: Errand) -> LoadedVersion:
    """What the errand needs, opened by one thread at a time.

    Apart from the task: Dask sends a task with the names that it uses, and a lock cannot be sent.
    """
    with _opening:
        return _equipped(errand.settings, errand.model, errand.stamp.version, errand.sha256, errand.spec_hash)


@lru_cache(maxsize=2)
def _equipped(settings: Settings, model: str, version: int, _sha256: str, _spec_hash: str) -> LoadedVersion:
    """Loaded anew whenever the model file or the stored pipeline is another one."""
    spec, registry = models.load(model, settings.models).spec, Registry(settings)
    return LoadedVersion(spec, scoring_schema(spec), registry.load(registry.get(model, version), spec))


@retried("keep-{scored.chunk.number}", timeout_seconds=600)
def keep(workspace: Workspace, progress: Progress, scored: Scored, version: int) -> Progress:
    """Commit what became of the next chunk."""
    log = PredictionLog(workspace.settings.lake_uri, workspace.spec)
    after = commit.keep(log, workspace.settings, progress, scored, version)
    get_run_logger().debug("score: %d rows scored, %d in quarantine", after.rows_scored, after.rows_rejected)
    return after


@retried("refuse", timeout_seconds=600)
def refuse(workspace: Workspace, found: Input, problem: str) -> None:
    """Note that an input was refused as a whole."""
    commit.refuse(found, problem, workspace.spec, workspace.settings, workspace.now)
    get_run_logger().warning("quarantine: %s", problem)


@retried("close", timeout_seconds=600)
def close(workspace: Workspace, progress: Progress) -> Progress:
    """Say that a batch is complete."""
    closed = PredictionLog(workspace.settings.lake_uri, workspace.spec).close(progress)
    get_run_logger().info(
        "score: %d of %d rows, %d in quarantine", closed.rows_scored, closed.rows_in, closed.rows_rejected
    )
    return closed


def show_progress(model: str, found: Input) -> Callable[[Progress], None]:
    """A progress bar among the run's artifacts, where it is known how many rows there are."""
    total = 0 if found.end is None else found.end - found.start
    if not total:
        return lambda _progress: None
    bar: Any = None
    told = 0

    def show(progress: Progress) -> None:
        nonlocal bar, told
        tenths = (progress.next_row - found.start) * 10 // total
        # A call for each tenth, so that many small chunks are not slowed by their own report; and none before the first
        # chunk is done, for those that come after it are on their way by then.
        if bar is None:
            bar = create_progress_artifact(10.0 * tenths, artifact("scoring", model))
        elif tenths > told:
            update_progress_artifact(bar, progress=10.0 * tenths)
        told = tenths

    return show
