"""Prefect automations beside the deployments' own triggers: they send alerts and end dead runs.

They are updated by name. An automation keeps its id, and one that a person switched off stays off. One that is already
as it should be is not written again, because Prefect would forget what its trigger has counted. `alerts.py` says which
alerts there are, `channels.py` who gets them. If nobody does, there are only the automations that end dead runs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from deployments.automations.alerts import OVER, RESTING, RUN, Alert, alerts_of, run_tag_labels
from deployments.automations.channels import delete_other_channels, save_channels
from deployments.connection import open_client, read_deployments, read_pages
from evergreen import naming
from evergreen.errors import EvergreenError
from evergreen.events import DRIFT_AWAITED, Event
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.events.actions import ActionTypes
    from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger

FIND, END = SWEEP = ("dead-run-found", "dead-run-ended")
_FOUND = "NoHeartbeat"
HEARTBEAT = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"
_DEFAULT_HEARTBEAT = 180
_MISSED_HEARTBEATS = 3
"""A run counts as dead after this many missing heartbeats; on a busy machine one may be late."""
_PAGE_SIZE = 200


@dataclass(frozen=True, slots=True)
class Synced:
    """What a sync did, by name of the automation."""

    made: tuple[str, ...]
    changed: tuple[str, ...]
    left: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listed:
    """An automation on the server."""

    name: str
    on: bool
    description: str


def sync(settings: Settings) -> Synced:
    """Make Prefect's automations what the settings and the model files ask for.

    Raises:
        EvergreenError: EVERGREEN_NOTIFY or a model file has a mistake, or there is no server.
    """
    import models

    environment = settings.environment
    specs = tuple(models.load_spec(name, settings.models) for name in models.names(settings.models))
    with open_client("Automations") as client:
        blocks = save_channels(environment, settings.notify.get_secret_value(), client)
        wanted = _sweep_automations(environment, _slowest_heartbeat(client, environment))
        if blocks:
            wanted += [_alert_automation(environment, alert, blocks) for alert in alerts_of(environment, specs)]
        synced = _update(client, environment, wanted)
        delete_other_channels(environment, client, blocks)
    _start_silence_clocks(environment, specs, {*synced.made, *synced.changed})
    return synced


def list_all(environment: str) -> tuple[Listed, ...]:
    """The environment's automations on the server, sorted by name."""
    with open_client("Automations") as client:
        automations = sorted(_read_automations(client, environment).items())
    return tuple(Listed(name, automation.enabled, automation.description) for name, automation in automations)


def switch(environment: str, name: str, on: bool) -> Listed:
    """Switch an automation on or off.

    Raises:
        EvergreenError: there is none of that name, or no server.
    """
    short = name.removeprefix(naming.automation(environment, ""))
    with open_client("Automations") as client:
        automations = _read_automations(client, environment)
        if short not in automations:
            raise EvergreenError(
                f"There is no automation {short[:60]!a}; there are: {', '.join(sorted(automations)) or 'none'}.",
                "Choose one of them, or run: evergreen automations sync",
            )
        automation = automations[short]
        if automation.enabled is not on:
            # Written as a whole, not resumed: what it had counted before it was switched off would fire at once.
            _write(client, automation, automation.model_copy(update={"enabled": on}))
    silence = naming.silence_alert("")
    if on and not automation.enabled and short.startswith(silence):
        _emit_awaited(environment, short.removeprefix(silence))
    return Listed(short, on, automation.description)


def _automation(
    environment: str, name: str, description: str, trigger: EventTrigger, actions: list[ActionTypes]
) -> AutomationCore:
    from prefect.events.schemas.automations import AutomationCore

    return AutomationCore(
        name=naming.automation(environment, name),
        description=description,
        tags=[naming.tag(environment)],
        trigger=trigger,
        actions=actions,
    )


def _alert_automation(environment: str, alert: Alert, blocks: tuple[UUID, ...]) -> AutomationCore:
    from prefect.events.actions import SendNotification

    return _automation(
        environment,
        alert.name,
        alert.description,
        alert.trigger,
        [SendNotification(block_document_id=block, subject=alert.subject, body=alert.body) for block in blocks],
    )


