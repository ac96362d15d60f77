"""Tell Prometheus how the loop stands: from a snapshot that is made in the background while somebody asks for it.

A scrape answers in milliseconds from what was read last, opens no table, and asks for the next snapshot. Where nobody
scrapes, nothing is read.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

import models
from deployments.stack.health import WorkerState, worker_state
from deployments.stack.services import read_ports
from evergreen.errors import EvergreenError
from evergreen.naming import METRIC_PREFIX
from evergreen.prometheus import gauge, in_environment, process_registry
from evergreen.registry.client import Registry
from evergreen.registry.version import CHAMPION
from evergreen.runs.loop_facts import LoopFacts, read_facts, stored_state
from evergreen.runs.loop_metrics import loop_families
from evergreen.settings import Settings

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

MIN_SECONDS = 10.0
"""A snapshot is made anew when it is this old: Prometheus asks every 15 seconds."""
_SHARE = 0.1
"""Of a processor that making snapshots may take: one that took long is kept for longer."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoopSnapshot:
    """How everything stood.

    Attributes:
        at: when it had been read (aware).
        seconds: that this took.
        models: by name.
        aliases: the version that the registry names champion, by model; None where the registry cannot be read.
        registry_read: it was looked at: where no model has a champion there may be none yet.
        worker: what the local stack's Prefect server says; None without a local stack.
    """

    at: datetime
    seconds: float
    models: tuple[LoopFacts, ...]
    aliases: Mapping[str, int] | None
    registry_read: bool
    worker: WorkerState | None


class LoopMonitor:
    """Reads snapshots, and collects from the newest of them.

    Attributes:
        settings: where things live.
        snapshot: the newest; None before the first.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.snapshot: LoopSnapshot | None = None
        self._registry = Registry(settings)
        self._known: dict[str, tuple[object, LoopFacts]] = {}
        self._lock = threading.Lock()
        self._reading: threading.Thread | None = None
        self._due = 0.0
        self._metrics = process_registry()
        self._metrics.register(self)

    def text(self) -> bytes:
        """All series in the text format, of the newest snapshot; asks for another one where that is old."""
        from prometheus_client import generate_latest

        self.refresh()
        return generate_latest(self._metrics)

    def refresh(self) -> threading.Thread | None:
        """Begin to read a snapshot where it is due; returns the thread that reads one, if any does."""
        with self._lock:
            running = self._reading is not None and self._reading.is_alive()
            if not running and time.monotonic() >= self._due:
                self._reading = threading.Thread(target=self._read, name="loop-snapshot", daemon=True)
                self._reading.start()
                running = True
            return self._reading if running else None

    def collect(self) -> Iterator[Metric]:
        """The families of series, as the client library asks for them."""
        yield gauge(
            f"{METRIC_PREFIX}build_info", "1 for the version of Evergreen.", "version", [((version("evergreen"),), 1)]
        )
        now = self.snapshot
        if now is None:
            return
        yield from _of_snapshot(now)
        yield from _of_disk(self.settings)
        if now.worker is not None:
            yield from _of_worker(now.worker)
        yield from in_environment(self.settings.environment, loop_families(now.models, now.aliases))

    def _read(self) -> None:
        began = time.monotonic()
        try:
            facts = tuple(self._facts_of(name) for name in models.names(self.settings.models))
            has_champion = any(each.ledger.champion is not None for each in facts)
            aliases = self._aliases() if has_champion else {}
            ports = read_ports(self.settings)
            worker = worker_state(self.settings, ports) if ports is not None else None
            took = time.monotonic() - began
            self.snapshot = LoopSnapshot(datetime.now(UTC), took, facts, aliases, has_champion, worker)
        except Exception:
            # The age of the snapshot says so as well; without this nobody would know why.
            _log.exception("The snapshot for /metrics could not be made; the last one is told on.")
        self._due = began + max(MIN_SECONDS, (time.monotonic() - began) / _SHARE)

    def _facts_of(self, model: str) -> LoopFacts:
        """What is stored of a model, read again only where something was written."""
        try:
            state = stored_state(self.settings, model)
        except EvergreenError as error:
            return LoopFacts(model, problem=str(error))
        known = self._known.get(model)
        if known is None or known[0] != state:
            load = partial(models.load_spec, folder=self.settings.models)
            known = state, read_facts(self.settings, model, load)
            self._known[model] = known
        return known[1]

    def _aliases(self) -> Mapping[str, int] | None:
        try:
            return self._registry.named_by(CHAMPION)
        except EvergreenError as error:
            _log.warning("The registry cannot be read for /metrics: %s", error)
            return None


def _of_snapshot(now: LoopSnapshot) -> Iterator[Metric]:
    text = "When the loop's series were read, as Unix time."
    yield gauge(f"{METRIC_PREFIX}snapshot_timestamp_seconds", text, "", [((), now.at.timestamp())])
    text = "What it took to read them."
    yield gauge(f"{METRIC_PREFIX}snapshot_duration_seconds", text, "", [((), now.seconds)])
    if now.registry_read:
        text = "1 where the registry can be read."
        yield gauge(f"{METRIC_PREFIX}registry_readable", text, "", [((), now.aliases is not None)])


def _of_disk(settings: Settings) -> Iterator[Metric]:
    try:
        disk = shutil.disk_usage(settings.root)
    except OSError:
        # Nothing was ever stored, or the disk is gone: what cannot be measured is not told.
        return
    text = "Free room on the disk of the state folder."
    yield gauge(f"{METRIC_PREFIX}disk_free_bytes", text, "", [((), disk.free)])
    yield gauge(f"{METRIC_PREFIX}disk_size_bytes", "All room on it.", "", [((), disk.total)])


def _of_worker(worker: WorkerState) -> Iterator[Metric]:
    text = "1 where the local Prefect server answers."
    yield gauge(f"{METRIC_PREFIX}prefect_reachable", text, "", [((), worker.reachable)])
    if worker.heartbeat is not None:
        text = "When a worker of the pool was last heard of, as Unix time."
        yield gauge(
            f"{METRIC_PREFIX}worker_heartbeat_timestamp_seconds", text, "", [((), worker.heartbeat.timestamp())]
        )
