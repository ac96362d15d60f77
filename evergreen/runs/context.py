"""What every step of a run works with: the model, where things live, the registry, and what time it is."""

from __future__ import annotations

from datetime import UTC, datetime

from evergreen.data.observations import Observations
from evergreen.registry.client import Registry
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec


class Workspace:
    """The surroundings of one run. A plain class: an orchestrator that walks through dataclasses leaves it alone.

    Attributes:
        spec: the model.
        spec_hash: of the model file's code.
        settings: where things live.
        registry: the model registry.
        now: the run's logical time (aware, UTC): what became known later does not count.
        flow_run: the Prefect flow run's id; empty outside of one.
        live: `now` is when the run began; otherwise it was given, and the run is about the past.
    """

    __slots__ = ("flow_run", "live", "now", "registry", "settings", "spec", "spec_hash")

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
    ) -> None:
        self.spec = spec
        self.spec_hash = spec_hash
        self.settings = settings
        self.registry = registry
        self.now = now
        self.flow_run = flow_run
        self.live = live

    def moment(self) -> datetime:
        """When something is done: a training may take hours after its run's own time."""
        return datetime.now(UTC) if self.live else self.now

    @property
    def observations(self) -> Observations:
        """The model's observations."""
        return Observations(self.settings.lake_uri, self.spec)
