"""How far a SQL query was read: the greatest watermark so far, and which rows near it were read already."""

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

KEPT = 256
"""The hashes of so many rows are kept with a mark; of more none is, and the model's keys tell which came again."""

_KINDS: dict[str, Any] = {
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "int": int,
    "float": float,
    "Decimal": Decimal,
    "str": str,
}


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a query that is ordered by its watermark.

    Attributes:
        at: the greatest watermark, in the type that the database's driver gives.
        seen: hashes of the rows that are read again when reading goes on from here.
    """

    at: Any
    seen: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Mark:
        """The mark behind a text."""
        kind, at, seen = json.loads(text)
        return cls(_KINDS[kind](at), tuple(seen))

    @property
    def text(self) -> str:
        """As it is kept.

        Raises:
            DataError: the watermark is of a type that has no order, or no number.
        """
        kind = type(self.at).__name__
        if kind not in _KINDS or self.at != self.at:
            raise DataError(
                f"source: the watermark holds {'no number' if kind in _KINDS else f'a {kind}'}.",
                "Take a column of times, of numbers or of texts that sort like times.",
            )
        at = self.at.isoformat() if isinstance(self.at, date) else str(self.at)
        return json.dumps([kind, at, list(self.seen)])

    def less(self, overlap: timedelta | int | None) -> Any:
        """The watermark from which on reading goes on.

        Raises:
            DataError: the overlap is of another kind than the watermark.
        """
        if overlap is None:
            return self.at
        try:
            return self.at - overlap
        except TypeError:
            raise DataError(
                f"source: the overlap is a {type(overlap).__name__}, and the watermark a {type(self.at).__name__}.",
                "Give a timedelta for times and a whole number for numbers; texts have no overlap.",
            ) from None


class Window:
    """The rows that will be read again, as reading moves on.

    Attributes:
        overlap: as the source has it.
    """

    def __init__(self, overlap: timedelta | int | None) -> None:
        self.overlap = overlap
        # One more than are kept says that there are too many.
        self._rows: deque[tuple[Any, str]] = deque(maxlen=KEPT + 1)

    def add(self, watermark: Any, row: str) -> None:
        """Move on by a row, by its watermark and its hash; watermarks come in their order."""
        if self._rows and self._rows[-1][0] != watermark:
            low = Mark(watermark).less(self.overlap)
            # Texts, which have no overlap, are only ever the same or not: their order is the database's own.
            while self._rows and (self.overlap is None or self._rows[0][0] < low):
                self._rows.popleft()
        self._rows.append((watermark, row))

    @property
    def mark(self) -> Mark:
        """The mark behind the rows so far, of which there is at least one."""
        seen = tuple(row for _, row in self._rows)
        return Mark(self._rows[-1][0], seen if len(seen) <= KEPT else ())


def row_hash(row: Sequence[Any]) -> str:
    """A hash of a row's values, 16 hex digits."""
    return hashlib.blake2b(repr(tuple(row)).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
