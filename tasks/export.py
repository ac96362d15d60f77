"""Write a scored batch to where somebody reads it. Writing it again leaves it there once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect.logging import get_run_logger

from evergreen.data.prediction_log import PredictionLog, Progress
from evergreen.runs.context import Workspace
from evergreen.scoring.export import export_batch
from tasks import retried


@retried("export", timeout_seconds=3 * 3600)
def export(workspace: Workspace, batch: str, target: str) -> str:
    """Write a scored batch to a target; returns the target as it may be shown."""
    log = PredictionLog(workspace.settings.lake_uri, workspace.spec)
    name = export_batch(log, batch, target, workspace.spec, _classes(workspace, log.progress(batch)))
    get_run_logger().info("export: %s", name)
    return name


def _classes(workspace: Workspace, progress: Progress) -> Mapping[int, Sequence[Any]] | None:
    """What the probabilities stand for, by version; None where the log says it itself.

    The log knows one order of the classes for a batch, for as long as its commits are remembered; a batch that went on
    after a promotion has another order for each version.
    """
    spec, registry = workspace.spec, workspace.registry
    if spec.task == "regression" or (progress.classes and len(progress.scored) == 1):
        return None
    loaded = {number: registry.load(registry.get(spec.name, number), spec) for number in progress.scored}
    return {number: one.classes_.tolist() for number, one in loaded.items() if hasattr(one, "predict_proba")}
