"""Prefect automations beyond the deployments' own triggers: who is told of what, and what is swept.

Upserted by name: an automation keeps its id, and what a person switched off stays off. One that is as it should be is
not written again, because Prefect then forgets what its trigger has counted. `deployments/notices.py` says what is
told, `deployments/notifying.py` to whom. With nobody to tell there are no notices, and only dead runs are swept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from deployments.automations.alerts import OVER, PREFIX, RESTING, RUN, Notice, notices, silence, tagged
from deployments.automations.channels import channels, forget
from evergreen.errors import EvergreenError
from evergreen.events import DRIFT_AWAITED, Event
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.events.actions import ActionTypes
    from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger

T = TypeVar("T")
FIND, END = SWEEP = ("dead-run-found", "dead-run-ended")
_FOUND = "NoHeartbeat"
HEARTBEAT = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"
_PREFECTS_HEARTBEAT = 180
_MISSED = 3
"""So many heartbeats have to be missing: a busy machine is late with one."""
_PAGE = 200


@dataclass(frozen=True, slots=True)
class Synced:
    """What a sync did, by name."""

    made: tuple[str, ...]
    changed: tuple[str, ...]
    left: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listed:
    """An automation as it stands."""

    name: str
    on: bool
    description: str


def sync(settings: Settings) -> Synced:
    """Make Prefect's automations what the settings and the model files ask for.

    Raises:
        EvergreenError: EVERGREEN_NOTIFY or a model file is at fault, or there is no server.
    """
    import models

    specs = tuple(models.load(name, settings.models).spec for name in models.names(settings.models))
    with _server() as client:
        told = channels(settings.notify.get_secret_value(), client)
        wanted = _sweep(_slowest_heartbeat(client))
        if told:
            wanted += [_notice(one, told) for one in notices(specs)]
        synced = _apply(client, wanted)
        forget(client, told)
    _await_reports(specs, {*synced.made, *synced.changed})
    return synced


def list_all() -> tuple[Listed, ...]:
    """Evergreen's automations on the server, by name."""
    with _server() as client:
        return tuple(
            Listed(name, found.enabled, found.description) for name, found in sorted(_existing(client).items())
        )


def switch(name: str, on: bool) -> Listed:
    """Switch an automation on or off.

    Raises:
        EvergreenError: there is none of that name, or no server.
    """
    short = name.removeprefix(PREFIX)
    with _server() as client:
        existing = _existing(client)
        if short not in existing:
            raise EvergreenError(
                f"There is no automation {short[:60]!a}; there are: {', '.join(sorted(existing)) or 'none'}.",
                "Run: evergreen automations sync",
            )
        found = existing[short]
        if found.enabled is not on:
            # Written whole, not resumed: what it had counted before it was switched off would fire at once.
            _write(client, found, found.model_copy(update={"enabled": on}))
    if on and not found.enabled and short.startswith(silence("")):
        _emit(short.removeprefix(silence("")))
    return Listed(short, on, found.description)


@contextmanager
def _server() -> Iterator[SyncPrefectClient]:
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    if not url:
        raise EvergreenError("Automations live on a Prefect server, and none is set.", "Run: evergreen up")
    try:
        with get_client(sync_client=True) as client:
            yield client
    except httpx.TransportError as error:
        raise EvergreenError(
            f"The Prefect server at {url} does not answer ({type(error).__name__}).",
            "Start it: evergreen up; or set PREFECT_API_URL.",
        ) from None


def _core(name: str, description: str, trigger: EventTrigger, actions: list[ActionTypes]) -> AutomationCore:
    from prefect.events.schemas.automations import AutomationCore

    return AutomationCore(
        name=f"{PREFIX}{name}", description=description, tags=["evergreen"], trigger=trigger, actions=actions
    )


def _notice(notice: Notice, blocks: tuple[UUID, ...]) -> AutomationCore:
    from prefect.events.actions import SendNotification

    return _core(
        notice.name,
        notice.description,
        notice.trigger,
        [SendNotification(block_document_id=block, subject=notice.subject, body=notice.body) for block in blocks],
    )


