"""Where rows come from. A source says cheaply whether anything changed, and reads only what is new.

A batch is known by the hash of its content: the same bytes under another name, or read again, change nothing. A file in
a landing folder may be caught half-written, by a copy that is still running; such a file is left alone until it is
complete, or so old that nobody can be writing it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import pandas as pd

PASSED_OVER = (".tmp", ".part", ".crdownload")


@dataclass(frozen=True, slots=True)
class Batch:
    """One unit of arrival.

    Attributes:
        id: hash of the content, 32 hex digits.
        origin: where it came from, as a person would name it: a file's name within the source.
        frame: the rows as they arrived; None where they could not be read.
        problem: why they could not be read; empty otherwise.
        path: the file behind it, kept whole in quarantine if the batch is refused; None for other sources, and for a
            file that may not be opened.
        mark: where a source that goes on from a mark is to go on behind this batch; empty for other sources.
        revision: of what the batch was read, where the source keeps revisions: kept with the rows.
    """

    id: str
    origin: str
    frame: pd.DataFrame | None
    problem: str = ""
    path: Path | None = None
    mark: str = ""
    revision: str = ""

    @property
    def name(self) -> str:
        """Its origin, at the revision that it was read of where there are revisions."""
        return f"{self.origin}@{self.revision}" if self.revision else self.origin


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something that is there but not complete yet; it is left alone."""

    origin: str
    reason: str


@runtime_checkable
class Source(Protocol):
    """What a source has to answer. `root` is the folder that relative paths count from."""

    def fingerprint(self, root: Path) -> str:
        """A short text that changes whenever there may be something new. Cheap: no data is read."""
        ...

    def read(self, root: Path, new: Callable[[str], bool]) -> Iterator[Batch | Waiting]:
        """Yield, oldest first and one at a time, every batch whose id `new` says is new."""
        ...


@runtime_checkable
class Resumable(Source, Protocol):
    """A source that goes on where it stopped. What it gave before may come again, so its model needs keys."""

    @property
    def resumes(self) -> bool:
        """Whether it does, as it was made."""
        ...

    def identity(self) -> str:
        """What is read, as a short text without a password; with another one, reading begins anew."""
        ...

    def since(self, mark: str) -> Source:
        """The same source from behind the batch that bore `mark`; from its beginning for an empty one."""
        ...


CHANGED = "it changed while it was read"
