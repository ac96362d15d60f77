"""What a model is: one frozen, validated `ModelSpec` for each file in `models/`.

A model file builds a `MODEL = ModelSpec(...)`. Anything heavy (the contract, the pipeline) is a function that imports
what it needs when it is called, so that reading a model file costs milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from evergreen.naming import TAG_PREFIX
from evergreen.sources.base import Source
from evergreen.spec.data import Features, Labels, Reading
from evergreen.spec.fields import Duration, Frozen, Share
from evergreen.spec.gates import Gates
from evergreen.spec.metric import Metric
from evergreen.spec.monitoring import DriftThresholds, PerformanceThresholds, Shadow
from evergreen.spec.retraining import Approval, Retraining, with_changed_sections, with_sections
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


class ModelSpec(Frozen):
    """One model.

    Attributes:
        name: the file's name; also the registered model, the folder and the tables.
        description: what the model is for, and what it is not for; in the card of every version.
        tags: put on every version in MLflow, such as who owns the model and whom to ask.
        source: where rows come from.
        labels: where targets come from that are known later than their rows; None where they come together.
        reading: how values are written in files. Without it, as in a file of before, the words that pandas takes for
            missing (NA, None, null ...) are missing, and `prepare` gets numbers where a column of a file has no others.
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
        trusted: types beyond skops' own list that a stored model of this kind may hold.
    """

    name: str
    description: str = ""
    tags: Mapping[str, str] = Field(default_factory=dict)
    task: Literal["regression", "classification"]
    source: Source
    labels: Labels | None = None
    reading: Reading | None = None
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
    drift: DriftThresholds = DriftThresholds()
    performance: PerformanceThresholds = PerformanceThresholds()
    shadow: Shadow = Shadow()
    retraining: Retraining = Retraining()
    approval: Approval = Approval()
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
    def _with_sections(cls, fields: Any) -> Any:
        return with_sections(fields) if isinstance(fields, dict) else fields

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

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some fields changed.

        Raises:
            ValueError: a change names no field; it would be set and never read.
        """
        changes = with_changed_sections(update or {}, self.retraining, self.approval)
        strays = sorted(set(changes) - set(type(self).model_fields))
        if strays:
            raise ValueError(f"{strays[0]}: there is no such field")
        return super().model_copy(update=changes, deep=deep)

    @property
    def watched(self) -> tuple[str, ...]:
        """The columns that a drift report compares, the prediction aside."""
        return self.drift.columns or self.features.all
