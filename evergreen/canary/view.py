"""The open canaries of a model as anybody may see them; nothing is changed."""

from __future__ import annotations

from datetime import datetime

from evergreen.canary.canary_ledger import open_canaries, read_canaries
from evergreen.canary.evidence import evidence_reader
from evergreen.canary.moves import Look, Stores, preview_canary
from evergreen.canary.report import CanaryReport, describe_look
from evergreen.data.comparison_log import ComparisonLog
from evergreen.data.observations import Observations
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Promotions
from evergreen.registry.client import Registry
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec


def view_canaries(
    settings: Settings, spec: ModelSpec, registry: Registry, *, now: datetime
) -> tuple[CanaryReport, ...]:
    """Where the open canaries stand at `now` (aware), as a look would find them."""
    lake = settings.lake_uri
    ledger = Decisions(lake, spec.name)
    states = [state for state in open_canaries(ledger) if state.is_open]
    if not states:
        return ()
    stores = Stores(spec, registry, Promotions(lake, spec.name), ledger)
    read = evidence_reader(Observations(lake, spec), ComparisonLog(lake, spec), registry, now)
    return tuple(describe_look(spec, preview_canary(stores, state, read, now=now)) for state in states)


def newest_canary(settings: Settings, spec: ModelSpec, registry: Registry, *, now: datetime) -> CanaryReport | None:
    """The canary that is open, or else how the last one ended; None where there never was one."""
    views = view_canaries(settings, spec, registry, now=now)
    if views:
        return views[-1]
    ended = [state for state in read_canaries(Decisions(settings.lake_uri, spec.name)) if state.entries]
    return describe_look(spec, Look(ended[-1], ())) if ended else None
