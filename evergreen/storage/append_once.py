"""Append rows that have an id, each id once, whoever else appends at the same time.

Every commit is made in turn (`Table.append_in_turn`): of two that were looked up at the same turn Delta makes one, and
the other looks again. So between the look and the commit nobody added anything, in this process or another one.

What has to be looked up is small. The ids of the rows that were added last are remembered, also those of others, for
each new file of the table is read once. The whole table is searched only for ids that are among them, or whose caller
cannot rule out that they were here before. Ids that rise with time are found in few files, by statistics.
"""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from evergreen.errors import BusyError
from evergreen.storage.delta_errors import read_error
from evergreen.storage.delta_table import Table
from evergreen.storage.table_files import files_of, read_files

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds

    from evergreen.storage.delta_table import OpenTable

REMEMBERED = 200_000
"""Ids that are remembered: about 20 MB."""
DOUBTED = 10_000
"""So many ids are searched after a gap: more than a caller holds at a time."""
_ATTEMPTS = 50
"""Each that fails means that another one was made."""


@dataclass(slots=True)
class OnceWriter:
    """Appends to one table.

    Attributes:
        column: that holds the ids; rows of one id are always appended together.
        remembered: how many ids are remembered.
    """

    column: str
    remembered: int = REMEMBERED
    _ids: dict[str, None] = field(default_factory=dict)
    _files: frozenset[str] | None = None
    _doubted: int = 0

    def look(self, table: Table) -> None:
        """Remember what was added last; to be done before the first id arrives."""
        self._remember(table.open())

    def find(self, table: Table, ids: Collection[str], columns: Sequence[str]) -> pa.Table:
        """All rows of these ids that the table has, in columns of its own types."""
        return self._search(table.open(), ids, columns)

    def suspects(self, ids: Collection[str]) -> set[str]:
        """Those of the ids that are among the remembered ones."""
        return {each for each in ids if each in self._ids}

    def append(self, table: Table, rows: pa.Table, again: Collection[str]) -> set[str]:
        """Append the rows whose id the table does not have, in one commit.

        Args:
            table: which.
            rows: in its columns.
            again: ids that may be there although nobody added them lately: they are searched in the whole table.

        Returns:
            The ids that were there already; their rows were not appended.

        Raises:
            BusyError: others were faster again and again; nothing was written.
            EvergreenError: the table cannot be read or written.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        ids = set(rows.column(self.column).to_pylist())
        for _ in range(_ATTEMPTS):
            opened = table.open()
            self._remember(opened)
            doubtful = ids if self._doubted > 0 else self.suspects(ids) | ids.intersection(again)
            found = self._search(opened, doubtful, (self.column,))
            there = set(found.column(0).to_pylist())
            fresh = rows.filter(pc.invert(pc.is_in(rows.column(self.column), pa.array(there, pa.string()))))
            try:
                if fresh.num_rows:
                    table.append_in_turn(fresh, opened)
            except BusyError:
                time.sleep(random.uniform(0.0, 0.05))  # noqa: S311 - so that two do not meet for ever
            else:
                self._doubted -= len(ids)
                return there
        raise BusyError(f"{table.uri} is written by others all the time.", "It is tried again.")

    def _remember(self, opened: OpenTable) -> None:
        """Read the ids of files that are new."""
        import pyarrow as pa
        import pyarrow.compute as pc

        files = files_of(opened, self.column)
        first, known = self._files is None, pa.array(self._files or (), pa.string())
        self._files = frozenset(files["path"].to_pylist())
        new = files.filter(pc.invert(pc.is_in(files["path"], known))).sort_by("added")
        if not first and (pc.sum(new["rows"]).as_py() or 0) > self.remembered:
            # Others added more since the last look than is remembered, and a caller may hold some of it.
            self._doubted = DOUBTED
        for name in self._read(opened, _newest(new, self.remembered), (self.column,)).column(0).unique().to_pylist():
            self._ids.pop(name, None)
            self._ids[name] = None
        while len(self._ids) > self.remembered:
            del self._ids[next(iter(self._ids))]

    def _search(self, opened: OpenTable, ids: Collection[str], columns: Sequence[str]) -> pa.Table:
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.dataset as ds

        if not ids:
            return self._read(opened, (), columns)
        least, most = min(ids), max(ids)
        files = files_of(opened, self.column)
        # A text that statistics have cut is less than what comes behind it.
        ends = pc.binary_join_element_wise(files["most"], "\U0010ffff", "")
        within = pc.and_(pc.less_equal(files["least"], most), pc.greater_equal(ends, least))
        paths = files.filter(pc.fill_null(within, True))["path"].to_pylist()
        place = ds.field(self.column)
        where = (place >= least) & (place <= most) & place.isin(pa.array(sorted(ids), pa.string()))
        return self._read(opened, paths, columns, where)

    def _read(
        self, opened: OpenTable, paths: Sequence[str], columns: Sequence[str], where: ds.Expression | None = None
    ) -> pa.Table:
        import pyarrow as pa

        try:
            return read_files(opened, paths, columns, where)
        except (OSError, pa.ArrowException) as error:
            raise read_error(opened.table_uri, error) from None


def _newest(files: pa.Table, rows: int) -> list[str]:
    """The files that were added last, with so many rows at most, oldest first."""
    chosen: list[str] = []
    for path, count in zip(files["path"].to_pylist()[::-1], files["rows"].to_pylist()[::-1], strict=True):
        rows -= count or 0
        if rows < 0:
            break
        chosen.append(path)
    return chosen[::-1]
