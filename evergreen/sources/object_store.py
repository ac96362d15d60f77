"""Files below a folder or a URL, through fsspec: `s3://bucket/folder`, `gs://`, `abfs://`, or a path.

A file is identified by what the listing says (an object store's ETag), so that a file that landed is not fetched again.
An object is there as a whole or not at all; only a file of a local folder may be half written. Credentials and the
endpoint come from the environment, such as AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL.
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
from evergreen.sources.base import Batch, Waiting, is_passed_over
from evergreen.sources.file_formats import hash_parts, inspect_ends, read_batch
from evergreen.storage.credentials import holds_secret, resolve_env

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_PACKAGES = {"s3": '".[s3]"', "s3a": '".[s3]"', "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
_FORMS = "a folder's URL, such as s3://bucket/folder"
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


class FileStore:
    """A folder by path or by URL, opened.

    Attributes:
        files: the file system.
        path: the folder in the file system.
        name: the folder, as it may be shown.
        local: it is on this machine.
    """

    def __init__(self, location: str, root: Path) -> None:
        """Open `location`; a relative path counts from `root`.

        Raises:
            EvergreenError: no installed package can open it, or the variable that it names is not set.
        """
        from fsspec.core import url_to_fs

        text = resolve_env(location, "source", _FORMS)
        if "://" not in text:
            text = str((root / Path(text).expanduser()).absolute())
        scheme = text.partition("://")[0]
        self.name = f"{scheme}://{text.partition('://')[2].rpartition('@')[2]}" if "://" in text else text
        self.local = "://" not in text
        try:
            file_system, path = url_to_fs(text, skip_instance_cache=True, use_listings_cache=False)
        except ImportError:
            package = _PACKAGES.get(scheme, "what fsspec asks for")
            raise EvergreenError(
                f"source: {scheme}:// needs a package that is not installed.", f"Install it: pip install {package}"
            ) from None
        except ValueError:
            raise EvergreenError(
                f"source: {scheme}:// is not a protocol that fsspec knows.", "Give a URL such as s3://bucket/folder."
            ) from None
        self.files: AbstractFileSystem = file_system
        self.path = str(path).rstrip("/")

    def entries(self, *, below: bool) -> list[Entry]:
        """The folder's files by name, with those of the folders `below` it; none if the folder does not exist.

        Files and folders whose names begin with `.` or `_`, or end like those of unfinished files, are ignored.

        Raises:
            DataError: the folder may not be listed, the store does not answer, or there is no such bucket.
        """
        with self.explain_errors("listed"):
            listing = self.files.find(self.path, detail=True) if below else self._list_folder()
        entries = [
            Entry(path, path[len(self.path) + 1 :], int(info.get("size") or 0), _identity(info))
            for path, info in listing.items()
            if info.get("type") == "file"
        ]
        return sorted((entry for entry in entries if _is_wanted(entry.name)), key=lambda entry: entry.name)

    @contextlib.contextmanager
    def explain_errors(self, action: str) -> Iterator[None]:
        """Turn what goes wrong with the store into one line; `action` is what cannot be done, such as "read"."""
        try:
            yield
        except EvergreenError:
            raise
        except FileNotFoundError:
            raise DataError(f"source: {self.name} cannot be {action}: it is not there.", "Check the URL.") from None
        except PermissionError:
            raise DataError(
                f"source: {self.name} cannot be {action} with these rights.",
                "Check the credentials in the environment, and what they may do.",
            ) from None
        except Exception as error:
            # The store's own message may show a key.
            raise DataError(
                f"source: {self.name} cannot be {action} ({type(error).__name__}).",
                "Check the URL, the endpoint and the credentials in the environment.",
            ) from None

    def _list_folder(self) -> dict[str, Any]:
        try:
            infos = self.files.ls(self.path, detail=True)
        except FileNotFoundError:
            # `find` is empty for a folder that does not exist, and raises for a bucket that does not.
            return dict(self.files.find(self.path, detail=True))
        return {str(info["name"]): info for info in infos}


def listing_fingerprint(store: FileStore, entries: list[Entry]) -> str:
    """Hash of every file's name and identity."""
    return hash_parts(store.name, *(f"{entry.name}\n{entry.identity}" for entry in entries))


@dataclass(frozen=True, slots=True)
class ObjectFolder:
    """A landing folder by URL: CSV (`.csv`, `.csv.gz`) and Parquet files, each a batch, in the order of their names.

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
        entries = store.entries(below=False)
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
