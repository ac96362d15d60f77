"""What a candidate is trained on, and how its parameters are searched."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from evergreen.spec.fields import Frozen, Length, PositiveInt, Rows, distance


class Search(Frozen):
    """A bounded grid: every combination is tried, `folds` times, so the cost is known beforehand.

    Folds follow the order of the rows where they have one, by time or by rows, and are stratified for a classification
    without one.
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

    Lengths are durations, and numbers of rows, `Rows(500)`, for a model with `order="rows"`.

    Attributes:
        strategy: `latest`, the newest `share` of the rows; `blocked`, every `every`-th `block` within the last
            `recent`, counted from the epoch, or from the first row that landed, so that every version leaves out the
            same ones and a candidate can still learn a fresh regime; `random`, a seeded `share`, for rows without an
            order.
        gap: rows less than this away from a judging row, on either side, are neither learned nor judged; None leaves
            none out. Where the label of a row is about a stretch of time, such as a sale within 30 days, rows closer
            than that stretch share a part of their labels (purging and embargo: Lopez de Prado 2018, Advances in
            Financial Machine Learning, section 7.4).
        min_rows: with fewer distinct rows, gates answer INCONCLUSIVE.
    """

    strategy: Literal["latest", "blocked", "random"] = "latest"
    share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    block: Length = timedelta(days=1)
    every: Annotated[int, Field(ge=2)] = 5
    recent: Length | None = None
    gap: Length | None = None
    seed: int = 42
    min_rows: PositiveInt = 30

    @model_validator(mode="after")
    def _leaves_rows_to_learn(self) -> Self:
        if self.gap is not None and self.strategy == "random":
            raise ValueError("gap: it is a time between training and holdout, and a random holdout knows no time")
        if self.gap is None or self.strategy != "blocked" or isinstance(self.gap, Rows) != isinstance(self.block, Rows):
            # That one of both is of another kind than the model's order is told there.
            return self
        if distance(2 * self.gap) >= distance((self.every - 1) * self.block):
            raise ValueError("gap: on both sides of each block it leaves no row to learn from; make `every` larger")
        return self


class Training(Frozen):
    """Which rows a candidate learns from, and how much each counts.

    Lengths are durations, and numbers of rows, `Rows(500)`, for a model with `order="rows"`.

    Attributes:
        last: only rows this recent, counted from the newest; None for all of history.
        half_life: a row this old counts half as much as the newest; None weighs all alike.
        min_rows: with fewer, nothing is trained and the outcome is inconclusive.
        refit: what is deployed is fitted once more, with the parameters that were found, on training and holdout rows
            together; the gates judge the first fit. See `docs/gates.md`.
    """

    last: Length | None = None
    half_life: Length | None = None
    min_rows: PositiveInt = 50
    refit: bool = False
