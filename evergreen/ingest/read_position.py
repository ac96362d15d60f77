"""How far a source was read: a mark that is committed together with the rows of the batch that it stands behind.

So the mark is true of the rows that are there, whatever was killed, and also after the table was put back to what it
was. A batch that is refused as a whole is passed by too; when the contract changes, reading begins again before it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from evergreen.sources.base import Batch, Resumable, Source, Waiting


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Where the reading of one source is.

    Attributes:
        source: what is read; another source is read from its beginning.
        mark: behind the last batch; empty at the beginning.
        again: before the first batch that was refused; None where none was.
        contract: what it was held to; under another one reading begins at `again`.
    """

    source: str = ""
    mark: str = ""
    again: str | None = None
    contract: str = ""

    @classmethod
    def parse(cls, text: str) -> Bookmark:
        """The bookmark behind a text that is kept with the rows; an empty one is none."""
        return cls(*json.loads(text)) if text else cls()

    @property
    def text(self) -> str:
        """As it is kept."""
        return json.dumps([self.source, self.mark, self.again, self.contract])

    def opened(self, source: str, contract: str) -> Bookmark:
        """Where reading begins, for this source and under this contract."""
        if self.source != source:
            return Bookmark(source)
        if self.again is not None and self.contract != contract:
            return Bookmark(source, self.again)
        return self

    def behind(self, mark: str, refused: str = "") -> Bookmark:
        """The bookmark behind a batch; `refused` is the contract that the batch as a whole did not meet."""
        if refused and self.again is None:
            return Bookmark(self.source, mark, self.mark, refused)
        return replace(self, mark=mark)


class Reader:
    """One reading of a source, its bookmark with it where the source goes on from marks.

    Attributes:
        source: what is read.
        loose: a batch was refused, and no commit of the rows has said yet that it was passed by.
    """

    def __init__(
        self,
        source: Source,
        kept: Callable[[], str],
        contract: str,
        landed: Callable[[str], bool],
        refused: Callable[[str], bool],
    ) -> None:
        """`kept` gives the bookmark's text; the others tell of a batch's id whether it landed, or was refused whole."""
        self.source, self.loose = source, False
        self._contract, self._landed, self._refused = contract, landed, refused
        self._bookmark: Bookmark | None = None
        if isinstance(source, Resumable) and source.resumes:
            self._bookmark = Bookmark.parse(kept()).opened(source.identity(), contract)
            self.source = source.since(self._bookmark.mark)

    @property
    def text(self) -> str:
        """The bookmark behind everything that was passed; empty where there is none."""
        return self._bookmark.text if self._bookmark is not None else ""

    def read(self, root: Path) -> Iterator[Batch | Waiting]:
        """What is new: of a source that goes on from a mark everything behind it, but for what was refused already."""
        if self._bookmark is None:
            yield from self.source.read(root, lambda batch: not self._landed(batch) and not self._refused(batch))
            return
        for item in self.source.read(root, lambda _batch: True):
            if isinstance(item, Batch) and self._refused(item.id):
                self.passed(item)
            else:
                yield item

    def passed(self, item: Batch) -> None:
        """Note that a batch was refused as a whole."""
        self._move(item, self._contract)
        self.loose = self._bookmark is not None

    def landing(self, item: Batch) -> str:
        """The bookmark to commit with a batch that lands; empty where there is none."""
        self._move(item)
        self.loose = False
        return self.text

    def _move(self, item: Batch, refused: str = "") -> None:
        if self._bookmark is not None:
            self._bookmark = self._bookmark.behind(item.offset, refused)
