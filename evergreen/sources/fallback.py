"""A landing folder with another source in its place until the first file lands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from evergreen.sources.base import Batch, Source, Waiting
from evergreen.sources.folder import Folder


@dataclass(frozen=True, slots=True)
class Fallback:
    """A landing folder; `otherwise` is read in its place until the folder holds a file."""

    folder: Folder
    otherwise: Source

    def fingerprint(self, root: Path) -> str:
        """The fingerprint of the source that is read."""
        return self._chosen(root).fingerprint(root)

    def read(self, root: Path, new: Callable[[str], bool]) -> Iterator[Batch | Waiting]:
        """Read the folder if it holds a file, otherwise the other source."""
        return self._chosen(root).read(root, new)

    def _chosen(self, root: Path) -> Source:
        return self.folder if self.folder.files(root) else self.otherwise
