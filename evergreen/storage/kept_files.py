"""Files that every machine reads: drift reports, and batches that were refused, below one folder or URL.

A file has a name below it, such as `reports/toy/ID/report.html`, and what points to the file holds that name: the
folder may move. What was stored before this was so holds a path of the machine that wrote it, and is read by its end.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath

from evergreen.errors import EvergreenError, ForeignError
from evergreen.naming import KEPT_FOLDERS, PART_PREFIX, ForeignPlace
from evergreen.storage.atomic_write import staged_file
from evergreen.storage.file_tree import FileTree, TreeFile

SETTING = "EVERGREEN_REPORTS"


class KeptFiles:
    """The files below one folder or URL. Names are those of `kept_name`.

    Attributes:
        place: the folder or URL; a `ForeignPlace` is only read.
    """

    def __init__(self, place: str) -> None:
        self.place = place

    def path(self, name: str) -> Path | None:
        """The file's own path where it is on this machine, whether it is there or not; None in an object store."""
        return None if "://" in self.place else Path(self.place) / name

    @contextmanager
    def writing(self, folder: str) -> Iterator[Path]:
        """Give a folder to write files to; they are kept in `folder` when the block ends well.

        Raises:
            OSError, EvergreenError: it cannot be written.
            ForeignError: it is another environment's.
        """
        self._require_own(folder)
        path = self.path(folder)
        if path is not None:
            path.mkdir(parents=True, exist_ok=True)
            yield path
            return
        with tempfile.TemporaryDirectory() as local:
            yield Path(local)
            names = [file.name for file in sorted(Path(local).iterdir())]
            self._tree.put_all(
                [f"{folder}/{name}" for name in names], lambda name: Path(local) / PurePosixPath(name).name
            )

    @contextmanager
    def reading(self, name: str | None) -> Iterator[Path | None]:
        """Give a path of this machine at which a file can be read within the block; None where there is none.

        Raises:
            EvergreenError: it cannot be read.
        """
        path = self.path(name) if name else None
        if name is None or path is not None:
            yield path if path and path.is_file() else None
            return
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / PurePosixPath(name).name
            yield copy if self._tree.fetch(name, copy) else None

    def read(self, name: str) -> bytes | None:
        """A file's content; None where there is no such file.

        Raises:
            EvergreenError: it cannot be read.
        """
        with self.reading(name) as path:
            try:
                return path.read_bytes() if path else None
            except OSError as error:
                raise EvergreenError(f"{path} cannot be read: {error.strerror or error}.", "Fix its mode.") from None

    def listing(self, folder: str) -> tuple[TreeFile, ...]:
        """All files below a folder, by name; none where there is no folder.

        Raises:
            EvergreenError: it cannot be listed.
        """
        return tuple(file for file in self._tree.listing(folder) if f"/{PART_PREFIX}" not in file.name)

    def delete(self, name: str) -> None:
        """Delete a file, and its folder where that is empty then; one that is gone is none.

        Raises:
            EvergreenError: it cannot be deleted.
            ForeignError: it is another environment's.
        """
        self._require_own(name)
        self._tree.delete(name)

    @cached_property
    def _tree(self) -> FileTree:
        # Opened late: a report is written to a folder of this machine without fsspec.
        return FileTree(self.place, SETTING)

    def _require_own(self, name: str) -> None:
        if isinstance(self.place, ForeignPlace):
            raise ForeignError.of(f"The file {self.place}/{name}", self.place.environment)


def show_kept(place: str, stored: str) -> str:
    """Where a file is, for a person: a path or a URL; `stored` as in `kept_name`."""
    name = kept_name(stored)
    if name is None:
        return stored
    scheme, separator, rest = place.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2] if separator else rest}/{name}"


def kept_name(stored: str | None) -> str | None:
    """The name of a file as it was stored: with us, or as an absolute path; None for what is none of our files."""
    parts = PurePosixPath(stored or "").parts
    for folder, depth in KEPT_FOLDERS.items():
        if ".." not in parts and len(parts) >= depth and parts[-depth] == folder:
            own = parts[-depth:]
            return "/".join(own) if len(parts) == depth or parts[0] == "/" else None
    return None


def copy_file(source: Path, target: Path) -> None:
    """Copy a file's bytes, not its mode; they are there as a whole or not at all."""
    with staged_file(target) as part:
        shutil.copyfile(source, part)
