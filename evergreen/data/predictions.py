"""What a model says about some rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evergreen.spec.metric import Array


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What a model says about n rows.

    Attributes:
        values: predicted values or labels, shape (n,).
        probability: of each class, shape (n, k); None where the model gives none.
        classes: what the k columns stand for.
    """

    values: Array
    probability: Array | None = None
    classes: tuple[Any, ...] | None = None
