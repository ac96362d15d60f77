"""When a model is retrained, and who approves what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from evergreen.spec.fields import Duration, Frozen, PositiveInt
from evergreen.spec.policies import default_policy
from evergreen.spec.policy import TRIGGERS, PolicyFunction, RetrainPolicy, triggers_of

RetrainTrigger = Literal["drift", "performance", "data"]


class Retraining(Frozen):
    """When a model is retrained, beside the schedule in `prefect.yaml`.

    Attributes:
        triggers: what starts a retraining: a failed drift report, a failed performance report, new data. Where a policy
            is given they follow from it.
        policy: an object of `evergreen.spec` or a function of your own; None for the schedule and the triggers.
        cooldown: no second retraining for the same trigger within this time.
        escalate_after: so many retrainings for drift or performance in a row that brought no new champion are told to a
            person.
    """

    triggers: tuple[RetrainTrigger, ...] = ("drift",)
    policy: RetrainPolicy | Callable[[Any], Any] | None = None
    cooldown: Annotated[timedelta, Field(ge=timedelta(0))] = timedelta(hours=6)
    escalate_after: PositiveInt = 3

    @model_validator(mode="before")
    @classmethod
    def _triggers_of_the_policy(cls, fields: Any) -> Any:
        policy = fields.get("policy") if isinstance(fields, dict) else None
        if policy is None:
            return fields
        if hasattr(policy, "holds") and not hasattr(policy, "should_retrain"):
            raise ValueError(f"policy: rename holds(seen) of {type(policy).__name__} to should_retrain(context)")
        if not (isinstance(policy, RetrainPolicy) or callable(policy)) or isinstance(policy, type):
            raise ValueError(f"policy: {policy!r} is neither a policy nor a function; see docs/backtest.md")
        events = tuple(trigger for trigger in TRIGGERS if trigger != "schedule" and trigger in triggers_of(policy))
        if "triggers" in fields and set(fields["triggers"]) != set(events):
            raise ValueError(f"triggers: leave them out, for the policy says what starts a retraining: {events}")
        return fields | {"triggers": events}

    @property
    def live_policy(self) -> RetrainPolicy | PolicyFunction:
        """What decides when the model is retrained."""
        return self.policy if self.policy is not None else default_policy(self.triggers)


class Approval(Frozen):
    """Who makes a candidate that passed its gates the champion.

    Attributes:
        mode: `auto` promotes it at once; `manual` leaves it as challenger until a person promotes it; `canary` lets it
            meet live traffic first, as `Serve(canary=...)` says.
        timeout: how long a run waits for that person; afterwards the challenger stays as it is.
    """

    mode: Literal["auto", "manual", "canary"] = "auto"
    timeout: Duration = timedelta(days=3)

    @model_validator(mode="before")
    @classmethod
    def _mode_alone(cls, fields: Any) -> Any:
        return {"mode": fields} if isinstance(fields, str) else fields


RENAMED = {
    "retrain_on": ("retraining", "triggers"),
    "policy": ("retraining", "policy"),
    "cooldown": ("retraining", "cooldown"),
    "escalate_after": ("retraining", "escalate_after"),
    "approval_timeout": ("approval", "timeout"),
}
"""Fields that stood beside the sections in model files of version 0.1.0, and where they are now."""


def with_sections(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a model file with those of version 0.1.0 in their sections.

    Raises:
        ValueError: a field is there by both names.
    """
    moved = {name: value for name, value in fields.items() if name not in RENAMED}
    for name, (section, field) in RENAMED.items():
        if name not in fields:
            continue
        present = moved.get(section, {})
        if isinstance(present, Frozen):
            raise ValueError(f"{name}: it is {section}.{field} now, and {section} is there as well: move it there")
        parts = {"mode": present} if isinstance(present, str) else dict(present)
        moved[section] = parts | {field: fields[name]}
    return moved


def with_changed_sections(update: Mapping[str, Any], retraining: Retraining, approval: Approval) -> dict[str, Any]:
    """The changes of a model with those by the names of version 0.1.0 made to a copy of their section."""
    changes = {name: value for name, value in update.items() if name not in RENAMED}
    if isinstance(changes.get("approval"), str):
        changes["approval"] = Approval(mode=changes["approval"], timeout=approval.timeout)
    for section, present in (("retraining", retraining), ("approval", approval)):
        fields = {
            field: update[name] for name, (owner, field) in RENAMED.items() if owner == section and name in update
        }
        if not fields:
            continue
        base = changes.get(section, present)
        # The triggers of a new policy follow from it.
        names = base.model_fields_set - ({"triggers"} if "policy" in fields else set())
        changes[section] = type(base)(**{name: getattr(base, name) for name in names} | fields)
    return changes
