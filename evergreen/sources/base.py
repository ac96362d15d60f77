"""What a source of rows is. It says cheaply whether anything changed, and reads only what is new.

A batch is identified by the hash of its content: the same bytes under another name, or read again, change nothing. A
file in a landing folder may be half written, by a copy that is still running. Such a file is left alone until it is
complete, or so old that nobody can still be writing it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import pandas as pd

_UNFINISHED = (".tmp", ".part", ".crdownload", ".filepart", ".partial", ".swp")
_BESIDE_DATA = (".md5", ".sha1", ".sha256", ".sha512", ".crc", ".done", ".ok", ".ready", "~")
_OF_THE_SYSTEM = ("thumbs.db", "desktop.ini")

CHANGED = "it changed while it was read"


def is_passed_over(name: str) -> bool:
    """Whether a file of this name is no data: hidden, half written, a checksum, a flag, or the system's own."""
    lower = name.lower()
    return lower.startswith((".", "_", "~$")) or lower.endswith(_UNFINISHED + _BESIDE_DATA) or lower in _OF_THE_SYSTEM


@dataclass(frozen=True, slots=True)
class Batch:
    """One unit of arrival.

    Attributes:
        id: hash of the content, 32 hex digits.
        origin: where it came from, as a person would name it: a file's name within the source.
        frame: the rows as they arrived; None if they could not be read.
        problem: why they could not be read; empty otherwise.
        path: the file behind it, kept whole in quarantine if the batch is rejected; None for other sources, and for a
            file that may not be opened.
        offset: where a resumable source continues after this batch; empty for other sources.
        revision: the revision of the source that the batch was read from; it is kept with the rows. Empty for a source
            without revisions.
        written: the cells are texts as a file has them, and what they mean is the contract's to say.
    """

    id: str
    origin: str
    frame: pd.DataFrame | None
    problem: str = ""
    path: Path | None = None
    offset: str = ""
    revision: str = ""
    written: bool = False

    @property
    def name(self) -> str:
        """The origin, with the revision if there is one."""
        return f"{self.origin}@{self.revision}" if self.revision else self.origin


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something that is there but not complete yet; it is left alone."""

    origin: str
    reason: str


@runtime_checkable
class Source(Protocol):
    """Where rows or labels come from. `root` is the folder that relative paths start from."""

    def fingerprint(self, root: Path) -> str:
        """A short text that changes whenever there may be something new. Cheap: no data is read."""
        ...

    def read(self, root: Path, new: Callable[[str], bool]) -> Iterator[Batch | Waiting]:
        """Yield every batch whose id `new` says is new: oldest first, one at a time."""
        ...


@runtime_checkable
class Resumable(Source, Protocol):
    """A source that continues where it stopped. It may give rows again that it gave before, so its model needs keys."""

    @property
    def resumes(self) -> bool:
        """Whether the source continues where it stopped, as it is configured."""
        ...

    def identity(self) -> str:
        """What is read, as a short text without a password. If it changes, reading starts from the beginning."""
        ...

    def since(self, offset: str) -> Source:
        """The same source, to be read from after the batch with this offset; from its beginning for an empty one."""
        ...