def _sweep(heartbeat: int) -> list[AutomationCore]:
    """Crash a run that began and neither ended nor gave a sign of life; this frees the slot it held.

    In two steps, because heartbeats may arrive after the end that they preceded. The server pauses only what is
    running: a run that has ended or was suspended is refused, while it would let a suspended one be crashed.
    """
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import EventTrigger, Posture

    sign = f"{RUN}heartbeat"
    within = timedelta(seconds=_MISSED * heartbeat)
    silent = EventTrigger(
        after={sign, f"{RUN}Running"},
        expect={sign, *OVER, *RESTING},
        match={"prefect.resource.id": f"{RUN}*"},
        match_related=tagged(),
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        within=within,
    )
    found = EventTrigger(
        expect={f"{RUN}{_FOUND}"},
        match={"prefect.resource.id": f"{RUN}*"},
        match_related=tagged(),
        posture=Posture.Reactive,
    )
    message = f"No heartbeat for {within.total_seconds():.0f} s: its process is gone."
    find = ChangeFlowRunState(state=StateType.PAUSED, name=_FOUND, message=message)
    end = ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message=message)
    return [
        _core(FIND, f"a running run without a heartbeat for {within.total_seconds():.0f} s", silent, [find]),
        _core(END, "what was found dead is crashed", found, [end]),
    ]


def _slowest_heartbeat(client: SyncPrefectClient) -> int:
    """Seconds between heartbeats of the deployment that sends the fewest; Prefect's own where one does not say."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags

    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=["evergreen"]))
    found = _pages(lambda offset: client.read_deployments(deployment_filter=ours, limit=_PAGE, offset=offset))
    said = [int((one.job_variables or {}).get("env", {}).get(HEARTBEAT, _PREFECTS_HEARTBEAT)) for one in found]
    return max(said, default=_PREFECTS_HEARTBEAT)


def _existing(client: SyncPrefectClient) -> dict[str, Automation]:
    found = _pages(lambda offset: client.read_automations(limit=_PAGE, offset=offset))
    return {one.name.removeprefix(PREFIX): one for one in found if one.name.startswith(PREFIX)}


def _apply(client: SyncPrefectClient, wanted: Iterable[AutomationCore]) -> Synced:
    existing = _existing(client)
    made, changed, left = [], [], []
    for core in wanted:
        name = core.name.removeprefix(PREFIX)
        found = existing.pop(name, None)
        if found is None:
            client.create_automation(core)
            made.append(name)
        elif _content(found) == _content(core):
            left.append(name)
        else:
            _write(client, found, core.model_copy(update={"enabled": found.enabled}))
            changed.append(name)
    for found in existing.values():
        client.delete_automation(found.id)
    return Synced(tuple(made), tuple(changed), tuple(left), tuple(existing))


def _write(client: SyncPrefectClient, found: Automation, core: AutomationCore) -> None:
    from prefect.events.schemas.automations import AutomationCore

    # The client sends only what was set: built anew from everything, so that defaults are sent too.
    whole = AutomationCore.model_validate(core.model_dump(exclude={"id", "owner_resource"}))
    client.update_automation(found.id, whole)


def _content(automation: AutomationCore) -> tuple[object, ...]:
    return automation.description, automation.tags, automation.trigger, automation.actions


def _pages(read: Callable[[int], Sequence[T]]) -> list[T]:
    found: list[T] = []
    while page := read(len(found)):
        found += page
    return found


def _await_reports(specs: Iterable[ModelSpec], fresh: Collection[str]) -> None:
    """Start the clock of models whose notice of silence is new: the first report is awaited too."""
    for spec in specs:
        if silence(spec.name) in fresh:
            _emit(spec.name)


def _emit(model: str) -> None:
    from prefect.events import emit_event

    event = Event(DRIFT_AWAITED, model, {})
    emit_event(event=event.name, resource=event.resource)
