"""The open canaries of a model as anybody may see them; nothing is changed."""

from __future__ import annotations

from datetime import datetime

from evergreen.canary.canary_ledger import CanaryState, open_canaries
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
    states = [state for state in open_canaries(ledger) if state.end is None and not state.answered]
    if not states:
        return ()
    stores = Stores(spec, registry, Promotions(lake, spec.name), ledger)
    read = evidence_reader(Observations(lake, spec), ComparisonLog(lake, spec), registry, now)
    return tuple(describe_look(spec, preview_canary(stores, state, read, now=now)) for state in states)


def describe_ended(spec: ModelSpec, state: CanaryState) -> CanaryReport:
    """How a canary that is over ended."""
    return describe_look(spec, Look(state, ()))
