"""Files below a folder or a URL, through fsspec: `s3://bucket/folder`, `gs://`, `abfs://`, or a path.

What a file is known by comes with the listing (an object store's ETag), so that what landed is not fetched again. An
object is there whole or not at all; only a file of a local folder may be caught half-written. Credentials and the
endpoint are those of the environment, such as AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.errors import DataError, EvergreenError, ModelFileError
from evergreen.sources.base import PASSED_OVER, Batch, Waiting
from evergreen.sources.file_formats import ends_of, hashed, known_by, rows_of
from evergreen.storage.credentials import holds_secret, resolved

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_PACKAGES = {"s3": '".[s3]"', "s3a": '".[s3]"', "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
_FORMS = "a folder's URL, such as s3://bucket/folder"
_VERSIONS = ("ETag", "etag", "md5Hash", "content_md5")
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "created", "ino")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as a listing has it.

    Attributes:
        path: as the file system has it.
        name: below the folder that was listed.
        size: in bytes.
        known: what it is known by; another content has another one.
    """

    path: str
    name: str
    size: int
    known: str


class Place:
    """A folder by path or by URL, opened.

    Attributes:
        files: the file system.
        path: the folder, as the file system has it.
        name: as it may be shown.
        local: it is on this machine.
    """

    def __init__(self, where: str, root: Path) -> None:
        """Open `where`; a relative path counts from `root`.

        Raises:
            EvergreenError: there is nothing installed that could, or the variable that it names is not set.
        """
        from fsspec.core import url_to_fs

        text = resolved(where, "source", _FORMS)
        if "://" not in text:
            text = str((root / Path(text).expanduser()).absolute())
        scheme = text.partition("://")[0]
        self.name = f"{scheme}://{text.partition('://')[2].rpartition('@')[2]}" if "://" in text else text
        self.local = "://" not in text
        try:
            found = url_to_fs(text, skip_instance_cache=True, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            absent = isinstance(error, ImportError)
            what = "needs a package that is not installed" if absent else "is not a protocol that fsspec knows"
            package = _PACKAGES.get(scheme, "what fsspec asks for")
            fix = f"Install it: pip install {package}" if absent else "Such as s3://bucket/folder."
            raise EvergreenError(f"source: {scheme}:// {what}.", fix) from None
        self.files: AbstractFileSystem = found[0]
        self.path = str(found[1]).rstrip("/")

    def entries(self, *, below: bool) -> list[Entry]:
        """Its files by name, with those of the folders `below` it; none where the folder is not there.

        Names that begin with `.` or `_`, or end as those of unfinished files do, are passed over, folders too.

        Raises:
            DataError: it may not be listed, does not answer, or there is no such bucket.
        """
        with self.speaking("listed"):
            found = self.files.find(self.path, detail=True) if below else self._flat()
        entries = [
            Entry(path, path[len(self.path) + 1 :], int(info.get("size") or 0), _known(info))
            for path, info in found.items()
            if info.get("type") == "file"
        ]
        return sorted((one for one in entries if _wanted(one.name)), key=lambda one: one.name)

    @contextlib.contextmanager
    def speaking(self, what: str) -> Iterator[None]:
        """Turns what goes wrong with the store into one line."""
        try:
            yield
        except EvergreenError:
            raise
        except FileNotFoundError:
            raise DataError(f"source: {self.name} cannot be {what}: it is not there.", "Check the URL.") from None
        except PermissionError:
            raise DataError(
                f"source: {self.name} cannot be {what} with these rights.",
                "Check the credentials in the environment, and what they may do.",
            ) from None
        except Exception as error:
            # The store's own words may show a key.
            raise DataError(
                f"source: {self.name} cannot be {what} ({type(error).__name__}).",
                "Check the URL, the endpoint and the credentials in the environment.",
            ) from None

    def _flat(self) -> dict[str, Any]:
        try:
            listed = self.files.ls(self.path, detail=True)
        except FileNotFoundError:
            # No such folder, or no such bucket? This tells.
            return dict(self.files.find(self.path, detail=True))
        return {str(info["name"]): info for info in listed}


def fingerprint(place: Place, entries: list[Entry]) -> str:
    """Hash of every file's name and what it is known by."""
    return hashed(place.name, *(f"{one.name}\n{one.known}" for one in entries))


@dataclass(frozen=True, slots=True)
class ObjectFolder:
    """A landing folder by URL: CSV (`.csv`, `.csv.gz`) and Parquet files, each a batch, in the order of their names.

    The rules are those of `Folder`: the same names are passed over, and so are folders in it.

    Attributes:
        url: such as `s3://bucket/folder`, or `env:NAME`, the environment variable that holds it.
        pattern: which names are looked at, as in a shell.
    """

    url: str
    pattern: str = "*"

    def __post_init__(self) -> None:
        """Refuse a URL that holds a password, and what is no URL."""
        refuse_secret(self.url)
        if "://" not in self.url and not self.url.startswith("env:"):
            raise ModelFileError(f"source: {self.url!r} is not a URL.", "For a folder of this machine take Folder.")

    def fingerprint(self, root: Path) -> str:
        """Hash of the listing."""
        place = Place(self.url, root)
        return fingerprint(place, self._entries(place))

    def read(self, root: Path, new: Callable[[str], bool]) -> Iterator[Batch | Waiting]:
        """Fetch and yield every file that is new, one at a time."""
        place, seen = Place(self.url, root), set[str]()
        for entry in self._entries(place):
            batch = hashed("object", Path(entry.name).suffix, entry.known)
            if batch in seen or not new(batch):
                continue
            seen.add(batch)
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / Path(entry.name).name
                with place.speaking("read"):
                    place.files.get_file(entry.path, str(file))
                _, problem = known_by(file)
                frame, problem = (None, problem) if problem else rows_of(file)
                yield Batch(batch, entry.name, frame, problem, file)

    def _entries(self, place: Place) -> list[Entry]:
        found = place.entries(below=False)
        return [one for one in found if "/" not in one.name and fnmatchcase(one.name, self.pattern)]


def refuse_secret(url: str) -> None:
    """Refuse a URL with a password in a model file.

    Raises:
        ModelFileError: it holds one.
    """
    if "://" in url and holds_secret(url):
        raise ModelFileError(
            "source: the URL holds a password.", "Credentials belong into the environment, or the URL into env:NAME."
        )


def half_written(entry: Entry, now: Callable[[], float]) -> str:
    """Why a file of a local folder is waited for; empty where it is not."""
    file = Path(entry.path)
    held = file.stat()
    return ends_of(file, held.st_size, abs(now() - held.st_mtime)).reason


def _known(info: dict[str, Any]) -> str:
    version = next((str(info[name]) for name in _VERSIONS if info.get(name)), "")
    return f"{info.get('size')} {version or [str(info.get(name)) for name in _TIMES]}"


def _wanted(name: str) -> bool:
    parts = name.split("/")
    return not any(part.startswith((".", "_")) for part in parts) and not parts[-1].lower().endswith(PASSED_OVER)
