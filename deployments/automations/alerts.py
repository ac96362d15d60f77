"""What a person is told of, and in which words: one table, from which Prefect's triggers and messages are made.

The Prefect server renders the words, which are Jinja templates, from the event. Only the facts named here are taken
from an event's payload, so that a message holds no more than a person needs: no exception texts, no rows. The link is
to the run that emitted the event, or that it is about, and to the event itself where there is none; a server that does
not know its own address, by PREFECT_API_URL or PREFECT_UI_URL, gives none.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from evergreen import events
from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    from prefect.events.schemas.automations import EventTrigger

PREFIX = "evergreen: "
TRIGGERS = "retrain-*"
"""How the automations of the deployments' own triggers are called."""
REPORTS = frozenset({events.DRIFT_FAILED, events.DRIFT_SUSPECTED, events.DRIFT_PASSED, events.DRIFT_INCONCLUSIVE})
RUN = "prefect.flow-run."
OVER = frozenset(RUN + state for state in ("Completed", "Failed", "TimedOut", "Crashed", "Cancelled"))
"""A flow run has ended. Prefect names the event after the state's name, and a timeout has one of its own."""
RESTING = frozenset(RUN + state for state in ("Paused", "Suspended", "AwaitingRetry", "Scheduled"))
"""A flow run waits, for a person or for its next try, with or without a process."""
START_WITHIN = timedelta(minutes=10)
END_WITHIN = timedelta(hours=6)

_FACTS = (
    "decision_id", "reason", "share", "columns", "version", "before", "outcome", "batch", "origin", "rows", "retrains",
)  # fmt: skip
_NAME = "{{ event.resource.name }}"
_FACT = "{{ key }}: {{ event.payload[key] }}\n"


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to be told of.

    Attributes:
        name: of its automation.
        says: what happened; follows upon the name of what it happened to.
        trigger: when.
        about: what the event's resource is.
        facts: keys of the event's payload that are told.
    """

    name: str
    says: str
    trigger: EventTrigger
    about: Literal["model", "run", "automation"] = "model"
    facts: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """One line."""
        return {
            "model": f"Evergreen: {_NAME}: {self.says}",
            "run": f"Evergreen: the run {_NAME} {self.says}",
            "automation": f"Evergreen: the automation '{_NAME}' {self.says}",
        }[self.about]

    @property
    def description(self) -> str:
        """What a list of automations says of it."""
        return {"model": "", "run": "a run ", "automation": "an automation "}[self.about] + self.says

    @property
    def body(self) -> str:
        """Who it is about, the facts and a link, one a line."""
        facts = f"{{% for key in {list(self.facts)} if event.payload.get(key) is not none %}}{_FACT}{{% endfor %}}"
        about = f"{self.about}: {_NAME}\n{facts if self.facts else ''}"
        return f"{about}event: {{{{ event.event }}}}\n{{{{ (flow_run or event) | ui_url or '' }}}}"


def notices(specs: tuple[ModelSpec, ...]) -> tuple[Notice, ...]:
    """Everything that is told, of models and of the runs and automations that keep them fresh."""
    found = (
        _of_models("drift-failed", "the drift report failed", events.DRIFT_FAILED),
        _of_models("performance-failed", "the performance report failed", events.PERFORMANCE_FAILED),
        _of_models("data-rejected", "data was rejected", events.DATA_REJECTED),
        _of_models("candidate-rejected", "a candidate was not promoted", events.MODEL_REJECTED),
        _of_models("approval-awaited", "a candidate waits for your approval", events.MODEL_WAITING),
        _of_models("model-promoted", "there is a new champion", events.MODEL_PROMOTED),
        _of_models("model-rolled-back", "the champion was rolled back", events.MODEL_ROLLED_BACK),
        *_promotion_hurt(specs),
        _of_models("retrain-escalated", "retraining does not help", events.RETRAIN_ESCALATED),
        *(_silence(spec) for spec in specs),
        _run_failed(),
        _late(
            "run-not-started", "has not started", START_WITHIN, {"Late", "Pending"}, {*OVER, *RESTING, RUN + "Running"}
        ),
        _late("run-not-ended", "has not ended", END_WITHIN, {"Running"}, {*OVER, *RESTING}),
    )
    return (*found, _action_failed([PREFIX + one.name for one in found]))


def silence(model: str) -> str:
    """The notice of a model without drift reports."""
    return f"no-drift-report-{model}"


def tagged() -> dict[str, str]:
    """Matches what a flow run of Evergreen's is related to."""
    return {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.evergreen"}


def _promotion_hurt(specs: tuple[ModelSpec, ...]) -> tuple[Notice, ...]:
    """For the models whose champion is not rolled back by itself; of the others the rollback is told."""
    asked = tuple(f"evergreen.model.{spec.name}" for spec in specs if spec.shadow.windows and not spec.shadow.rollback)
    return (_of_models("promotion-hurt", "the last promotion hurt", events.SHADOW_FAILED, asked),) if asked else ()


def _of_models(name: str, says: str, event: str, models: tuple[str, ...] = ("evergreen.model.*",)) -> Notice:
    from prefect.events.schemas.automations import EventTrigger, Posture

    # A canary bears a value of its own in this label.
    match = {"prefect.resource.id": list(models), events.REHEARSAL: events.NO_REHEARSAL}
    return Notice(name, says, EventTrigger(expect={event}, match=match, posture=Posture.Reactive), facts=_FACTS)


def _silence(spec: ModelSpec) -> Notice:
    """Fires once for each lapse: its clock starts with each report, and before the first one with the sync."""
    from prefect.events.schemas.automations import EventTrigger, Posture

    # Prefect does not look more often.
    within = max(spec.drift.silence, timedelta(seconds=10))
    trigger = EventTrigger(
        after={*REPORTS, events.DRIFT_AWAITED},
        expect=set(REPORTS),
        match={"prefect.resource.id": f"evergreen.model.{spec.name}", events.REHEARSAL: events.NO_REHEARSAL},
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        within=within,
    )
    return Notice(silence(spec.name), f"no drift report for {_spoken(within)}", trigger)


def _run_failed() -> Notice:
    from prefect.events.schemas.automations import EventTrigger, Posture

    ends = {RUN + state for state in ("Failed", "TimedOut", "Crashed")}
    trigger = EventTrigger(expect=ends, match=_runs(), match_related=tagged(), posture=Posture.Reactive)
    return Notice("run-failed", "failed or crashed", trigger, "run")


def _late(name: str, says: str, within: timedelta, after: set[str], expect: set[str]) -> Notice:
    from prefect.events.schemas.automations import EventTrigger, Posture

    trigger = EventTrigger(
        after={RUN + state for state in after},
        expect=expect,
        match=_runs(),
        match_related=tagged(),
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        within=within,
    )
    return Notice(name, f"{says} within {_spoken(within)}", trigger, "run")


def _action_failed(names: list[str]) -> Notice:
    """Its own failure is not among them: it would be told of without end."""
    from prefect.events.schemas.automations import EventTrigger, Posture

    trigger = EventTrigger(
        expect={"prefect.automation.action.failed"},
        match={"prefect.resource.id": "prefect.automation.*", "prefect.resource.name": [*names, TRIGGERS]},
        posture=Posture.Reactive,
    )
    return Notice("action-failed", "could not do its work", trigger, "automation")


def _runs() -> dict[str, str]:
    return {"prefect.resource.id": f"{RUN}*"}


def _spoken(within: timedelta) -> str:
    seconds = within.total_seconds()
    for size, name in ((3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:g} {name}"
    return f"{seconds:g} seconds"
