"""How a challenger meets live traffic before it is champion."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from evergreen.spec.fields import Duration, Frozen, PositiveInt
from evergreen.spec.metric import KNOWN

_Percent = Annotated[int, Field(ge=1, le=100)]


class Canary(Frozen):
    """With `approval="canary"` a candidate that passed its gates meets live traffic before it is champion.

    Attributes:
        steps: percent of the requests that it answers, one step after the other.
        mode: `steps` lets it answer by steps; `shadow` predicts with both, and the champion answers everything.
        key: the column of a request by which it is sent to one of the two, so that whoever it names stays with one; the
            header X-Route-Key counts before it. Without either, each request is drawn for itself.
        hold: how long a step lasts, at least.
        budget: how long the whole canary may take; without proof by then the champion stays, and a person is told.
        max_rows: how many rows it may compare; None for as many as come.
        min_rows: of these, how many a step needs.
        margin: by how much of the champion's mean loss all traffic together may lose.
        metric: a metric that is a mean over rows, by which the outcome is judged; None for the model file's own or,
            where that is no such mean, for `mae`, `log_loss` or `accuracy`.
        max_failures: the share of rows that it may fail to answer where the champion answers them.
        max_slowdown: by how much of the champion's time it may take longer, in the median.
        deadline: seconds; a later answer counts as none.
        block: rows of one block of time stand for one observation of the loss, because neighbours are alike.
        level: how often an equal candidate may be refused, and a worse one promoted, over the whole canary.
        max_disagreement: a step waits where the versions differ this many times as much on rows without a label as on
            those with one.
    """

    steps: Annotated[tuple[_Percent, ...], Field(min_length=1)] = (5, 25, 50, 100)
    mode: Literal["steps", "shadow"] = "steps"
    key: str | None = None
    hold: Duration = timedelta(hours=1)
    budget: Duration = timedelta(days=14)
    max_rows: PositiveInt | None = None
    min_rows: PositiveInt = 100
    margin: Annotated[float, Field(gt=0, le=1)] = 0.05
    metric: str | None = None
    max_failures: Annotated[float, Field(gt=0, lt=1)] = 0.005
    max_slowdown: Annotated[float, Field(gt=0)] = 0.5
    deadline: Annotated[float, Field(gt=0)] = 1.0
    block: Duration = timedelta(hours=1)
    level: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    max_disagreement: Annotated[float, Field(gt=1)] = 2.0

    @model_validator(mode="after")
    def _steps_rise(self) -> Self:
        if list(self.steps) != sorted(set(self.steps)):
            raise ValueError(f"steps: {self.steps} has to rise from step to step")
        return self

    @field_validator("metric")
    @classmethod
    def _mean_over_rows(cls, metric: str | None) -> str | None:
        if metric is not None and (metric not in KNOWN or KNOWN[metric].pointwise is None):
            means = ", ".join(sorted(name for name, kind in KNOWN.items() if kind.pointwise is not None))
            raise ValueError(f"{metric!r} is no mean over rows; the metrics that are one are {means}")
        return metric


def canary_of(spec: Any) -> Canary:
    """The model file's canary, or the defaults; `spec` is a ModelSpec."""
    return (spec.serve.canary if spec.serve else None) or Canary()


def canary_disagreements(spec: Any) -> Iterator[tuple[str, str]]:
    """Whether the model is served in such a way that a canary can be judged; what is wrong by field."""
    if spec.approval.mode == "canary" and spec.serve is None:
        yield "approval", "'canary' lets a candidate meet live traffic, and the model is not served; add serve=Serve()"
    elif spec.approval.mode == "canary" and not spec.keys:
        yield "approval", "'canary' waits for the labels of rows that were answered, and without keys=... none is found"
    elif spec.approval.mode == "canary" and spec.serve.log == 0:
        yield "serve", "log=0 keeps no answer, and approval='canary' judges by what is kept"
    elif spec.serve is not None and spec.serve.canary is not None:
        yield from _unusable(spec, spec.serve.canary)


def _unusable(spec: Any, canary: Canary) -> Iterator[tuple[str, str]]:
    if spec.approval.mode != "canary":
        yield "serve", "canary=... is never used without approval='canary'"
    elif canary.metric is not None and KNOWN[canary.metric].task != spec.task:
        yield "serve", f"canary: {canary.metric!r} is a metric of {KNOWN[canary.metric].task}, not of {spec.task}"