def _sweep_automations(environment: str, heartbeat: int) -> list[AutomationCore]:
    """Crash a run that started and then neither ended nor sent a heartbeat; this frees the slot that it held.

    There are two steps, because heartbeats may arrive after the end that they preceded. The server pauses only what is
    running: it refuses for a run that has ended or was suspended, while it would crash a suspended one.
    """
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import EventTrigger, Posture

    sign = f"{RUN}heartbeat"
    within = timedelta(seconds=_MISSED_HEARTBEATS * heartbeat)
    silent = EventTrigger(
        after={sign, f"{RUN}Running"},
        expect={sign, *OVER, *RESTING},
        match={"prefect.resource.id": f"{RUN}*"},
        match_related=run_tag_labels(environment),
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        within=within,
    )
    paused = EventTrigger(
        expect={f"{RUN}{_FOUND}"},
        match={"prefect.resource.id": f"{RUN}*"},
        match_related=run_tag_labels(environment),
        posture=Posture.Reactive,
    )
    message = f"No heartbeat for {within.total_seconds():.0f} s: its process is gone."
    find = ChangeFlowRunState(state=StateType.PAUSED, name=_FOUND, message=message)
    end = ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message=message)
    return [
        _automation(
            environment, FIND, f"a running run without a heartbeat for {within.total_seconds():.0f} s", silent, [find]
        ),
        _automation(environment, END, "what was found dead is crashed", paused, [end]),
    ]


def _slowest_heartbeat(client: SyncPrefectClient, environment: str) -> int:
    """Seconds between heartbeats of its deployment that sends the fewest; Prefect's default if it does not say."""
    variables = [(each["job_variables"] or {}).get("env", {}) for each in read_deployments(client, environment)]
    return max((int(each.get(HEARTBEAT, _DEFAULT_HEARTBEAT)) for each in variables), default=_DEFAULT_HEARTBEAT)


def _read_automations(client: SyncPrefectClient, environment: str) -> dict[str, Automation]:
    automations = read_pages(lambda offset: client.read_automations(limit=_PAGE_SIZE, offset=offset))
    return {
        name: automation
        for automation in automations
        if (name := naming.automation_of(environment, automation.name)) is not None
    }


def _update(client: SyncPrefectClient, environment: str, wanted: Iterable[AutomationCore]) -> Synced:
    existing = _read_automations(client, environment)
    made, changed, left = [], [], []
    for core in wanted:
        name = core.name.removeprefix(naming.automation(environment, ""))
        automation = existing.pop(name, None)
        if automation is None:
            client.create_automation(core)
            made.append(name)
        elif _content(automation) == _content(core):
            left.append(name)
        else:
            _write(client, automation, core.model_copy(update={"enabled": automation.enabled}))
            changed.append(name)
    for automation in existing.values():
        client.delete_automation(automation.id)
    return Synced(tuple(made), tuple(changed), tuple(left), tuple(existing))


def _write(client: SyncPrefectClient, automation: Automation, core: AutomationCore) -> None:
    from prefect.events.schemas.automations import AutomationCore

    # The client sends only the fields that were set, so the object is built anew from all of them.
    whole = AutomationCore.model_validate(core.model_dump(exclude={"id", "owner_resource"}))
    client.update_automation(automation.id, whole)


def _content(automation: AutomationCore) -> tuple[object, ...]:
    return automation.description, automation.tags, automation.trigger, automation.actions


def _start_silence_clocks(environment: str, specs: Iterable[ModelSpec], written: Collection[str]) -> None:
    """Start the clock of models whose silence alert is new, so that the first report is awaited too."""
    for spec in specs:
        if naming.silence_alert(spec.name) in written:
            _emit_awaited(environment, spec.name)


def _emit_awaited(environment: str, model: str) -> None:
    from prefect.events import emit_event

    event = Event(DRIFT_AWAITED, model, {})
    emit_event(event=event.name, resource=event.resource(environment))
