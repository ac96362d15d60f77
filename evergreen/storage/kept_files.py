"""Files that every machine reads: drift reports, and batches that were refused, below one folder or URL.

A file has a name below it, such as `reports/toy/ID/report.html`, and what points to the file holds that name: the
folder may move. What was stored before this was so holds a path of the machine that wrote it, and is read by its end.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from evergreen.errors import EvergreenError, ForeignError
from evergreen.naming import KEPT_FOLDERS, PART_PREFIX, ForeignPlace
from evergreen.storage.atomic_write import staged_file
from evergreen.storage.file_store import FileStore

SETTING = "EVERGREEN_REPORTS"
_TIMES = ("mtime", "LastModified", "last_modified", "updated")


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file in a listing.

    Attributes:
        name: below the folder or URL of all of them.
        bytes: its size.
        modified: when it was written (aware).
    """

    name: str
    bytes: int
    modified: datetime


class KeptFiles(Protocol):
    """The files below one folder or URL. Names are those of `kept_name`."""

    def path(self, name: str) -> Path | None:
        """The file's own path where it is on this machine, whether it is there or not; None in an object store."""
        ...

    @contextmanager
    def writing(self, folder: str) -> Iterator[Path]:
        """Give a folder to write files to; they are kept in `folder` when the block ends well.

        Raises:
            OSError, EvergreenError: it cannot be written.
            ForeignError: it is another environment's.
        """
        ...

    def read(self, name: str) -> bytes | None:
        """A file's content; None where there is no such file.

        Raises:
            EvergreenError: it cannot be read.
        """
        ...

    def listing(self, folder: str) -> tuple[KeptFile, ...]:
        """All files below a folder, by name; none where there is no folder.

        Raises:
            EvergreenError: it cannot be listed.
        """
        ...

    def delete(self, name: str) -> None:
        """Delete a file; one that is gone is none.

        Raises:
            EvergreenError: it cannot be deleted.
        """
        ...


def open_kept_files(place: str) -> KeptFiles:
    """The files below a folder or a URL.

    Raises:
        EvergreenError: no installed package can open the URL.
    """
    return _StoredFiles(place) if "://" in place else _LocalFiles(place)


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


class _LocalFiles:
    """Files in a folder of this machine, or of a share."""

    def __init__(self, place: str) -> None:
        self.place = place

    def path(self, name: str) -> Path | None:
        return self._place(name)

    @contextmanager
    def writing(self, folder: str) -> Iterator[Path]:
        _require_own(self.place, folder)
        (path := self._place(folder)).mkdir(parents=True, exist_ok=True)
        yield path

    def read(self, name: str) -> bytes | None:
        try:
            return self._place(name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise EvergreenError(
                f"{self._place(name)} cannot be read: {error.strerror or error}.", "Fix its mode."
            ) from None

    def listing(self, folder: str) -> tuple[KeptFile, ...]:
        found = []
        for path in sorted(self._place(folder).rglob("*")):
            if path.is_file() and not path.name.startswith(PART_PREFIX):
                status = path.stat()
                name = path.relative_to(self.place).as_posix()
                found.append(KeptFile(name, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC)))
        return tuple(found)

    def delete(self, name: str) -> None:
        _require_own(self.place, name)
        path = self._place(name)
        try:
            path.unlink(missing_ok=True)
            if path.parent.is_dir() and not any(path.parent.iterdir()):
                path.parent.rmdir()
        except OSError as error:
            raise EvergreenError(
                f"{path} cannot be deleted: {error.strerror or error}.", "Fix its owner or mode, then run it again."
            ) from None

    def _place(self, name: str) -> Path:
        return Path(self.place) / name


class _StoredFiles:
    """Files in an object store, which another machine reads by the same URL."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.store = FileStore(place, Path("/"), SETTING)

    def path(self, name: str) -> Path | None:
        return None

    @contextmanager
    def writing(self, folder: str) -> Iterator[Path]:
        _require_own(self.place, folder)
        with tempfile.TemporaryDirectory() as local:
            yield Path(local)
            for file in sorted(Path(local).iterdir()):
                with self.store.explain_errors("written"):
                    self.store.files.put_file(str(file), self._place(f"{folder}/{file.name}"))

    def read(self, name: str) -> bytes | None:
        with self.store.explain_errors("read"):
            try:
                return bytes(self.store.files.cat_file(self._place(name)))
            except FileNotFoundError:
                return None

    def listing(self, folder: str) -> tuple[KeptFile, ...]:
        with self.store.explain_errors("listed"):
            infos = self.store.files.find(self._place(folder), detail=True)
        return tuple(
            KeptFile(path[len(self.store.path) + 1 :], int(info.get("size") or 0), _modified(info))
            for path, info in sorted(infos.items())
        )

    def delete(self, name: str) -> None:
        _require_own(self.place, name)
        with self.store.explain_errors("deleted"):
            try:
                self.store.files.rm_file(self._place(name))
            except FileNotFoundError:
                return

    def _place(self, name: str) -> str:
        return f"{self.store.path}/{name}"


@contextmanager
def local_copy(files: KeptFiles, name: str | None) -> Iterator[Path | None]:
    """A path of this machine at which a file can be read within the block; None where there is none."""
    if name is None:
        yield None
        return
    path = files.path(name)
    if path is not None:
        yield path if path.is_file() else None
        return
    content = files.read(name)
    if content is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        (copy := Path(folder) / PurePosixPath(name).name).write_bytes(content)
        yield copy


def copy_file(source: Path, target: Path) -> None:
    """Copy a file's bytes, not its mode; they are there as a whole or not at all."""
    with staged_file(target) as part:
        shutil.copyfile(source, part)


def _modified(info: dict[str, Any]) -> datetime:
    """When a file was written; now, where the store does not say, so that it is never taken for an old one."""
    told = next((info[key] for key in _TIMES if info.get(key)), None)
    if isinstance(told, datetime):
        return told
    return datetime.fromtimestamp(told, UTC) if isinstance(told, int | float) else datetime.now(UTC)


def _require_own(place: str, name: str) -> None:
    if isinstance(place, ForeignPlace):
        raise ForeignError.of(f"The file {place}/{name}", place.environment)
