"""The series that Evergreen tells Prometheus, and their labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from prometheus_client.metrics_core import Metric

from deployments.stack.health import WorkerState
from deployments.stack.loop_monitor import LoopMonitor, LoopSnapshot
from evergreen.naming import METRIC_PREFIX
from evergreen.runs.loop_metrics import FAMILIES
from evergreen.settings import Settings


def labels_of(families: Iterable[Metric]) -> Iterator[tuple[str, set[str]]]:
    """Each series of some families by its name, with the labels that its samples have."""
    for family in families:
        known = {name for sample in family.samples for name in sample.labels}
        if family.type == "histogram":
            yield from ((family.name + end, known) for end in ("_bucket", "_count", "_sum"))
        else:
            yield family.name + ("_total" if family.type == "counter" else ""), known


def loop_labels(settings: Settings) -> Mapping[str, set[str]]:
    """Of the pages, with everything that they can tell."""
    settings.root.mkdir(parents=True, exist_ok=True)
    monitor, now = LoopMonitor(settings), datetime.now(UTC)
    monitor.snapshot = LoopSnapshot(now, 0.1, (), {}, True, WorkerState(True, now))
    of_models = {METRIC_PREFIX + name: {"model", *labels.split()} for name, (labels, _) in FAMILIES.items()}
    return dict(labels_of(monitor.collect())) | of_models
