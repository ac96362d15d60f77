"""Where rows come from. A source says cheaply whether anything changed, and reads only what is new.

A batch is known by the hash of its content: the same bytes under another name, or read again, change nothing. A file in
a landing folder may be caught half-written, by a copy that is still running; such a file is left alone until it is
complete, or so old that nobody can be writing it.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, get_args, runtime_checkable

from evergreen.errors import DataError, ModelFileError
from evergreen.files import CUT, ends_of, hashed, known_by, rows_of

if TYPE_CHECKING:
    import pandas as pd

PASSED_OVER = (".tmp", ".part", ".crdownload")
Dataset = Literal["iris", "breast_cancer", "diabetes", "wine", "digits"]


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


@dataclass(frozen=True, slots=True)
class Bundled:
    """One of the data sets that come with scikit-learn, as a single batch in its own order.

    Names of columns are in snake case. The target of `iris` is `species`, as text; elsewhere it is `target`: the name
    of the class as text, for `diabetes` a float.
    """

    name: Dataset

    def __post_init__(self) -> None:
        """Refuse an unknown name."""
        if self.name not in get_args(Dataset):
            names = ", ".join(get_args(Dataset))
            raise ModelFileError(f"source: {self.name!r} is not bundled with scikit-learn.", f"Choose one of {names}.")

    def fingerprint(self, root: Path) -> str:
        """The name and scikit-learn's version, which is not imported for it."""
        from importlib.metadata import version

        return f"{self.name} of scikit-learn {version('scikit-learn')}"

    def read(self, root: Path, new: Callable[[str], bool]) -> Iterator[Batch | Waiting]:
        """Yield the data set, if its content is new."""
        frame = self._frame()
        batch = hashed(self.name, frame.to_csv(index=False).encode())
        if new(batch):
            yield Batch(batch, f"scikit-learn's {self.name}", frame)

    def _frame(self) -> pd.DataFrame:
        from sklearn import datasets

        data = getattr(datasets, f"load_{self.name}")(as_frame=True)
        frame: pd.DataFrame = data.data.rename(columns=_snake_case)
        target = data.target
        if self.name != "diabetes":
            classes = [str(name) for name in data.target_names]
            target = target.map(dict(enumerate(classes))).astype("str")
        return frame.assign(**{"species" if self.name == "iris" else "target": target})


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


def _identity(held: os.stat_result) -> tuple[int, ...]:
    return held.st_size, held.st_mtime_ns, held.st_ctime_ns, held.st_ino


def _printable(name: str) -> str:
    """A file's name as one line of valid text: it goes to logs and tables."""
    text = os.fsencode(name).decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def _snake_case(name: str) -> str:
    return re.sub(r"[^0-9a-z]+", "_", name.lower()).strip("_")


def _regular(file: Path, inside: Path) -> bool:
    """Whether it is a plain file of this folder: no link to elsewhere, no pipe that never ends."""
    real = Path(os.path.realpath(file))
    return real.is_relative_to(inside) and stat.S_ISREG(real.stat().st_mode)
