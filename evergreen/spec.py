"""What a model is: one frozen, validated `ModelSpec` for each file in `models/`.

A model file builds a `MODEL = ModelSpec(...)`. Anything heavy (the contract, the pipeline) is a function that imports
what it needs when it is called, so that reading a model file costs milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from evergreen.metrics import KNOWN, MetricKind
from evergreen.occasion import TRIGGERS, Policy, grounds_of
from evergreen.policies import as_before
from evergreen.sources.base import Source

if TYPE_CHECKING:
    from pandas import DataFrame
    from pandera.pandas import DataFrameSchema
    from sklearn.pipeline import Pipeline
else:
    DataFrame = DataFrameSchema = Pipeline = Any

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./ -]{0,99}")
RESERVED = ("evergreen.", "mlflow.", "model_validation_status")
TAG_LETTERS = 5_000
"""As long as MLflow's database takes them."""
Share = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(gt=0)]


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("has to be longer than zero")
    return value


Duration = Annotated[timedelta, AfterValidator(_positive)]
Ground = Literal["drift", "performance", "data"]


class Frozen(BaseModel):
    """Immutable, and a misspelt field is an error rather than a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Features(Frozen):
    """The columns that the pipeline sees, by kind. Numbers arrive as float64, categories as text."""

    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Numeric columns first, then categorical ones: the order the pipeline sees."""
        return self.numeric + self.categorical

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if not self.all:
            raise ValueError("name at least one numeric or categorical column")
        twice = sorted({column for column in self.all if self.all.count(column) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is named twice")
        return self


class Metric(Frozen):
    """The figure that decides.

    Attributes:
        name: one of `evergreen.metrics.KNOWN`, or a name of your own together with `function`.
        bound: the worst value that may be promoted (an upper bound for errors, a lower one for scores).
        function: `function(y_true, y_pred) -> float` for a metric of your own.
        greater_is_better: its direction; only with `function`.
        needs: `prediction`, or `probability` (of the last class) for a metric of your own.
    """

    name: str
    bound: float | None = Field(default=None, allow_inf_nan=False)
    function: Callable[[Any, Any], float] | None = None
    greater_is_better: bool | None = None
    needs: Literal["prediction", "probability"] = "prediction"

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.function is None and self.name not in KNOWN:
            raise ValueError(f"{self.name!r} is not one of {', '.join(sorted(KNOWN))}; or give a function")
        if self.function is not None and self.greater_is_better is None:
            raise ValueError("say greater_is_better=True or False for a metric of your own")
        if self.function is None and self.greater_is_better is not None:
            raise ValueError("greater_is_better is known already; it goes with a function of your own")
        return self

    @property
    def kind(self) -> MetricKind:
        """Direction, input and formula."""
        if self.function is not None:
            return MetricKind(bool(self.greater_is_better), self.needs, None, function=self.function)
        return KNOWN[self.name]


class Search(Frozen):
    """A bounded grid: every combination is tried, `folds` times, so the cost is known beforehand.

    Folds follow time where the model has a time column, and are stratified for a classification without one.
    """

    grid: Mapping[str, tuple[Any, ...]] = Field(default_factory=dict)
    folds: Annotated[int, Field(ge=2, le=10)] = 3
    at_most: PositiveInt = 32

    @property
    def size(self) -> int:
        """How many combinations the grid holds."""
        size = 1
        for values in self.grid.values():
            size *= len(values)
        return size

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        empty = [name for name, values in self.grid.items() if not values]
        if empty:
            raise ValueError(f"grid: {empty[0]!r} has no values")
        if self.size > self.at_most:
            raise ValueError(f"grid: {self.size} combinations are more than at_most={self.at_most}")
        return self


class Holdout(Frozen):
    """Which rows judge a candidate; neither it nor the champion is trained on them.

    Attributes:
        strategy: `latest`, the newest `share` of the rows; `blocked`, every `every`-th `block` of time within the last
            `recent`, counted from the epoch so that every version leaves out the same ones and a candidate can still
            learn a fresh regime; `random`, a seeded `share`, for rows without an order.
        min_rows: with fewer, gates answer INCONCLUSIVE.
    """

    strategy: Literal["latest", "blocked", "random"] = "latest"
    share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    block: Duration = timedelta(days=1)
    every: Annotated[int, Field(ge=2)] = 5
    recent: Duration | None = None
    seed: int = 42
    min_rows: PositiveInt = 30


class Training(Frozen):
    """Which rows a candidate learns from, and how much each counts.

    Attributes:
        last: only rows this recent, counted from the newest; None for all of history.
        half_life: a row this old counts half as much as the newest; None weighs all alike.
        min_rows: with fewer, nothing is trained and the outcome is inconclusive.
    """

    last: Duration | None = None
    half_life: Duration | None = None
    min_rows: PositiveInt = 50


class DriftPolicy(Frozen):
    """When a drift report fails. Methods are effect sizes, never p-values, so that row counts do not decide.

    Attributes:
        columns: what is compared; empty for every feature. The champion's prediction is always added.
        method: Evidently's name of the score for every column. The default, the population stability index, has
            thresholds that credit-risk practice has used since Siddiqi (2006): above 0.1 moderate, above 0.25 large.
        threshold: a column with a score above this has drifted.
        share: the report fails when at least this share of the columns has drifted.
        missing: a column whose share of missing or infinite values rose by more than this has drifted.
        unseen: a categorical column with more than this share of unknown categories has drifted.
        last: only current rows this recent; None for all since the champion's window.
        min_rows: with fewer current or reference rows the verdict is INCONCLUSIVE.
        confirm, of: `confirm` of the last `of` reports on this champion have to fail before one counts; an earlier
            failure is only a suspicion. Reports on the same data count once. (1, 1) acts on the first.
        silence: no report for this long is told to a person.
        weigh: what a drifted column counts in the share: `equal`, all alike; `importance`, by how much the champion
            leans on it (permutation importance, stored with the version). The prediction, and the target where it is
            watched, count like all watched features together.
    """

    columns: tuple[str, ...] = ()
    method: Literal["psi", "jensenshannon", "hellinger", "kl_div"] = "psi"
    threshold: Annotated[float, Field(gt=0)] = 0.25
    share: Annotated[float, Field(gt=0, le=1)] = 0.3
    missing: Share = 0.05
    unseen: Share = 0.05
    last: Duration | None = None
    min_rows: Annotated[int, Field(ge=2)] = 100
    confirm: PositiveInt = 1
    of: PositiveInt = 1
    silence: Duration = timedelta(hours=26)
    weigh: Literal["equal", "importance"] = "equal"

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.confirm > self.of:
            raise ValueError(f"confirm: {self.confirm} of the last {self.of} reports can never fail")
        return self


class Labels(Frozen):
    """Targets that come later than the rows they belong to, from a source of their own.

    Attributes:
        source: where they come from; its rows hold the model's keys and the target.
        prepare: turns a batch as it arrives into keys, target and `time`; None where they agree.
        time: the column that says when a label became known; None: when it landed.
    """

    source: Source
    prepare: Callable[[DataFrame], DataFrame] | None = None
    time: str | None = None


class PerformancePolicy(Frozen):
    """When a performance report fails: the champion's own metric, on rows that came since, against the one it had.

    Attributes:
        tolerance: how much the champion's error may grow after its promotion, as a share of it; of a score the error
            is what it lacks to 1. The default was measured: see `docs/performance.md`.
        absolute: the same in the metric's unit, where that is more than the share; what counts when the error was 0.
        level: 1 - confidence of the interval that has to lie beyond the tolerance.
        last: only labelled rows this recent, counted back from the newest mature window; None for all since the
            champion's.
        min_rows: with fewer labelled rows the verdict is INCONCLUSIVE.
        window: rows are judged by windows of this length, counted from the epoch; a model without a time column has
            one window.
        coverage: a window is mature, and judged, when at least this share of its rows has a label.
        also: metrics that are measured beside the model file's. One with a `bound` fails the report when it is proven
            beyond it; the others are only shown.
    """

    tolerance: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    absolute: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    level: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    last: Duration | None = None
    min_rows: Annotated[int, Field(ge=2)] = 100
    window: Duration = timedelta(days=7)
    coverage: Annotated[float, Field(gt=0, le=1)] = 0.9
    also: tuple[Metric, ...] = ()

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        names = [metric.name for metric in self.also]
        if len(set(names)) < len(names):
            raise ValueError(f"also: two metrics have one name, among {', '.join(names)}")
        return self


class Shadow(Frozen):
    """Whether a promotion helped: the former champion goes on predicting in the shadow of the new one.

    Attributes:
        windows: for so many mature windows (`performance.window`) after the promotion; 0 for none.
        rollback: give the alias back to the former champion once it is proven better on the same rows.
        level: 1 - confidence of the gain's interval, shared among the `windows` looks.
        min_rows: with fewer labelled rows nothing is said.
    """

    windows: Annotated[int, Field(ge=0)] = 4
    rollback: bool = True
    level: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    min_rows: Annotated[int, Field(ge=2)] = 100


class Gates(Frozen):
    """What a candidate has to prove, beside the metric's own bound.

    Attributes:
        margin: how much worse than the champion is still accepted, as a share of the champion's metric. 0 asks for a
            proven improvement; 0.01 accepts what is proven not to be more than 1 % worse.
        level: chance of promoting a candidate that is exactly `margin` worse.
        slice_margin: a slice proven to be worse by more than this share rejects the candidate.
        slice_min_rows: smaller slices are not judged.
        overfit: the largest gap between the training and the holdout metric, in the metric's unit.
        latency_ms: median time of a prediction of one row.
        size_mb: size of the stored model.
        tags: tags that must be there and not empty: of the model file, or set in MLflow on the model or the version.
        description: the model file has to say what the model is for.
    """

    margin: Annotated[float, Field(ge=0, lt=1)] = 0.0
    level: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    slice_margin: Annotated[float, Field(ge=0)] = 0.1
    slice_min_rows: PositiveInt = 30
    overfit: Annotated[float, Field(gt=0)] | None = None
    latency_ms: Annotated[float, Field(gt=0)] = 200.0
    size_mb: Annotated[float, Field(gt=0)] = 200.0
    tags: tuple[str, ...] = ()
    description: bool = False


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
        policy: when it is retrained, an object of `evergreen.policies` or a function of one's own; None for the
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
