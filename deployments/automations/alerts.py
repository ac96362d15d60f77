"""The alerts: when they are sent and what they say. Prefect's triggers and messages are built from this table.

The Prefect server renders the messages, which are Jinja templates, from the event. Only the facts that are named here
are taken from an event's payload, so that a message has no more than a person needs: no exception texts, no rows. The
link leads to the run that emitted the event, or that the event is about, and otherwise to the event itself. A server
that does not know its own address (PREFECT_API_URL or PREFECT_UI_URL) gives no link.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from evergreen import events, naming
from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    from prefect.events.schemas.automations import EventTrigger

REPORTS = frozenset({events.DRIFT_FAILED, events.DRIFT_SUSPECTED, events.DRIFT_PASSED, events.DRIFT_INCONCLUSIVE})
RUN = "prefect.flow-run."
OVER = frozenset(RUN + state for state in ("Completed", "Failed", "TimedOut", "Crashed", "Cancelled"))
"""A flow run has ended. Prefect names the event after the state's name, and a timeout has a name of its own."""
RESTING = frozenset(RUN + state for state in ("Paused", "Suspended", "AwaitingRetry", "Scheduled"))
"""A flow run waits, for a person or for its next attempt, with or without a process."""
START_WITHIN = timedelta(minutes=10)
END_WITHIN = timedelta(hours=6)

_FACTS = (
    "decision_id", "reason", "share", "columns", "version", "before", "outcome", "batch", "origin", "rows", "retrains",
)  # fmt: skip
_NAME = "{{ event.resource.name }}"
_FACT = "{{ key }}: {{ event.payload[key] }}\n"


@dataclass(frozen=True, slots=True)
class Alert:
    """One kind of alert.

    Attributes:
        name: of its automation.
        says: what happened, to follow the name of the model, run or automation.
        trigger: when it is sent.
        about: what the event's resource is.
        facts: keys of the event's payload that the message shows.
    """

    name: str
    says: str
    trigger: EventTrigger
    about: Literal["model", "run", "automation"] = "model"
    facts: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """The subject of the message, one line."""
        return {
            "model": f"Evergreen: {_NAME}: {self.says}",
            "run": f"Evergreen: the run {_NAME} {self.says}",
            "automation": f"Evergreen: the automation '{_NAME}' {self.says}",
        }[self.about]

    @property
    def description(self) -> str:
        """The description of the automation."""
        return {"model": "", "run": "a run ", "automation": "an automation "}[self.about] + self.says

    @property
    def body(self) -> str:
        """The message: what it is about, the facts and a link, one a line."""
        facts = f"{{% for key in {list(self.facts)} if event.payload.get(key) is not none %}}{_FACT}{{% endfor %}}"
        about = f"{self.about}: {_NAME}\n{facts if self.facts else ''}"
        return f"{about}event: {{{{ event.event }}}}\n{{{{ (flow_run or event) | ui_url or '' }}}}"


def alerts_of(environment: str, specs: tuple[ModelSpec, ...]) -> tuple[Alert, ...]:
    """Every alert about these models, and about the runs and automations that keep them fresh."""
    alerts = (
        _model_alert(environment, "drift-failed", "the drift report failed", events.DRIFT_FAILED),
        _model_alert(environment, "performance-failed", "the performance report failed", events.PERFORMANCE_FAILED),
        _model_alert(environment, "data-rejected", "data was rejected", events.DATA_REJECTED),
        _model_alert(environment, "candidate-rejected", "a candidate was not promoted", events.MODEL_REJECTED),
        _model_alert(environment, "approval-awaited", "a candidate waits for your approval", events.MODEL_WAITING),
        _model_alert(environment, "model-promoted", "there is a new champion", events.MODEL_PROMOTED),
        _model_alert(environment, "model-rolled-back", "the champion was rolled back", events.MODEL_ROLLED_BACK),
        *_promotion_alerts(environment, specs),
        *_skew_alerts(environment, specs),
        _model_alert(environment, "retrain-escalated", "retraining does not help", events.RETRAIN_ESCALATED),
        *(_silence_alert(environment, spec) for spec in specs),
        _failed_run_alert(environment),
        _late_run_alert(
            environment,
            "run-not-started",
            "has not started",
            START_WITHIN,
            {"Late", "Pending"},
            {*OVER, *RESTING, RUN + "Running"},
        ),
        _late_run_alert(environment, "run-not-ended", "has not ended", END_WITHIN, {"Running"}, {*OVER, *RESTING}),
    )
    return (
        *alerts,
        _failed_action_alert(environment, [naming.automation(environment, alert.name) for alert in alerts]),
    )


