"""Prepare a row without a frame, by the model file's `prepare_row`, once it is seen to do what `prepare` does.

Rows as they arrive are kept nowhere: `prepare` may be where names and addresses are dropped. So the two are compared on
what is asked. The first rows are answered as frames, by `prepare`, and are given to `prepare_row` as well; it answers
when so many different ones agreed, and is compared again now and then. One difference, and frames answer for as long as
the version serves.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from evergreen.data.observations import Observations
from evergreen.spec.model import ModelSpec
from serving.admission.direct import DirectAdmission
from serving.identity import identities_of_frame, identities_of_rows

if TYPE_CHECKING:
    import pandas as pd
    from pandera.pandas import DataFrameSchema

AGREED_ROWS = 32
"""Different rows on which both have to agree first."""
MOST_ROWS = 64
"""Rows of one request that are compared, at most."""
EVERY = 1_000
"""Of so many requests one is answered as a frame and compared, for as long as the version serves."""

_LOG = logging.getLogger(__name__)
Row = Mapping[str, Any]


@dataclass(slots=True)
class RowPreparation:
    """A model's `prepare_row` and what is known of it.

    Attributes:
        spec: the model.
        schema: of the rows that are predicted (`scoring_schema`).
        direct: admits rows that are prepared.
        agreed: different rows on which it did what `prepare` does.
        difference: the first that was found; empty where there is none.
        unusable: why a row that `prepare` took was not compared; empty where all were.
    """

    spec: ModelSpec
    schema: DataFrameSchema
    direct: DirectAdmission
    agreed: int = 0
    difference: str = ""
    unusable: str = ""
    _function: Callable[[dict[str, Any]], Mapping[str, Any]] = field(init=False)
    _observations: Observations = field(init=False)
    _zone: ZoneInfo | None = field(init=False)
    _seen: set[int] = field(default_factory=set)
    _requests: int = 0

    def __post_init__(self) -> None:
        assert self.spec.serve is not None  # noqa: S101 - for the type checker
        assert self.spec.serve.prepare_row is not None  # noqa: S101
        self._function = self.spec.serve.prepare_row
        # Nothing is read from the lake: only the types of its columns count.
        self._observations = Observations("", self.spec)
        self._zone = None if self.spec.timezone is None else ZoneInfo(self.spec.timezone)

    @property
    def slow_because(self) -> str:
        """Why frames answer; empty where `prepare_row` does."""
        if self.difference:
            return self.difference
        if self.agreed < AGREED_ROWS:
            so_far = f"prepare_row() is compared with prepare() first, {self.agreed} of {AGREED_ROWS} rows so far"
            return f"{so_far}; {self.unusable}" if self.unusable else so_far
        return ""

    def prepare(self, rows: Sequence[Row]) -> list[Row] | None:
        """Rows with the contract's columns; None where they are to be answered as a frame."""
        self._requests += 1
        if self.difference or self.agreed < AGREED_ROWS or self._requests % EVERY == 0:
            return None
        prepared = [self._prepared(row) for row in rows]
        return None if None in prepared else prepared  # type: ignore[return-value]

    def _prepared(self, row: Row) -> Row | None:
        try:
            found = self._function(dict(row)).items()
        except Exception as error:
            # What it cannot do, prepare() may; and a fault of the row is told by the slower way.
            self.unusable = f"on a row it failed with {type(error).__name__}"
            return None
        # The contract has no column for what else prepare_row leaves in the row, as with a frame.
        return {name: _as_json(value, self._zone) for name, value in found if name in self.schema.columns}

    def compare(self, rows: Sequence[Row], checked: pd.DataFrame, values: Sequence[Sequence[Any]]) -> None:
        """Hold rows that were answered as a frame against what `prepare_row` makes of them.

        Whatever goes wrong in it keeps `prepare_row` from answering, and no request from its answer.

        Args:
            rows: as they arrived.
            checked: what `prepare` and the contract made of each.
            values: what the pipeline got for each.
        """
        try:
            self._compare(rows[:MOST_ROWS], checked.iloc[:MOST_ROWS], values)
        except Exception as error:
            self._tell(f"prepare_row() cannot be compared with prepare() ({type(error).__name__})")

    def _compare(self, rows: Sequence[Row], checked: pd.DataFrame, values: Sequence[Sequence[Any]]) -> None:
        prepared = [self._prepared(row) for row in rows]
        mine = [None if row is None else self.direct.admit(row) for row in prepared]
        # A row that is not plain is answered as a frame also later.
        both = [position for position, found in enumerate(mine) if found is not None]
        if len(both) < len([row for row in prepared if row is not None]):
            self.unusable = "a row of it is not plain: each value in the contract's type, a time with its offset"
        for position in both:
            for name, one, other in zip(self.spec.features.all, mine[position] or (), values[position], strict=True):
                if not _is_same(one, other):
                    self._tell(f"prepare_row() gives {name} another value than prepare()")
        self._compare_identities([prepared[position] or {} for position in both], checked.iloc[both])
        if not self.difference:
            self._count([rows[position] for position in both])

    def compare_refused(self, rows: Sequence[Row]) -> None:
        """Hold rows that were refused as a frame against what `prepare_row` makes of them."""
        for row in rows:
            prepared = self._prepared(row)
            if prepared is not None and self.direct.admit(prepared) is not None:
                self._tell("prepare_row() makes a good row of one that prepare() or the contract refuses")

    def _compare_identities(self, prepared: Sequence[Row], checked: pd.DataFrame) -> None:
        """Keys and times: a label that comes later has to find the row, however it was prepared."""
        wanted = identities_of_frame(self.spec, checked, self._observations)
        found = identities_of_rows(self.spec, self.schema, prepared, self._observations)
        for one, other in zip(found, wanted, strict=True):
            if one != other:
                name = "the time" if one.at != other.at else "the key"
                self._tell(f"prepare_row() gives {name} another value than prepare(), or none")

    def _count(self, rows: Sequence[Row]) -> None:
        if self.agreed >= AGREED_ROWS:
            return
        self._seen |= {hash(tuple(row.items())) for row in rows}
        self.agreed = len(self._seen)
        if self.agreed >= AGREED_ROWS:
            self._seen.clear()
            name = self.spec.name
            _LOG.info("%s: prepare_row() agrees with prepare() and answers now", name, extra={"model": name})

    def _tell(self, difference: str) -> None:
        if not self.difference:
            self.difference = difference
            name = self.spec.name
            _LOG.warning("%s is answered as frames: %s", name, difference, extra={"model": name})


def _as_json(value: Any, zone: ZoneInfo | None) -> Any:
    """A time as text with its offset, which one without gets from the model's zone, as in `prepare`."""
    if not isinstance(value, datetime):
        return value
    if value.tzinfo is None and zone is not None:
        early, late = (value.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
        # An hour that there is twice, or not at all, is for the slower way to judge.
        value = early if early.utcoffset() == late.utcoffset() else value
    return value.isoformat()


def _is_same(one: Any, other: Any) -> bool:
    return bool(one == other or (one != one and other != other))  # noqa: PLR0124 - NaN
