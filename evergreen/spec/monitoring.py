"""How a model is watched: drift, performance, what is served beside what lands, and the former champion."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from evergreen.spec.fields import Duration, Frozen, Length, PositiveInt, Share
from evergreen.spec.metric import Metric


class DriftThresholds(Frozen):
    """When a drift report fails. Methods are effect sizes, never p-values, so that row counts do not decide.

    Attributes:
        columns: what is compared; empty for every feature. The champion's prediction is always added.
        method: Evidently's name of the score for every column. The default, the population stability index, has
            thresholds that credit-risk practice has used since Siddiqi (2006): above 0.1 moderate, above 0.25 large.
        threshold: a column with a score above this has drifted.
        share: the report fails when at least this share of the columns has drifted.
        missing: a column whose share of missing or infinite values rose by more than this has drifted.
        unseen: a categorical column with more than this share of unknown categories has drifted.
        last: only current rows this recent, a duration or `Rows(500)`; None for all since the champion's window.
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
    last: Length | None = None
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


class PerformanceThresholds(Frozen):
    """When a performance report fails: the champion's own metric, on rows that came since, against the one it had.

    Attributes:
        tolerance: how much the champion's error may grow after its promotion, as a share of it; of a score the error
            is what it lacks to 1. The default was measured: see `docs/performance.md`.
        absolute: the same in the metric's unit, where that is more than the share; what counts when the error was 0.
        level: 1 - confidence of the interval that has to lie beyond the tolerance.
        last: only labelled rows this recent, a duration or `Rows(500)`, counted back from the newest mature window;
            None for all since the champion's.
        min_rows: with fewer labelled rows the verdict is INCONCLUSIVE.
        window: rows are judged by windows of this length, counted from the epoch; those of a model with `order="rows"`
            by `Rows(500)`, counted from the first row that landed. Rows without an order are in one window.
        coverage: a window is mature, and judged, when at least this share of its rows has a label.
        also: metrics that are measured beside the model file's. One with a `bound` fails the report when it is proven
            beyond it; the others are only shown.
    """

    tolerance: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    absolute: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    level: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    last: Length | None = None
    min_rows: Annotated[int, Field(ge=2)] = 100
    window: Length = timedelta(days=7)
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


class Skew(Frozen):
    """When what was served differs from what landed later for the same key.

    Attributes:
        max_share: a column may differ in this share of the rows: corrections, values that came in between. 1 reports
            nothing.
        level: how often a model of which no column differs in more is reported, over all looks and columns for as long
            as it lives.
        min_rows: a look is taken when so many more served rows have landed.
    """

    max_share: Share = 0.01
    level: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    min_rows: Annotated[int, Field(ge=2)] = 100
