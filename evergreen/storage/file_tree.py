"""The files below a folder or a URL, copied to this machine and back, whichever of both it is."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evergreen.errors import DataError, EvergreenError
from evergreen.storage.file_store import FileStore

_TIMES = ("mtime", "LastModified", "last_modified", "updated")


@dataclass(frozen=True, slots=True)
class TreeFile:
    """A file in a listing.

    Attributes:
        name: below the place.
        bytes: its size.
        modified: when it was written (aware); now, where the store does not say, so that it never counts as old.
    """

    name: str
    bytes: int
    modified: datetime


class FileTree:
    """A folder by path or by URL. Names are those of files below it, with `/` between folders.

    Attributes:
        place: the absolute path, or the URL.
        name: the place as it may be shown.
        local: it is on this machine.
    """

    def __init__(self, place: str, setting: str) -> None:
        """Open a place; `setting` is what names it, for messages.

        Raises:
            EvergreenError: no installed package can open the URL.
        """
        self.store = FileStore(place, Path.cwd(), setting)
        self.name, self.local = self.store.name, self.store.local
        self.place = self.store.path if self.local else place.rstrip("/")

    def listing(self, folder: str = "") -> tuple[TreeFile, ...]:
        """All files below a folder, by name; none where there is no folder.

        Raises:
            DataError: it cannot be listed.
        """
        with self.store.explain_errors("listed"):
            try:
                found = self.store.files.find(self._path(folder), detail=True)
            except FileNotFoundError:
                # No such bucket.
                return ()
        return tuple(
            TreeFile(path[len(self.store.path) + 1 :], int(info.get("size") or 0), _modified(info))
            for path, info in sorted(found.items())
            if path != self.store.path and not path.endswith("/")
        )

    def children(self, folder: str = "") -> tuple[str, ...]:
        """The names of what is in a folder itself; none where there is no folder.

        Raises:
            DataError: it cannot be listed.
        """
        with self.store.explain_errors("listed"):
            try:
                found = self.store.files.ls(self._path(folder), detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return ()
        names = {str(path).rstrip("/").rpartition("/")[2] for path in found if str(path).rstrip("/") != self.store.path}
        return tuple(sorted(names))

    def fetch(self, name: str, target: Path) -> bool:
        """Copy a file to this machine; False where there is none.

        A local file that is written meanwhile is copied again, so that the copy is never of two contents. The copy has
        its time.

        Raises:
            DataError: it cannot be read.
            OSError: the copy cannot be written.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        if self.local:
            return _copy_unchanged(Path(self._path(name)), target)
        with self.store.explain_errors("read"):
            try:
                self.store.files.get_file(self._path(name), str(target))
            except FileNotFoundError:
                return False
        return True

    def fetch_all(
        self, names: Iterable[str], folder: Path, *, progress: Callable[[int, int], None] = lambda _done, _all: None
    ) -> tuple[str, ...]:
        """Copy files to a folder of this machine, several at a time from a store; returns those that are not there.

        Raises:
            DataError, OSError: as in `fetch`.
        """
        wanted = tuple(names)
        missing = []
        with ThreadPoolExecutor(1 if self.local else _AT_A_TIME) as pool:
            for done, (name, found) in enumerate(
                zip(wanted, pool.map(lambda name: self.fetch(name, folder / name), wanted), strict=True)
            ):
                progress(done, len(wanted))
                if not found:
                    missing.append(name)
        return tuple(missing)

    def put(self, source: Path, name: str) -> None:
        """Copy a file of this machine into the tree; a local copy has its time.

        Raises:
            DataError: it cannot be written.
            OSError: a local one cannot.
        """
        if self.local:
            path = Path(self._path(name))
            path.parent.mkdir(parents=True, exist_ok=True)
            _copy_unchanged(source, path)
            return
        with self.store.explain_errors("written"):
            self.store.files.put_file(str(source), self._path(name))

    def put_all(
        self,
        names: Iterable[str],
        source: Callable[[str], Path],
        *,
        progress: Callable[[int, int], None] = lambda _done, _all: None,
    ) -> None:
        """Copy files of this machine into the tree, several at a time into a store; `source` gives each one's path.

        Raises:
            DataError, OSError: as in `put`.
        """
        wanted = tuple(names)
        with ThreadPoolExecutor(1 if self.local else _AT_A_TIME) as pool:
            for done, _ in enumerate(pool.map(lambda name: self.put(source(name), name), wanted)):
                progress(done, len(wanted))

    def read(self, name: str) -> bytes:
        """A file's content.

        Raises:
            DataError: it is not there, or cannot be read.
        """
        with self.store.explain_errors("read"):
            return bytes(self.store.files.cat_file(self._path(name)))

    def delete(self, name: str) -> None:
        """Delete a file, and its folder where that is empty then; one that is gone is none.

        Raises:
            EvergreenError: it cannot be deleted.
        """
        if self.local:
            _delete(Path(self._path(name)))
            return
        with self.store.explain_errors("deleted"), contextlib.suppress(FileNotFoundError):
            self.store.files.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self.store.path}/{name}" if name else self.store.path


_TRIES = 10
_AT_A_TIME = 8


def _copy_unchanged(source: Path, target: Path) -> bool:
    """Copy a file that did not change from the beginning of the copy to its end; False where there is none."""
    for _ in range(_TRIES):
        try:
            before = source.stat()
            shutil.copyfile(source, target)
            after = source.stat()
        except FileNotFoundError:
            if target.parent.is_dir():
                target.unlink(missing_ok=True)
                return False
            raise
        if (before.st_size, before.st_mtime_ns, before.st_ino) == (after.st_size, after.st_mtime_ns, after.st_ino):
            os.utime(target, ns=(after.st_atime_ns, after.st_mtime_ns))
            return True
    raise DataError(f"{source} was written again and again while it was copied.", "Run it again when it is quiet.")


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
        if path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()
    except OSError as error:
        raise EvergreenError(
            f"{path} cannot be deleted: {error.strerror or error}.", "Fix its owner or mode, then run it again."
        ) from None


def _modified(info: Mapping[str, Any]) -> datetime:
    told = next((info[key] for key in _TIMES if info.get(key)), None)
    if isinstance(told, datetime):
        return told
    return datetime.fromtimestamp(told, UTC) if isinstance(told, int | float) else datetime.now(UTC)
