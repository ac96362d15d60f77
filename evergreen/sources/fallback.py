"""A landing folder, and what stands in for it until its first file is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from evergreen.sources.base import Batch, Source, Waiting
from evergreen.sources.folder import Folder


@dataclass(frozen=True, slots=True)
class Fallback:
    """A landing folder, and what stands in for it until its first file is there."""

    folder: Folder
    otherwise: Source

    def fingerprint(self, root: Path) -> str:
        """That of whichever is read."""
        return self._chosen(root).fingerprint(root)

    def read(self, root: Path, new: Callable[[str], bool]) -> Iterator[Batch | Waiting]:
        """Read the folder if it holds a file, else the other."""
        return self._chosen(root).read(root, new)

    def _chosen(self, root: Path) -> Source:
        return self.folder if self.folder.files(root) else self.otherwise
