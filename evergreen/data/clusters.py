"""Rows that stand or fall together in a bootstrap."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen.spec.fields import Rows


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Clusters of rows that follow each other.

    Attributes:
        numbers: that of each row's cluster, shape (n,); a later cluster has a larger number.
        length: the time that one of them covers, or so many rows.
    """

    numbers: npt.NDArray[np.int64]
    length: timedelta | Rows

    def __getitem__(self, rows: npt.NDArray[Any]) -> Clusters:
        """The clusters of some of the rows, by mask or position."""
        return Clusters(self.numbers[rows], self.length)
