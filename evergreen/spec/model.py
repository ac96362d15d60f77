"""What a model is: one frozen, validated `ModelSpec` for each file in `models/`.

A model file builds a `MODEL = ModelSpec(...)`. Anything heavy (the contract, the pipeline) is a function that imports
what it needs when it is called, so that reading a model file costs milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, PrivateAttr, field_validator, model_validator

from evergreen.naming import TAG_PREFIX
from evergreen.sources.base import Source
from evergreen.spec.canary import canary_disagreements
from evergreen.spec.data import Features, Labels, Reading
from evergreen.spec.faults import DisagreementError, closest
from evergreen.spec.fields import Duration, Frozen, Rows, Share, is_sound, left_out_fields
from evergreen.spec.gates import Gates
from evergreen.spec.metric import Metric
from evergreen.spec.monitoring import DriftThresholds, PerformanceThresholds, Shadow, Skew
from evergreen.spec.place import line_of, shown
from evergreen.spec.retraining import Approval, Retraining, with_changed_sections, with_sections
from evergreen.spec.serving import Serve
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
        time: the column that says when; None for data without one.
        order: `rows`, where what landed first is older, for rows without a time: then the number that a row gets when
            it lands is its place, and lengths such as `training.last` are numbers of rows, `Rows(500)`. None for rows
            with a time, or in no order.
        timezone: IANA zone of times that carry no offset. Without it such times are refused.
        lateness: rows older than the newest known one by more than this go to quarantine; None takes them all.
        max_rejected: a batch with a larger share of bad rows goes to quarantine whole.
        pipeline: `pipeline(seed)` builds the unfitted scikit-learn pipeline, preprocessing included.
        slices: columns whose every value is judged on its own.
        serve: how it is served online; None for a model that is not.
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
    order: Literal["rows"] | None = None
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
    skew: Skew = Skew()
    retraining: Retraining = Retraining()
    approval: Approval = Approval()
    serve: Serve | None = None
    trusted: tuple[str, ...] = ()
    seed: int = 42
    _path: Path | None = PrivateAttr(default=None)

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError(
                f"it is {name[:63]!r}; use lower-case letters, digits and underscores, at most 63, a letter first"
            )
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

    @field_validator("contract", mode="before")
    @classmethod
    def _function_not_schema(cls, contract: object) -> object:
        # A schema of pandera's can be called as well.
        if hasattr(contract, "columns"):
            raise ValueError(f"it is a {type(contract).__name__}; give the function itself, without parentheses")
        return contract

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
        told = [name for name in type(self).model_fields if name not in left_out_fields()]
        faults = self.disagreements({name: getattr(self, name) for name in told})
        if faults:
            raise DisagreementError(faults)
        return self

    @classmethod
    def disagreements(cls, fields: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Fields that do not go together, each with what is wrong; a field that is wrong in itself is not looked at."""
        sound = SimpleNamespace(**{name: value for name, value in fields.items() if is_sound(value)})
        faults: list[tuple[str, str]] = []
        for check in _CHECKS:
            # A check whose fields are not all there says nothing.
            with suppress(AttributeError):
                faults.extend(check(sound))
        return faults

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
    def file(self) -> str:
        """The model file, as a person names it."""
        return shown(self._path) if self._path is not None else f"models/{self.name}.py"

    @property
    def path(self) -> Path | None:
        """The model file; None of a model that was not loaded from one."""
        return self._path

    def loaded_from(self, path: Path) -> Self:
        """This model, which now knows the file that it was loaded from."""
        self._path = path
        return self

    def place(self, *fields: str) -> str:
        """A field of the model file, with its line where that is known: `models/x.py, line 44: search: grid`."""
        line = line_of(self._path, *fields) if self._path is not None else None
        return f"{self.file}{f', line {line}' if line else ''}: {': '.join(fields)}"

    @property
    def watched(self) -> tuple[str, ...]:
        """The columns that a drift report compares, the prediction aside."""
        return self.drift.columns or self.features.all


def _target_is_no_feature(spec: Any) -> Iterator[tuple[str, str]]:
    if spec.target in spec.features.all:
        yield "features", f"the target {spec.target!r} is among them; the model would see the answer"


