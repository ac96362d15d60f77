"""The clock of a replay: when a row came, and how an instant or a length is told.

Rows with a time came at it. Rows in the order of landing have none: a window of them (`performance.window`), which is a
step of the replay, takes a day, so that what a policy counts in days is counted in steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from evergreen.markdown import many
from evergreen.spec.fields import Rows

Times = npt.NDArray[np.int64]
DAY = timedelta(days=1)
_DAY_US = DAY // timedelta(microseconds=1)
_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Clock:
    """What a replay goes by.

    Attributes:
        window: of the performance report: a duration, or so many rows.
    """

    window: timedelta | Rows

    @property
    def by_rows(self) -> bool:
        """Whether rows have no time, and come one after the other."""
        return isinstance(self.window, Rows)

    @property
    def step(self) -> timedelta:
        """From one step to the next."""
        return DAY if isinstance(self.window, Rows) else self.window

    @property
    def ahead(self) -> timedelta:
        """How long a promotion is looked at afterwards: four weeks, or four windows of rows."""
        return 4 * DAY if self.by_rows else timedelta(weeks=4)

    @property
    def described_ahead(self) -> str:
        """`ahead` in words, as what it is counted in."""
        return "four windows" if self.by_rows else "four weeks"

    @property
    def described_step(self) -> str:
        """The length of a step, such as `7 days` or `500 rows`."""
        return str(self.window) if isinstance(self.window, Rows) else _days(self.window)

    def times(self, rows: Times) -> Times:
        """When rows with these numbers (n,) came, microseconds since 1970."""
        day, rest = np.divmod(rows, self._rows)
        return np.asarray(day * _DAY_US + rest * _DAY_US // self._rows, dtype=np.int64)

    def instant(self, row: int) -> datetime:
        """When a row came."""
        return _EPOCH + int(self.times(np.array([row]))[0]) * timedelta(microseconds=1)

    def row(self, moment: datetime) -> int:
        """The number of the first row that had not come before a moment (aware)."""
        day, rest = divmod((moment - _EPOCH) // timedelta(microseconds=1), _DAY_US)
        return day * self._rows + -(-rest * self._rows // _DAY_US)

    def name(self, moment: datetime) -> str:
        """An instant (aware), as a person names it: a date, or the row that came then."""
        return f"row {self.row(moment):,}" if self.by_rows else f"{moment:%Y-%m-%d}"

    def plain(self, moment: datetime) -> str | int:
        """An instant (aware), as a program reads it."""
        return self.row(moment) if self.by_rows else moment.isoformat()

    def describe(self, length: timedelta | Rows) -> str:
        """A length of the replay: in days, or in rows."""
        if isinstance(length, Rows):
            return str(length)
        return many(round(length / DAY * self._rows), "row") if self.by_rows else _days(length)

    @property
    def _rows(self) -> int:
        return self.window.count if isinstance(self.window, Rows) else 1


CALENDAR = Clock(timedelta(days=7))
"""That of rows with a time."""


def _days(span: timedelta) -> str:
    days = f"{span / DAY:.3g}"
    return f"{days} {'day' if days == '1' else 'days'}"
