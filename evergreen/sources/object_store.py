"""Files below a folder or a URL, through fsspec: `s3://bucket/folder`, `gs://`, `abfs://`, or a path.

A file is identified by what the listing says (an object store's ETag), so that a file that landed is not fetched again.
An object is there as a whole or not at all; only a file of a local folder may be half written. Credentials and the
endpoint come from the environment, such as AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from evergreen.errors import ModelFileError
from evergreen.sources.base import Batch, Waiting, is_passed_over
from evergreen.sources.file_formats import hash_parts, inspect_ends, read_batch
from evergreen.storage.credentials import holds_secret
from evergreen.storage.file_store import FileStore

_VERSION_KEYS = ("ETag", "etag", "md5Hash", "content_md5")
_TIME_KEYS = ("mtime", "LastModified", "last_modified", "updated", "created", "ino")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in a listing.

    Attributes:
        path: in the file system.
        name: relative to the folder that was listed.
        size: in bytes.
        identity: differs for every content.
    """

    path: str
    name: str
    size: int
    identity: str


def list_entries(store: FileStore, *, below: bool) -> list[Entry]:
    """The folder's files by name, with those of the folders `below` it; none if the folder does not exist.

    Files and folders whose names begin with `.` or `_`, or end like those of unfinished files, are ignored.

    Raises:
        DataError: as in `FileStore.listing`.
    """
    entries = [
        Entry(path, path[len(store.path) + 1 :], int(info.get("size") or 0), _identity(info))
        for path, info in store.listing(below=below).items()
        if info.get("type") == "file"
    ]
    return sorted((entry for entry in entries if _is_wanted(entry.name)), key=lambda entry: entry.name)


def listing_fingerprint(store: FileStore, entries: list[Entry]) -> str:
    """Hash of every file's name and identity."""
    return hash_parts(store.name, *(f"{entry.name}\n{entry.identity}" for entry in entries))


@dataclass(frozen=True, slots=True)
class ObjectFolder:
    """A landing folder by URL: CSV (`.csv`, `.tsv`; also `.gz`) and Parquet files, each a batch, by their names.

    The rules are those of `Folder`: the same names are ignored, and so are subfolders.

    Attributes:
        url: such as `s3://bucket/folder`, or `env:NAME`, the environment variable that holds it.
        pattern: which names are read, as in a shell.
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
        store = FileStore(self.url, root)
        return listing_fingerprint(store, self._entries(store))

    def read(self, root: Path, new: Callable[[str], bool]) -> Iterator[Batch | Waiting]:
        """Fetch and yield every file that is new, one at a time."""
        store, seen = FileStore(self.url, root), set[str]()
        for entry in self._entries(store):
            batch = hash_parts("object", Path(entry.name).suffix, entry.identity)
            if batch in seen or not new(batch):
                continue
            seen.add(batch)
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / Path(entry.name).name
                with store.explain_errors("read"):
                    store.files.get_file(entry.path, str(file))
                yield read_batch(file, batch, entry.name)

    def _entries(self, store: FileStore) -> list[Entry]:
        entries = list_entries(store, below=False)
        return [entry for entry in entries if "/" not in entry.name and fnmatchcase(entry.name, self.pattern)]


def refuse_secret(url: str) -> None:
    """Refuse a URL with a password in a model file.

    Raises:
        ModelFileError: the URL holds a password.
    """
    if "://" in url and holds_secret(url):
        raise ModelFileError(
            "source: the URL holds a password.",
            "Put credentials into the environment, or put the URL into an environment variable and write env:NAME.",
        )


def wait_reason(entry: Entry, now: Callable[[], float]) -> str:
    """Why to wait for a file of a local folder; empty to read it."""
    file = Path(entry.path)
    status = file.stat()
    return inspect_ends(file, status.st_size, abs(now() - status.st_mtime)).reason


def _identity(info: dict[str, Any]) -> str:
    version = next((str(info[key]) for key in _VERSION_KEYS if info.get(key)), "")
    return f"{info.get('size')} {version or [str(info.get(key)) for key in _TIME_KEYS]}"


def _is_wanted(name: str) -> bool:
    parts = name.split("/")
    return not any(part.startswith((".", "_")) for part in parts) and not is_passed_over(parts[-1])
