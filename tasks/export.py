"""Export a scored batch to where it is read. Exporting it again leaves it there once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evergreen.data.prediction_log import Progress
from evergreen.runs.context import RunContext
from evergreen.scoring.export import export_batch
from tasks import retried, run_logger


@retried("export", timeout_seconds=3 * 3600)
def export(context: RunContext, batch: str, destination: str) -> str:
    """Write a scored batch to a destination; returns the destination as it may be shown."""
    log = context.predictions
    name = export_batch(
        context.settings.environment, log, batch, destination, context.spec, _classes(context, log.progress(batch))
    )
    run_logger(context.spec.name).info("export: %s", name)
    return name


def _classes(context: RunContext, progress: Progress) -> Mapping[int, Sequence[Any]] | None:
    """The classes of the probabilities, by version; None if the log has stored them.

    The log stores one order of the classes for a batch, for as long as Delta remembers its commits. A batch that
    continued after a promotion has an order for each version.
    """
    spec, registry = context.spec, context.registry
    if spec.task == "regression" or (progress.classes and len(progress.scored) == 1):
        return None
    pipelines = {number: registry.load(registry.get(spec.name, number), spec) for number in progress.scored}
    return {
        number: pipeline.classes_.tolist()
        for number, pipeline in pipelines.items()
        if hasattr(pipeline, "predict_proba")
    }
