"""The series that the code exposes: their names and labels, as Prometheus sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from deployments.stack.health import WorkerState
from deployments.stack.loop_monitor import LoopMonitor, LoopSnapshot
from evergreen.settings import Settings
from serving.app import App

SCRAPED = {"instance", "job"}
"""Labels that Prometheus adds."""
OF_PROMETHEUS: Mapping[str, frozenset[str]] = {"up": frozenset()}
"""Series that Prometheus makes itself."""


def loop_series(settings: Settings) -> Mapping[str, frozenset[str]]:
    """Of the pages' server."""
    settings.root.mkdir(parents=True, exist_ok=True)
    monitor = LoopMonitor(settings)
    now = datetime.now(UTC)
    monitor.snapshot = LoopSnapshot(now, 0.1, (), {}, True, WorkerState(True, now))
    return series_of(monitor.collect())


def serving_series(app: App) -> Mapping[str, frozenset[str]]:
    """Of the server of predictions."""
    return series_of(app.metrics.registry.collect())


def series_of(families: Iterable[Any]) -> Mapping[str, frozenset[str]]:
    """The labels of each series, by its name; those of a family without a value too."""
    found: dict[str, frozenset[str]] = {}
    for family in families:
        labels = frozenset(getattr(family, "_labelnames", ()) or ())
        names = {
            "counter": [f"{family.name}_total"],
            "histogram": [f"{family.name}_{part}" for part in ("bucket", "count", "sum")],
        }.get(family.type, [family.name])
        found |= {name: labels | ({"le"} if name.endswith("_bucket") else set()) for name in names}
    return found
