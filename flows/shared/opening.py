"""The first steps of a flow: open the run's context, ingest new data, read the champion and the snapshot."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

import models
from evergreen import naming
from evergreen.data.snapshot import Snapshot
from evergreen.details.decision import Ingested
from evergreen.errors import EvergreenError
from evergreen.events import DATA_REJECTED, Event
from evergreen.ingest.landing import Landing, describe_unmatched
from evergreen.registry.client import Registry
from evergreen.registry.promotion import require_consistent
from evergreen.registry.version import Version
from evergreen.runs.context import RunContext
from evergreen.runs.results import describe_landing
from evergreen.settings import Settings, load_settings
from evergreen.timestamps import as_utc
from flows.shared.lineage import begin_run, ingest_run
from tasks import run_logger
from tasks.announce import announce
from tasks.ingest import ingest


def own_settings() -> Settings:
    """The settings of this run.

    Raises:
        EvergreenError: its deployment is another environment's than the settings say: a worker took it up that was
            started for this one.
    """
    settings = load_settings()
    other = naming.other_owner(settings.environment, flow_run.get_tags())
    if other is not None:
        raise EvergreenError(
            f"This run has the tag {other}, and EVERGREEN_ENVIRONMENT is {settings.environment!r}: it is another "
            "environment's, and nothing was done.",
            f"Start the worker of the pool {other} with the settings of its environment.",
        )
    return settings


def open_run(model: str, at: datetime | None = None) -> RunContext:
    """Build this run's context from the settings and the model file; `at` is its logical time, by default now."""
    settings = own_settings()
    begin_run(settings)
    loaded = models.load(model, settings.models)
    _tag_run(settings.environment, model)
    now = datetime.now(UTC) if at is None else as_utc(at)
    run = str(flow_run.get_id() or "")
    registry = Registry(settings)
    return RunContext(loaded.spec, loaded.hash, settings, registry, now, run, live=at is None, recipe=loaded.recipe)


def _tag_run(environment: str, model: str) -> None:
    """Tag the flow run but not its tasks: Prefect requests a concurrency slot for each tagged task."""
    run = flow_run.get_id()
    if run is not None:
        with get_client(sync_client=True) as client:
            client.update_flow_run(UUID(run), tags={*flow_run.get_tags(), *naming.run_tags(environment, model)})


def ingest_new_data(context: RunContext) -> Ingested:
    """Ingest new data and announce the batches with rejected rows."""
    with ingest_run(context) as tell:
        landing, cached = _ingest(context)
        tell(None if cached else landing)
    if cached:
        run_logger(context.spec.name).info("ingest: nothing new, nothing read")
    else:
        for report in landing.quarantined:
            payload = {
                "batch": report.batch,
                "origin": report.origin,
                "rows": report.rejected,
                "reason": report.problem,
            }
            announce(context.settings.environment, Event(DATA_REJECTED, context.spec.name, payload))
    unmatched = describe_unmatched(context.spec.source, context.settings.landing)
    if unmatched:
        run_logger(context.spec.name).warning("ingest: %s", unmatched)
    return describe_landing(landing, cached=cached, unmatched=unmatched)


def _ingest(context: RunContext) -> tuple[Landing, bool]:
    """Ingest, and whether that was done by an earlier run, whose result Prefect has stored.

    An earlier run that left the table at a later version than it has now wrote to a lake that was replaced by an older
    copy since: what it landed is not there any more.
    """
    state = ingest(context, return_state=True)
    landing: Landing = state.result()
    cached = state.name == "Cached"
    if cached and landing.version > context.observations.version():
        return ingest.with_options(refresh_cache=True)(context), False
    return landing, cached


def champion_and_snapshot(context: RunContext) -> tuple[Version | None, Snapshot]:
    """The champion, None before the first promotion, and the current snapshot of the observations."""
    champion = context.registry.champion(context.spec.name)
    require_consistent(context.registry, champion, context.promotions)
    return champion, context.observations.snapshot()
