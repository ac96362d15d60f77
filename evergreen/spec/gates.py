"""What a candidate is held to, as a model file says it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from evergreen.spec.fields import Frozen, PositiveInt

if TYPE_CHECKING:
    from pandas import DataFrame
else:
    DataFrame = Any

ROUTINE_MARGIN = 0.15
"""The `routine_margin` that `evergreen new` writes; docs/gates.md has the figures that it was chosen by."""


class Gates(Frozen):
    """What a candidate has to prove, beside the metric's own bound.

    Attributes:
        margin: how much worse than the champion is still accepted, as a share of the champion's metric. 0 asks for a
            proven improvement; 0.01 accepts what is proven not to be more than 1 % worse.
        routine_margin: the same for a routine candidate, one of the champion's own recipe on newer rows: it has to be
            proven not worse than the champion by more than this share, and must not be proven worse at all. None asks
            of it what is asked of a new recipe.
        baseline: a rule of one's own, `rule(rows) -> values`, that has to be beaten as the constant prediction has to;
            it sees the rows without the target, and gives for each of them a value, a class or, where the metric needs
            one, the probability of the last of two classes.
        persistence: whether a candidate on ordered rows is compared with repeating the last known label, and that of a
            season ago: `off`, `tell`, or `beat` where it has to be better. Labels that come later than most rows are
            only told.
        level: chance of promoting a candidate that is exactly `margin` worse.
        blocks: which rows count as one in the intervals, for their errors are alike. `day`, those of a day; of fewer
            than twenty days, those of a twentieth. `measured`, as many days as the errors depend on each other, chosen
            by the rule of Politis and White (2004); too few of them to judge by is INCONCLUSIVE. `performance` and
            `shadow` follow it.
        slice_margin: a slice proven to be worse by more than this share rejects the candidate.
        slice_min_rows: smaller slices are not judged.
        overfit: the largest gap between the training and the holdout metric, in the metric's unit.
        latency_ms: median time of a prediction of one row.
        size_mb: size of the stored model.
        tags: tags that must be there and not empty: of the model file, or set in MLflow on the model or the version.
        description: the model file has to say what the model is for.
    """

    margin: Annotated[float, Field(ge=0, lt=1)] = 0.0
    routine_margin: Annotated[float, Field(ge=0, lt=1)] | None = None
    baseline: Callable[[DataFrame], Any] | None = None
    persistence: Literal["off", "tell", "beat"] = "off"
    level: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    blocks: Literal["day", "measured"] = "day"
    slice_margin: Annotated[float, Field(ge=0)] = 0.1
    slice_min_rows: PositiveInt = 30
    overfit: Annotated[float, Field(gt=0)] | None = None
    latency_ms: Annotated[float, Field(gt=0)] = 200.0
    size_mb: Annotated[float, Field(gt=0)] = 200.0
    tags: tuple[str, ...] = ()
    description: bool = False
