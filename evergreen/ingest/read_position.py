"""How far a resumable source was read: a position that is committed together with the rows of the batch before it.

The position is therefore true of the rows that are there, whatever was killed, and also after the table was restored to
an earlier version. A batch that is rejected as a whole is passed as well. When the contract changes, reading starts
again before that batch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from evergreen.sources.base import Batch, Resumable, Source, Waiting


@dataclass(frozen=True, slots=True)
class ReadPosition:
    """How far one source was read.

    Attributes:
        source: identity of the source; another source is read from its beginning.
        offset: the source's own offset after the last batch; empty at the beginning.
        retry_from: the offset before the first batch that was rejected; None if none was.
        contract: digest of the contract that rejected it; under another contract reading starts at `retry_from`.
    """

    source: str = ""
    offset: str = ""
    retry_from: str | None = None
    contract: str = ""

    @classmethod
    def parse(cls, text: str) -> ReadPosition:
        """Read a position from the text that is stored with the rows; an empty text is the beginning."""
        return cls(*json.loads(text)) if text else cls()

    @property
    def text(self) -> str:
        """The position as it is stored."""
        return json.dumps([self.source, self.offset, self.retry_from, self.contract])

    def resume(self, source: str, contract: str) -> ReadPosition:
        """The position from which this source is read under this contract."""
        if self.source != source:
            return ReadPosition(source)
        if self.retry_from is not None and self.contract != contract:
            return ReadPosition(source, self.retry_from)
        return self

    def after(self, offset: str, rejected_by: str = "") -> ReadPosition:
        """The position after a batch; `rejected_by` is the digest of the contract that rejected the batch whole."""
        if rejected_by and self.retry_from is None:
            return ReadPosition(self.source, offset, self.offset, rejected_by)
        return replace(self, offset=offset)


class Reader:
    """One reading of a source, with its position if the source is resumable.

    Attributes:
        source: what is read.
        uncommitted: a batch was rejected, and no commit of the rows has stored yet that it was passed.
    """

    def __init__(
        self,
        source: Source,
        stored_position: Callable[[], str],
        contract: str,
        landed: Callable[[str], bool],
        rejected: Callable[[str], bool],
    ) -> None:
        """Prepare to read a source.

        Args:
            source: what is read.
            stored_position: reads the stored position's text.
            contract: digest of what batches are checked against.
            landed: whether the batch with an id landed.
            rejected: whether the batch with an id was rejected whole.
        """
        self.source, self.uncommitted = source, False
        self._contract, self._landed, self._rejected = contract, landed, rejected
        self._position: ReadPosition | None = None
        if isinstance(source, Resumable) and source.resumes:
            self._position = ReadPosition.parse(stored_position()).resume(source.identity(), contract)
            self.source = source.since(self._position.offset)

    @property
    def position(self) -> str:
        """The text of the position after everything that was passed; empty if the source is not resumable."""
        return self._position.text if self._position is not None else ""

    def read(self, root: Path) -> Iterator[Batch | Waiting]:
        """Read what is new. A resumable source gives everything after its offset, except what was rejected already."""
        if self._position is None:
            yield from self.source.read(root, lambda batch: not self._landed(batch) and not self._rejected(batch))
            return
        for item in self.source.read(root, lambda _batch: True):
            if isinstance(item, Batch) and self._rejected(item.id):
                self.skip(item)
            else:
                yield item

    def skip(self, item: Batch) -> None:
        """Pass a batch that was rejected as a whole."""
        self._move(item, self._contract)
        self.uncommitted = self._position is not None

    def advance(self, item: Batch) -> str:
        """Pass a batch that lands; returns the position to commit with it, empty if the source is not resumable."""
        self._move(item)
        self.uncommitted = False
        return self.position

    def _move(self, item: Batch, rejected_by: str = "") -> None:
        if self._position is not None:
            self._position = self._position.after(item.offset, rejected_by)
