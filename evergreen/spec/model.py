"""What a model is: one frozen, validated `ModelSpec` for each file in `models/`.

A model file builds a `MODEL = ModelSpec(...)`. Anything heavy (the contract, the pipeline) is a function that imports
what it needs when it is called, so that reading a model file costs milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from evergreen.naming import TAG_PREFIX
from evergreen.sources.base import Source
from evergreen.spec.data import Features, Labels
from evergreen.spec.fields import Duration, Frozen, PositiveInt, Share
from evergreen.spec.gates import Gates
from evergreen.spec.metric import Metric
from evergreen.spec.monitoring import DriftPolicy, PerformancePolicy, Shadow
from evergreen.spec.policies import as_before
from evergreen.spec.policy import TRIGGERS, Policy, grounds_of
from evergreen.spec.training import Holdout, Search, Training

if TYPE_CHECKING:
    from pandas import DataFrame
    from pandera.pandas import DataFrameSchema
    from sklearn.pipeline import Pipeline
else:
    DataFrame = DataFrameSchema = Pipeline = Any

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./ -]{0,99}")
RESERVED = (TAG_PREFIX, "mlflow.", "model_validation_status")
TAG_LETTERS = 5_000
"""As long as MLflow's database takes them."""


Ground = Literal["drift", "performance", "data"]


class ModelSpec(Frozen):
    """One model.

    Attributes:
        name: the file's name; also the registered model, the folder and the tables.
        description: what the model is for, and what it is not for; in the card of every version.
        tags: put on every version in MLflow, such as who owns the model and whom to ask.
        source: where rows come from.
        labels: where targets come from that are known later than their rows; None where they come together.
        prepare: turns a batch as it arrives into the contract's columns; None where they agree.
        contract: builds the pandera schema that every row has to meet.
        keys: columns that name a row. A row with a known key replaces the earlier one. Without keys a changed file
            replaces its own earlier rows as a whole.
        time: the column that says when; None for data whose only order is that of landing.
        timezone: IANA zone of times that carry no offset. Without it such times are refused.
        lateness: rows older than the newest known one by more than this go to quarantine; None takes them all.
        max_rejected: a batch with a larger share of bad rows goes to quarantine whole.
        pipeline: `pipeline(seed)` builds the unfitted scikit-learn pipeline, preprocessing included.
        slices: columns whose every value is judged on its own.
        retrain_on: what starts a retraining beside the schedule: a failed drift report, a failed performance report,
            new data.
        policy: when it is retrained, an object of `evergreen.spec` or a function of one's own; None for the
            schedule and `retrain_on`. Where one is given, `retrain_on` follows from it.
        cooldown: no second retraining for the same kind of ground within this time.
        escalate_after: so many retrainings for drift or performance in a row that brought no new champion are told to a
            person.
        approval: `manual` leaves a candidate that passed as challenger until a person promotes it.
        approval_timeout: how long a run waits for that person; afterwards the challenger stays as it is.
        trusted: types beyond skops' own list that a stored model of this kind may hold.
    """

    name: str
    description: str = ""
    tags: Mapping[str, str] = Field(default_factory=dict)
    task: Literal["regression", "classification"]
    source: Source
    labels: Labels | None = None
    prepare: Callable[[DataFrame], DataFrame] | None = None
    contract: Callable[[], DataFrameSchema]
    keys: tuple[str, ...] = ()
    time: str | None = None
    timezone: str | None = None
    lateness: Duration | None = None
    max_rejected: Share = 0.05
    target: str
    features: Features
    pipeline: Callable[[int], Pipeline]
    search: Search = Search()
    metric: Metric
    gates: Gates = Gates()
    slices: tuple[str, ...] = ()
    holdout: Holdout = Holdout()
    training: Training = Training()
    drift: DriftPolicy = DriftPolicy()
    performance: PerformancePolicy = PerformancePolicy()
    shadow: Shadow = Shadow()
    retrain_on: tuple[Ground, ...] = ("drift",)
    policy: Policy | Callable[[Any], Any] | None = None
    cooldown: timedelta = timedelta(hours=6)
    escalate_after: PositiveInt = 3
    approval: Literal["auto", "manual"] = "auto"
    approval_timeout: Duration = timedelta(days=3)
    trusted: tuple[str, ...] = ()
    seed: int = 42

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError("lower-case letters, digits and underscores, starting with a letter, at most 63")
        return name

    @field_validator("tags")
    @classmethod
    def _plain_tags(cls, tags: Mapping[str, str]) -> Mapping[str, str]:
        for key, value in tags.items():
            if not TAG.fullmatch(key) or key.startswith(RESERVED):
                raise ValueError(f"{key!r}: letters, digits, spaces and _-./ only, and not {' or '.join(RESERVED)}...")
            if not value.strip() or len(value) > TAG_LETTERS:
                raise ValueError(f"{key!r} is empty or longer than {TAG_LETTERS} characters")
        return tags

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, zone: str | None) -> str | None:
        if zone is not None:
            try:
                ZoneInfo(zone)
            except (KeyError, ValueError, OSError):
                raise ValueError(f"{zone!r} is not an IANA time zone such as 'Europe/Paris' or 'UTC'") from None
        return zone

    @model_validator(mode="before")
    @classmethod
    def _events_of_the_policy(cls, given: Any) -> Any:
        policy = given.get("policy") if isinstance(given, dict) else None
        if policy is None:
            return given
        if not (isinstance(policy, Policy) or callable(policy)) or isinstance(policy, type):
            raise ValueError(f"policy: {policy!r} is neither a policy nor a function; see docs/backtest.md")
        events = tuple(ground for ground in TRIGGERS if ground != "schedule" and ground in grounds_of(policy))
        if "retrain_on" in given and set(given["retrain_on"]) != set(events):
            raise ValueError(f"retrain_on: leave it out, for the policy says what starts a retraining: {events}")
        return given | {"retrain_on": events}

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.target in self.features.all:
            raise ValueError(f"features: the target {self.target!r} is among them; the model would see the answer")
        if self.time is None:
            for field, asks in (
                ("holdout", self.holdout.strategy == "blocked"),
                ("training", self.training.last or self.training.half_life),
                ("drift", self.drift.last),
                ("performance", self.performance.last),
                ("lateness", self.lateness),
            ):
                if asks:
                    raise ValueError(f"{field}: it counts in time, and the model has no time column")
        known = self.features.all
        if self.labels is not None and not self.keys:
            raise ValueError("labels: they are joined by the model's keys, and it has none")
        stray = [column for column in self.drift.columns if column not in (*known, self.target)]
        if stray:
            raise ValueError(f"drift: columns: {stray[0]!r} is neither a feature nor the target")
        for field, metric in (("metric", self.metric), *(("performance: also", one) for one in self.performance.also)):
            if metric.kind.task is not None and metric.kind.task != self.task:
                raise ValueError(f"{field}: {metric.name!r} is for {metric.kind.task}, and task is {self.task!r}")
        return self

    @property
    def live_policy(self) -> Policy | Callable[[Any], Any]:
        """What decides when it is retrained."""
        return self.policy if self.policy is not None else as_before(self.retrain_on)

    @property
    def watched(self) -> tuple[str, ...]:
        """The columns that a drift report compares, the prediction aside."""
        return self.drift.columns or self.features.all
