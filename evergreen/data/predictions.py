"""The predictions of a model for some rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evergreen.spec.metric import Array


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """The predictions of a model for n rows.

    Attributes:
        values: predicted values or labels, shape (n,).
        probability: of each class, shape (n, k); None if the model gives none.
        classes: the classes of the k columns.
    """

    values: Array
    probability: Array | None = None
    classes: tuple[Any, ...] | None = None