def run_tag_labels(environment: str) -> dict[str, str]:
    """The labels of a related resource by which events of the environment's flow runs are recognised."""
    return {"prefect.resource.role": "tag", "prefect.resource.id": naming.tag_resource(environment)}


def _promotion_alerts(environment: str, specs: tuple[ModelSpec, ...]) -> tuple[Alert, ...]:
    """For models that are not rolled back automatically; for the others there is the alert of the rollback."""
    watched = [spec for spec in specs if spec.shadow.windows and not spec.shadow.rollback]
    if not watched:
        return ()
    models = tuple(naming.model_resource(environment, spec.name) for spec in watched)
    return (_model_alert(environment, "promotion-hurt", "the last promotion hurt", events.SHADOW_FAILED, models),)


def _skew_alerts(environment: str, specs: tuple[ModelSpec, ...]) -> tuple[Alert, ...]:
    """For models that are served."""
    models = tuple(naming.model_resource(environment, spec.name) for spec in specs if spec.serve is not None)
    says = "what was asked online differs from what landed"
    return (_model_alert(environment, "skew-failed", says, events.SKEW_FAILED, models),) if models else ()


def _model_alert(environment: str, name: str, says: str, event: str, models: tuple[str, ...] = ()) -> Alert:
    from prefect.events.schemas.automations import EventTrigger, Posture

    # A rehearsal event has another value in this label.
    match = {
        "prefect.resource.id": list(models or (naming.model_resource(environment, "*"),)),
        events.REHEARSAL: events.NO_REHEARSAL,
    }
    return Alert(name, says, EventTrigger(expect={event}, match=match, posture=Posture.Reactive), facts=_FACTS)


def _silence_alert(environment: str, spec: ModelSpec) -> Alert:
    """Sent once for each silence: its clock starts with each report, and before the first report with the sync."""
    from prefect.events.schemas.automations import EventTrigger, Posture

    # Prefect evaluates no trigger more often than every ten seconds.
    within = max(spec.drift.silence, timedelta(seconds=10))
    trigger = EventTrigger(
        after={*REPORTS, events.DRIFT_AWAITED},
        expect=set(REPORTS),
        match={
            "prefect.resource.id": naming.model_resource(environment, spec.name),
            events.REHEARSAL: events.NO_REHEARSAL,
        },
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        within=within,
    )
    return Alert(naming.silence_alert(spec.name), f"no drift report for {_format_duration(within)}", trigger)


def _failed_run_alert(environment: str) -> Alert:
    from prefect.events.schemas.automations import EventTrigger, Posture

    ends = {RUN + state for state in ("Failed", "TimedOut", "Crashed")}
    trigger = EventTrigger(
        expect=ends, match=_run_labels(), match_related=run_tag_labels(environment), posture=Posture.Reactive
    )
    return Alert("run-failed", "failed or crashed", trigger, "run")


def _late_run_alert(
    environment: str, name: str, says: str, within: timedelta, after: set[str], expect: set[str]
) -> Alert:
    from prefect.events.schemas.automations import EventTrigger, Posture

    trigger = EventTrigger(
        after={RUN + state for state in after},
        expect=expect,
        match=_run_labels(),
        match_related=run_tag_labels(environment),
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        within=within,
    )
    return Alert(name, f"{says} within {_format_duration(within)}", trigger, "run")


def _failed_action_alert(environment: str, names: list[str]) -> Alert:
    """For automations of these names and for triggers; not for itself, or its failures would never end."""
    from prefect.events.schemas.automations import EventTrigger, Posture

    triggers = naming.deployment(environment, "retrain", "*")
    trigger = EventTrigger(
        expect={"prefect.automation.action.failed"},
        match={"prefect.resource.id": "prefect.automation.*", "prefect.resource.name": [*names, triggers]},
        posture=Posture.Reactive,
    )
    return Alert("action-failed", "could not do its work", trigger, "automation")


def _run_labels() -> dict[str, str]:
    return {"prefect.resource.id": f"{RUN}*"}


def _format_duration(duration: timedelta) -> str:
    seconds = duration.total_seconds()
    for size, name in ((3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:g} {name}"
    return f"{seconds:g} seconds"
