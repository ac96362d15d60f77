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
from evergreen.sources.base import CHANGED, Batch, Waiting, is_passed_over
from evergreen.sources.file_formats import (
    INCOMPLETE,
    format_of,
    hash_parts,
    identify_file,
    inspect_ends,
    is_written,
    read_rows,
)

LEADS_OUT = "it is a link out of the folder, or not a plain file"


@dataclass(frozen=True, slots=True)
class Folder:
    """A landing folder of CSV (`.csv`, `.tsv`; also `.gz`) and Parquet files, each a batch, by their names.

    CSV is UTF-8, or of the encoding that is named, with a header, its fields separated by commas, semicolons, tabs or
    bars; lines before the header are skipped. Hidden names, those of half-written files (such as `.tmp`, `.part`,
    `.filepart`), of checksums and flags (`.md5`, `.done`) and of the system (`Thumbs.db`) are ignored, and so are
    subfolders.

    Attributes:
        path: a text or a `Path`, relative to the landing root, or absolute; `~` is the home folder. It is kept as text.
        pattern: which names are read, as in a shell.
        now: the clock, seconds since 1970.
        encoding: of CSV files that are not UTF-8, by Python's name, such as `cp1252`; one that has ASCII within it.
    """

    path: str | os.PathLike[str]
    pattern: str = "*"
    now: Callable[[], float] = field(default=time.time, repr=False, compare=False)
    encoding: str = field(default="utf-8", repr=False)

    def __post_init__(self) -> None:
        """Refuse a path that no folder can have, or that leads out of the landing root."""
        object.__setattr__(self, "path", os.fspath(self.path))
        if not self.path or "\0" in str(self.path):
            raise ModelFileError(f"source: {self.path!r} is not a path.", "Name the folder that files land in.")
        if ".." in Path(self.path).parts:
            raise ModelFileError(f"source: {self.path!r} climbs up with '..'.", "Give the folder's absolute path.")
        if "/" in self.pattern or not self.pattern:
            raise ModelFileError(
                f"source: the pattern {self.pattern!r} is not a pattern of file names.",
                "Write one such as '*.csv', without a folder.",
            )
        try:
            usable = '0,;"\n'.encode(self.encoding) == b'0,;"\n'
        except LookupError:
            usable = False
        if not usable:
            raise ModelFileError(
                f"source: {self.encoding!r} is no encoding that has ASCII within it.", "Name one such as 'cp1252'."
            )

    def folder(self, root: Path) -> Path:
        """Where the files land."""
        return (root / Path(self.path).expanduser()).absolute()

    def files(self, root: Path) -> list[Path]:
        """Every file that is read, by name; none if the folder does not exist.

        Raises:
            DataError: the path is no folder, or may not be listed.
        """
        return [file for file in self._list(root) if not is_passed_over(file.name)]

    def passed_over(self, root: Path) -> list[str]:
        """The names that match the pattern and are no data: half-written files, checksums, flags and the like."""
        return [_printable(file.name) for file in self._list(root) if is_passed_over(file.name)]

    def unmatched(self, root: Path) -> list[str]:
        """The names of CSV and Parquet files that the pattern does not match."""
        files = [file for file in self._list(root, matching=False) if format_of(file)]
        return [_printable(file.name) for file in files if not is_passed_over(file.name)]

    def _list(self, root: Path, *, matching: bool = True) -> list[Path]:
        """Every file whose name matches the pattern, or none of whose does, by name."""
        folder = self.folder(root)
        try:
            names = sorted(file.name for file in folder.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DataError(f"{folder} cannot be listed: {error.strerror}.", "Make it a folder you may read.") from None
        names = [name for name in names if fnmatchcase(name, self.pattern) == matching]
        # Path.is_dir raises where a name may be listed and not looked at.
        return [folder / name for name in names if not os.path.isdir(folder / name)]  # noqa: PTH112

    def fingerprint(self, root: Path) -> str:
        """Hash of every file's name, size, times and inode, and of what a fresh file is waited for.

        Without the latter, a complete file that only had to grow old enough to be trusted would not be noticed.
        """
        digest = hashlib.sha256()
        folder = self.folder(root).resolve()
        for file in self.files(root):
            try:
                status = file.stat()
                ends = inspect_ends(file, status.st_size, self._age(status)) if _is_plain_file(file, folder) else None
                state = repr((_identity(status), ends))
            except OSError as error:
                state = repr(error.errno)
            digest.update(os.fsencode(file.name) + state.encode() + b"\n")
        return digest.hexdigest()[:32]

    def read(self, root: Path, new: Callable[[str], bool]) -> Iterator[Batch | Waiting]:
        """Yield every file whose content is new; content that is there under several names is yielded once."""
        folder = self.folder(root).resolve()
        seen: set[str] = set()

        def is_new(batch: str) -> bool:
            first = batch not in seen
            seen.add(batch)
            return first and new(batch)

        # No name is bound to a batch here: whoever reads decides how long its rows are in memory.
        yield from filter(None, (self._read_file(file, folder, is_new) for file in self.files(root)))

    def _read_file(self, file: Path, folder: Path, new: Callable[[str], bool]) -> Batch | Waiting | None:
        """One file: a batch, something to wait for, or None for nothing new."""
        origin = _printable(file.name)
        try:
            if _is_plain_file(file, folder):
                return self._read_plain_file(file, origin, new)
            batch, problem = hash_parts("not a file here", os.fsencode(file.name)), LEADS_OUT
        except FileNotFoundError:
            return Waiting(origin, CHANGED)
        except OSError as error:
            batch, problem = hash_parts("unreadable", os.fsencode(file.name)), f"it cannot be read: {error.strerror}"
        return Batch(batch, origin, None, problem) if new(batch) else None

    def _read_plain_file(self, file: Path, origin: str, new: Callable[[str], bool]) -> Batch | Waiting | None:
        before = file.stat()
        ends = inspect_ends(file, before.st_size, self._age(before))
        if ends.reason:
            return Waiting(origin, ends.reason)
        batch, problem = identify_file(file)
        frame = None
        if _identity(file.stat()) == _identity(before):
            if not new(batch):
                return None
            if not problem:
                frame, problem = read_rows(file, self.encoding)
        if _identity(file.stat()) != _identity(before):
            return Waiting(origin, CHANGED)
        if problem in INCOMPLETE and ends.doubt:
            return Waiting(origin, problem)
        return Batch(batch, origin, frame, problem, file, written=is_written(file))

    def _age(self, status: os.stat_result) -> float:
        """Seconds since the last change. A clock that is slightly off must not make a fresh file look old."""
        return abs(self.now() - status.st_mtime)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _printable(name: str) -> str:
    """A file's name as one line of valid text, for logs and tables."""
    text = os.fsencode(name).decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def _is_plain_file(file: Path, folder: Path) -> bool:
    """Whether it is a plain file of this folder: no link to elsewhere, no pipe that never ends."""
    real = Path(os.path.realpath(file))
    return real.is_relative_to(folder) and stat.S_ISREG(real.stat().st_mode)
