"""Why each row of a batch is rejected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Mask = npt.NDArray[np.bool_]


class RowErrors:
    """Why each row is rejected. The first reason of a row stays: it is nearest to the cause."""

    def __init__(self, index: pd.Index) -> None:
        self.index = index
        self.reasons = [""]
        self.codes = np.zeros(len(index), dtype=np.int32)

    def reject(self, where: pd.Series | Mask, reason: str) -> None:
        """Reject the rows that are accepted so far and where `where` is true."""
        rows = np.asarray(where, dtype=bool) & self.accepted
        if rows.any():
            self.codes[rows] = len(self.reasons)
            self.reasons.append(reason)

    @property
    def accepted(self) -> Mask:
        """Which rows are not rejected."""
        return np.asarray(self.codes == 0)

    def by_row(self) -> pd.Series:
        """The reason of each rejected row, by its index."""
        import pandas as pd

        rejected = ~self.accepted
        reasons = [self.reasons[code] for code in self.codes[rejected]]
        return pd.Series(reasons, index=self.index[rejected], dtype="object")
