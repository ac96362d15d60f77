"""What a candidate is held to, as a model file says it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from evergreen.spec.fields import Frozen, PositiveInt


class Gates(Frozen):
    """What a candidate has to prove, beside the metric's own bound.

    Attributes:
        margin: how much worse than the champion is still accepted, as a share of the champion's metric. 0 asks for a
            proven improvement; 0.01 accepts what is proven not to be more than 1 % worse.
        level: chance of promoting a candidate that is exactly `margin` worse.
        blocks: which rows count as one in the intervals, for their errors are alike. `day`, those of a day; of fewer
            than twenty days, those of a twentieth. `measured`, as many days as the errors depend on each other, chosen
            by the rule of Politis and White (2004); too few of them to judge by is INCONCLUSIVE.
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
    blocks: Literal["day", "measured"] = "day"
    slice_margin: Annotated[float, Field(ge=0)] = 0.1
    slice_min_rows: PositiveInt = 30
    overfit: Annotated[float, Field(gt=0)] | None = None
    latency_ms: Annotated[float, Field(gt=0)] = 200.0
    size_mb: Annotated[float, Field(gt=0)] = 200.0
    tags: tuple[str, ...] = ()
    description: bool = False
