"""A landing folder of CSV and Parquet files, each one a batch."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from evergreen.errors import DataError, ModelFileError
from evergreen.sources.base import CHANGED, PASSED_OVER, Batch, Waiting
from evergreen.sources.file_formats import CUT, ends_of, hashed, known_by, rows_of

LEADS_OUT = "it is a link out of the folder, or not a plain file"


@dataclass(frozen=True, slots=True)
class Folder:
    """A landing folder of CSV (`.csv`, `.csv.gz`) and Parquet files, each one a batch, in the order of their names.

    CSV is UTF-8 with a header, separated by commas, or by semicolons or tabs if the header has no comma. Names that
    begin with `.` or `_` or end with `.tmp`, `.part` or `.crdownload` are passed over, and so are folders in it.

    Attributes:
        path: relative to the landing root, or absolute; `~` is the home folder.
        pattern: which names are looked at, as in a shell.
        now: the clock, seconds since 1970.
    """

    path: str
    pattern: str = "*"
    now: Callable[[], float] = field(default=time.time, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse a path that no folder can have, or one that leads out of the landing root."""
        if not self.path or "\0" in self.path:
            raise ModelFileError(f"source: {self.path!r} is not a path.", "Name the folder that files land in.")
        if ".." in Path(self.path).parts:
            raise ModelFileError(f"source: {self.path!r} climbs up with '..'.", "Give the folder's absolute path.")
        if "/" in self.pattern or not self.pattern:
            raise ModelFileError(f"source: the pattern {self.pattern!r} is not one of names.", "Such as '*.csv'.")

    def folder(self, root: Path) -> Path:
        """Where the files land."""
        return (root / Path(self.path).expanduser()).absolute()

    def files(self, root: Path) -> list[Path]:
        """Every file that is looked at, by name; none if the folder is not there.

        Raises:
            DataError: the folder is not one, or may not be listed.
        """
        folder = self.folder(root)
        try:
            names = sorted(file.name for file in folder.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DataError(f"{folder} cannot be listed: {error.strerror}.", "Make it a folder you may read.") from None
        kept = (name for name in names if fnmatchcase(name, self.pattern) and not name.startswith((".", "_")))
        files = (folder / name for name in kept if not name.lower().endswith(PASSED_OVER))
        # Path.is_dir raises where a name may be listed and not looked at.
        return [file for file in files if not os.path.isdir(file)]  # noqa: PTH112

    def fingerprint(self, root: Path) -> str:
        """Hash of every file's name, size, times and inode, and of what a fresh one is still waited for.

        Without the latter a file that is complete, and only had to grow old enough to be trusted, would not be noticed.
        """
        digest = hashlib.sha256()
        inside = self.folder(root).resolve()
        for file in self.files(root):
            try:
                held = file.stat()
                ends = ends_of(file, held.st_size, self._age(held)) if _regular(file, inside) else None
                known = repr((_identity(held), ends))
            except OSError as error:
                known = repr(error.errno)
            digest.update(os.fsencode(file.name) + known.encode() + b"\n")
        return digest.hexdigest()[:32]

    def read(self, root: Path, new: Callable[[str], bool]) -> Iterator[Batch | Waiting]:
        """Yield every file whose content is new, once though it be there under several names."""
        inside = self.folder(root).resolve()
        seen: set[str] = set()

        def unseen(batch: str) -> bool:
            first = batch not in seen
            seen.add(batch)
            return first and new(batch)

        for file in self.files(root):
            found = self._read_file(file, inside, unseen)
            if found is not None:
                yield found

    def _read_file(self, file: Path, inside: Path, new: Callable[[str], bool]) -> Batch | Waiting | None:
        """One file: a batch, or something to wait for, or nothing new."""
        origin = _printable(file.name)
        try:
            if _regular(file, inside):
                return self._read_regular(file, origin, new)
            batch, problem = hashed("not a file here", os.fsencode(file.name)), LEADS_OUT
        except FileNotFoundError:
            return Waiting(origin, CHANGED)
        except OSError as error:
            batch, problem = hashed("unreadable", os.fsencode(file.name)), f"it cannot be read: {error.strerror}"
        return Batch(batch, origin, None, problem) if new(batch) else None

    def _read_regular(self, file: Path, origin: str, new: Callable[[str], bool]) -> Batch | Waiting | None:
        before = file.stat()
        ends = ends_of(file, before.st_size, self._age(before))
        if ends.reason:
            return Waiting(origin, ends.reason)
        batch, problem = known_by(file)
        frame = None
        if _identity(file.stat()) == _identity(before):
            if not new(batch):
                return None
            if not problem:
                frame, problem = rows_of(file)
        if _identity(file.stat()) != _identity(before):
            return Waiting(origin, CHANGED)
        if problem in CUT and ends.doubt:
            return Waiting(origin, problem)
        return Batch(batch, origin, frame, problem, file)

    def _age(self, held: os.stat_result) -> float:
        """Seconds since the last change. A clock that is a little off must not make a fresh file look old."""
        return abs(self.now() - held.st_mtime)


def _identity(held: os.stat_result) -> tuple[int, ...]:
    return held.st_size, held.st_mtime_ns, held.st_ctime_ns, held.st_ino


def _printable(name: str) -> str:
    """A file's name as one line of valid text: it goes to logs and tables."""
    text = os.fsencode(name).decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def _regular(file: Path, inside: Path) -> bool:
    """Whether it is a plain file of this folder: no link to elsewhere, no pipe that never ends."""
    real = Path(os.path.realpath(file))
    return real.is_relative_to(inside) and stat.S_ISREG(real.stat().st_mode)
