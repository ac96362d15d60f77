"""A folder by path or by URL, through fsspec: `s3://bucket/folder`, `gs://`, `abfs://`, or a path.

Credentials and the endpoint come from the environment, such as AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.errors import DataError, EvergreenError
from evergreen.storage.credentials import resolve_env

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_PACKAGES = {"s3": '".[s3]"', "s3a": '".[s3]"', "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
_FORMS = "a folder's URL, such as s3://bucket/folder"


class FileStore:
    """A folder by path or by URL, opened.

    Attributes:
        files: the file system.
        path: the folder in the file system.
        name: the folder, as it may be shown.
        local: it is on this machine.
        setting: what names the folder, for messages.
    """

    def __init__(self, location: str, root: Path, setting: str = "source") -> None:
        """Open `location`; a relative path counts from `root`.

        Raises:
            EvergreenError: no installed package can open it, or the variable that it names is not set.
        """
        from fsspec.core import url_to_fs

        self.setting = setting
        text = resolve_env(location, setting, _FORMS)
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
                f"{setting}: {scheme}:// needs a package that is not installed.", f"Install it: pip install {package}"
            ) from None
        except ValueError:
            raise EvergreenError(
                f"{setting}: {scheme}:// is not a protocol that fsspec knows.", "Give a URL such as s3://bucket/folder."
            ) from None
        self.files: AbstractFileSystem = file_system
        self.path = str(path).rstrip("/")

    def listing(self, *, below: bool) -> dict[str, Any]:
        """What fsspec says of the folder's files, and of those of the folders `below` it, by their paths.

        Raises:
            DataError: the folder may not be listed, the store does not answer, or there is no such bucket.
        """
        with self.explain_errors("listed"):
            return self.files.find(self.path, detail=True) if below else self._list_folder()

    @contextlib.contextmanager
    def explain_errors(self, action: str) -> Iterator[None]:
        """Turn what goes wrong with the store into one line; `action` is what cannot be done, such as "read"."""
        try:
            yield
        except EvergreenError:
            raise
        except FileNotFoundError:
            raise DataError(
                f"{self.setting}: {self.name} cannot be {action}: it is not there.", "Check the URL."
            ) from None
        except PermissionError:
            raise DataError(
                f"{self.setting}: {self.name} cannot be {action} with these rights.",
                "Check the credentials in the environment, and what they may do.",
            ) from None
        except Exception as error:
            # The store's own message may show a key.
            raise DataError(
                f"{self.setting}: {self.name} cannot be {action} ({type(error).__name__}).",
                "Check the URL, the endpoint and the credentials in the environment.",
            ) from None

    def _list_folder(self) -> dict[str, Any]:
        try:
            infos = self.files.ls(self.path, detail=True)
        except FileNotFoundError:
            # `find` is empty for a folder that does not exist, and raises for a bucket that does not.
            return dict(self.files.find(self.path, detail=True))
        return {str(info["name"]): info for info in infos}
