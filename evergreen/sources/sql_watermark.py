"""How far an SQL query was read: the greatest watermark so far, and which rows near it were read already."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from evergreen.errors import DataError

MAX_HASHES = 256
"""An offset keeps the hashes of up to this many rows. If there are more it keeps none, and the model's keys tell which
rows were read before."""

_PARSERS: dict[str, Any] = {
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "int": int,
    "float": float,
    "Decimal": Decimal,
    "str": str,
}


@dataclass(frozen=True, slots=True)
class Offset:
    """A position in a query that is ordered by its watermark.

    Attributes:
        watermark: the greatest watermark so far, in the type that the database's driver gives.
        seen: hashes of the rows that are read again when reading continues from here.
    """

    watermark: Any
    seen: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Offset:
        """Read an offset from its text."""
        kind, watermark, seen = json.loads(text)
        return cls(_PARSERS[kind](watermark), tuple(seen))

    @property
    def text(self) -> str:
        """The offset as it is stored.

        Raises:
            DataError: the watermark is NaN, or of a type that has no order.
        """
        kind = type(self.watermark).__name__
        if kind not in _PARSERS or self.watermark != self.watermark:
            raise DataError(
                f"source: the watermark holds {'no number' if kind in _PARSERS else f'a {kind}'}.",
                "Take a column of times, of numbers or of texts that sort like times.",
            )
        watermark = self.watermark.isoformat() if isinstance(self.watermark, date) else str(self.watermark)
        return json.dumps([kind, watermark, list(self.seen)])

    def start(self, overlap: timedelta | int | None) -> Any:
        """The watermark from which reading continues: `overlap` before the greatest so far.

        Raises:
            DataError: the overlap does not suit the watermark's type.
        """
        if overlap is None:
            return self.watermark
        try:
            return self.watermark - overlap
        except TypeError:
            raise DataError(
                f"source: the overlap is a {type(overlap).__name__}, and the watermark a "
                f"{type(self.watermark).__name__}.",
                "Give a timedelta for times and a whole number for numbers; texts have no overlap.",
            ) from None


class RecentRows:
    """The rows so far that will be read again from the current offset.

    Attributes:
        overlap: of the source.
    """

    def __init__(self, overlap: timedelta | int | None) -> None:
        self.overlap = overlap
        # One row more than an offset keeps shows that there are too many.
        self._rows: deque[tuple[Any, str]] = deque(maxlen=MAX_HASHES + 1)

    def add(self, watermark: Any, row: str) -> None:
        """Add the next row, by its watermark and its hash; watermarks come in ascending order."""
        if self._rows and self._rows[-1][0] != watermark:
            start = Offset(watermark).start(self.overlap)
            # Without an overlap, watermarks are only compared for equality: the order of texts is the database's own.
            while self._rows and (self.overlap is None or self._rows[0][0] < start):
                self._rows.popleft()
        self._rows.append((watermark, row))

    @property
    def offset(self) -> Offset:
        """The offset after the rows so far, of which there is at least one."""
        seen = tuple(row for _, row in self._rows)
        return Offset(self._rows[-1][0], seen if len(seen) <= MAX_HASHES else ())


def row_hash(row: Sequence[Any]) -> str:
    """A hash of a row's values, 16 hex digits."""
    return hashlib.blake2b(repr(tuple(row)).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