def _one_order(spec: Any) -> Iterator[tuple[str, str]]:
    if spec.order is not None and spec.time is not None:
        yield "order", f"rows have the order of time={spec.time!r}; leave one of both out"


def _lengths_fit_the_order(spec: Any) -> Iterator[tuple[str, str]]:
    """Durations where rows have a time, numbers of rows where they have the order of landing, else neither."""
    for field, length in _lengths(spec):
        if length is None:
            continue
        if isinstance(length, Rows) and spec.time is not None:
            yield field, f"it is {length!r}, and rows have a time, {spec.time!r}: write a timedelta(...)"
        elif isinstance(length, Rows) and spec.order is None:
            yield field, f"it is {length!r}, and rows have no order; set order='rows' where what landed first is older"
        elif not isinstance(length, Rows) and spec.time is None and spec.order is not None:
            yield field, "it is a duration, and with order='rows' rows have no time: write a number of rows, Rows(500)"
        elif not isinstance(length, Rows) and spec.time is None and field in _COUNTS_IN_TIME:
            yield _COUNTS_IN_TIME[field], NO_TIME


_COUNTS_IN_TIME = {
    "holdout.block": "holdout.strategy",
    **{field: field for field in ("holdout.gap", "training.last", "training.half_life")},
    **{field: field for field in ("drift.last", "performance.last")},
}
"""Lengths that mean nothing without a time, and the field that is named then; `performance.window` is not used then."""
NO_TIME = "it counts in time, and the model has no time column; name it with time='COLUMN'"


def _lengths(spec: Any) -> Iterator[tuple[str, Any]]:
    """The lengths that count, by their fields."""
    for field in ("holdout.gap", "training.last", "training.half_life", "drift.last", "performance.last"):
        section, name = field.split(".")
        yield field, getattr(getattr(spec, section), name, None)
    if getattr(spec.holdout, "strategy", "") == "blocked":
        yield "holdout.block", getattr(spec.holdout, "block", None)
        yield "holdout.recent", getattr(spec.holdout, "recent", None)
    yield "performance.window", getattr(spec.performance, "window", None)


def _time_is_there(spec: Any) -> Iterator[tuple[str, str]]:
    if spec.time is not None:
        return
    if spec.lateness is not None:
        yield "lateness", NO_TIME
    if spec.order is None and getattr(spec.gates, "persistence", "off") != "off":
        yield "gates.persistence", "it goes by the order of rows; name their time, or set order='rows'"


def _labels_have_keys(spec: Any) -> Iterator[tuple[str, str]]:
    if spec.labels is not None and not spec.keys:
        yield "labels", "they are joined by the model's keys, and it has none"


def _watched_columns_are_there(spec: Any) -> Iterator[tuple[str, str]]:
    known = (*spec.features.all, spec.target)
    for column in spec.drift.columns:
        if column not in known:
            alike = closest(column, known)
            end = f"; did you mean {alike!r}?" if alike else ""
            yield "drift.columns", f"{column!r} is neither a feature nor the target{end}"


def _metric_fits_the_task(spec: Any) -> Iterator[tuple[str, str]]:
    yield from _metric_faults("metric", spec.metric, spec.task)


def _metrics_beside_fit_the_task(spec: Any) -> Iterator[tuple[str, str]]:
    for metric in spec.performance.also:
        if is_sound(metric):
            yield from _metric_faults("performance.also", metric, spec.task)


def _metric_faults(field: str, metric: Metric, task: str) -> Iterator[tuple[str, str]]:
    if metric.kind.task not in (None, task):
        yield field, f"{metric.name!r} is for {metric.kind.task}, and task is {task!r}"
    elif metric.kind.needs == "probability" and task == "regression":
        yield field, f"{metric.name!r} needs a probability, and a regression gives none; write needs='prediction'"


_CHECKS: tuple[Callable[[Any], Iterator[tuple[str, str]]], ...] = (
    _target_is_no_feature,
    _one_order,
    _lengths_fit_the_order,
    _time_is_there,
    _labels_have_keys,
    _watched_columns_are_there,
    _metric_fits_the_task,
    _metrics_beside_fit_the_task,
    canary_disagreements,
)
"""What is asked of the fields of a model together."""
