"""What Prometheus is told, in its own text format: families of series with their values.

Labels are names of models, columns and flows, numbers of versions, aliases and words of a fixed set: never a value of a
row, an id or a path that a client chose.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from evergreen.naming import registered_model

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of the text format, by which Prometheus chooses how it reads it."""

Values = Iterable[tuple[tuple[str, ...], float]]
"""The values of the labels, and the value."""


def process_registry() -> CollectorRegistry:
    """A registry with what this process takes of the machine, and nothing else.

    The one of the library is shared by all that a process holds, which may be several applications.
    """
    from prometheus_client import CollectorRegistry, ProcessCollector

    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


def counter(name: str, text: str, labels: str, values: Values) -> Metric:
    """Series that only grow, but for a restart; `labels` are their names with spaces between."""
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(name, text, labels=labels.split())
    for at, value in values:
        family.add_metric(at, value)
    return family


def gauge(name: str, text: str, labels: str, values: Values) -> Metric:
    """Series that go up and down; `labels` are their names with spaces between."""
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, text, labels=labels.split())
    for at, value in values:
        family.add_metric(at, float(value))
    return family


def in_environment(environment: str, families: Iterable[Metric]) -> Iterator[Metric]:
    """The families with each model called as in MLflow, so that one Prometheus can see several environments."""
    for family in families:
        if environment:
            family.samples = [
                sample._replace(labels=sample.labels | {"model": registered_model(environment, sample.labels["model"])})
                if "model" in sample.labels
                else sample
                for sample in family.samples
            ]
        yield family
