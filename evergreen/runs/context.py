"""What every step of a run works with: the model, its stores, and what time it is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import cached_property

from evergreen.data.comparison_log import ComparisonLog
from evergreen.data.observations import Observations
from evergreen.data.prediction_log import PredictionLog
from evergreen.data.request_log import RequestLog
from evergreen.ingest.quarantine import quarantine_table
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Promotions
from evergreen.registry.client import Registry
from evergreen.runs.recorder import DecisionRecorder
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.storage.delta_table import Table
from evergreen.storage.kept_files import KeptFiles
from evergreen.storage.locks import Held, Locks, open_locks

LOCK_WAIT = 30.0
"""Seconds that a move of the champion waits for another one to end."""


class RunContext:
    """The surroundings of one run. Each store is opened once, when it is first needed.

    A plain class: an orchestrator that walks through dataclasses leaves it alone.

    Attributes:
        spec: the model.
        spec_hash: of the model file's code.
        settings: where things live.
        registry: the model registry.
        now: the run's logical time (aware, UTC): what became known later does not count.
        flow_run: the Prefect flow run's id; empty outside of one.
        live: `now` is when the run began; otherwise it was given, and the run is about the past.
        recipe: of the model file; empty where it is not known.
    """

    def __init__(
        self,
        spec: ModelSpec,
        spec_hash: str,
        settings: Settings,
        registry: Registry,
        now: datetime,
        flow_run: str = "",
        *,
        live: bool = True,
        recipe: str = "",
    ) -> None:
        self.spec = spec
        self.spec_hash = spec_hash
        self.settings = settings
        self.registry = registry
        self.now = now
        self.flow_run = flow_run
        self.live = live
        self.recipe = recipe
        self._cpu_before = _used_cpu()
        self._held: Held | None = None

    @property
    def cpu_seconds(self) -> float:
        """What this process, and those that it started and that have ended, took of the processors since this began."""
        return _used_cpu() - self._cpu_before

    def moment(self) -> datetime:
        """When something is done: a training may take hours after its run's own time."""
        return datetime.now(UTC) if self.live else self.now

    @contextmanager
    def hold(self, purpose: str, *, wait: float) -> Iterator[None]:
        """Hold the model's lock for a purpose while this run works; see `Locks.hold`."""
        with self.locks.hold(self.spec.name, purpose, wait=wait, now=self.now) as held:
            self._held = held
            try:
                yield
            finally:
                self._held = None

    def require_held(self) -> None:
        """Refuse a write where this run has lost the lock that it works under.

        Raises:
            BusyError, EvergreenError: as in `Held.require`.
        """
        if self._held is not None:
            self._held.require()

    def promotion_lock(self, now: datetime) -> AbstractContextManager[object]:
        """The lock under which the champion is moved, not held yet."""
        return self.locks.hold(self.spec.name, "promotion", wait=LOCK_WAIT, now=now)

    @cached_property
    def locks(self) -> Locks:
        """The locks that guard the model's state."""
        return open_locks(self.settings)

    @cached_property
    def observations(self) -> Observations:
        """The model's observations."""
        return Observations(self.settings.lake_uri, self.spec)

    @cached_property
    def ledger(self) -> Decisions:
        """The model's decisions."""
        return Decisions(self.settings.lake_uri, self.spec.name)

    @cached_property
    def promotions(self) -> Promotions:
        """The model's log of promotions."""
        return Promotions(self.settings.lake_uri, self.spec.name)

    @cached_property
    def predictions(self) -> PredictionLog:
        """What the model predicted."""
        return PredictionLog(self.settings.lake_uri, self.spec)

    @cached_property
    def comparisons(self) -> ComparisonLog:
        """What champion and challenger predicted for the same rows."""
        return ComparisonLog(self.settings.lake_uri, self.spec)

    @cached_property
    def requests(self) -> RequestLog:
        """What the model was asked online."""
        return RequestLog(self.settings.lake_uri, self.spec)

    @property
    def quarantine(self) -> Table:
        """What was refused."""
        return quarantine_table(self.settings.lake_uri, self.spec.name)

    @cached_property
    def kept_files(self) -> KeptFiles:
        """Drift reports, and batches that were refused."""
        return KeptFiles(self.settings.report_place)

    @property
    def recorder(self) -> DecisionRecorder:
        """Keeps this run's decisions."""
        return DecisionRecorder(self.spec, self.ledger, self.now, self.flow_run)


def _used_cpu() -> float:
    user, system, children_user, children_system, _ = os.times()
    return user + system + children_user + children_system
