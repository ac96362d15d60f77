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
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from evergreen.errors import BusyError
from evergreen.storage.delta_table import Table, dataset_of

if TYPE_CHECKING:
    import pyarrow as pa

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
        return self._search(table, table.open(), ids, columns)

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
            found = self._search(table, opened, doubtful, (self.column,))
            there = set(found.column(0).to_pylist())
            fresh = rows.filter(pc.invert(pc.is_in(rows.column(self.column), pa.array(there, pa.string()))))
            try:
                if fresh.num_rows:
                    table.append_in_turn(fresh, table.turn(opened))
            except BusyError:
                time.sleep(random.uniform(0.0, 0.05))  # noqa: S311 - so that two do not meet for ever
            else:
                self._doubted -= len(ids)
                return there
        raise BusyError(f"{table.uri} is written by others all the time.", "It is tried again.")

    def _remember(self, opened: OpenTable) -> None:
        """Read the ids of files that are new."""
        files = {each.path: each for each in dataset_of(opened).get_fragments()}
        first = self._files is None
        new = [files[path] for path in files.keys() - (self._files or frozenset())]
        self._files = frozenset(files)
        if sum(each.count_rows() for each in new) > self.remembered:
            # Others added more since the last look than is remembered, and a caller may hold some of it.
            self._doubted = 0 if first else DOUBTED
            new = _newest(opened, files, self.remembered)
        for each in new:
            for name in each.to_table(columns=[self.column]).column(0).unique().to_pylist():
                self._ids.pop(name, None)
                self._ids[name] = None
        while len(self._ids) > self.remembered:
            del self._ids[next(iter(self._ids))]

    def _search(self, table: Table, opened: OpenTable, ids: Collection[str], columns: Sequence[str]) -> pa.Table:
        import pyarrow as pa
        import pyarrow.dataset as ds

        schema = pa.schema([table.schema.field(name) for name in columns])
        if not ids:
            return schema.empty_table()
        place = ds.field(self.column)
        # The range lets files be left out by their statistics.
        where = (place >= min(ids)) & (place <= max(ids)) & place.isin(pa.array(sorted(ids), pa.string()))
        pieces = list(table.scan(columns, where, opened.version()))
        return pa.Table.from_batches(pieces, pieces[0].schema).cast(schema) if pieces else schema.empty_table()


def _newest(opened: OpenTable, files: Mapping[str, Any], rows: int) -> list[Any]:
    """The files that were added last, with so many rows at most, oldest first."""
    import pyarrow as pa

    added = pa.table(opened.get_add_actions(flatten=True)).select(["path", "modification_time", "num_records"])
    chosen: list[Any] = []
    for action in sorted(added.to_pylist(), key=lambda each: each["modification_time"], reverse=True):
        rows -= action["num_records"] or 0
        if rows < 0:
            break
        if action["path"] in files:
            chosen.append(files[action["path"]])
    return chosen[::-1]
