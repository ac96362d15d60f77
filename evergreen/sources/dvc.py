"""A file or folder that DVC tracks, at a revision. A file is identified by the md5 that DVC keeps in git.

The md5 is looked up without fetching data. Fetched content is checked against it, so that what lands is what the
revision says, also when a file of the workspace was changed and not added.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.errors import DataError, EvergreenError, ModelFileError
from evergreen.sources.base import Batch, Waiting, is_passed_over
from evergreen.sources.file_formats import hash_parts, read_batch
from evergreen.sources.object_store import refuse_secret

if TYPE_CHECKING:
    from dvc.repo import Repo


@dataclass(frozen=True, slots=True)
class DvcSource:
    """A path in a DVC repository. Each CSV or Parquet file is a batch, read once however many revisions contain it.

    Attributes:
        path: a file or a folder, relative to the repository, with `/`.
        rev: a branch, a tag or a commit; None for what the workspace tracks now.
        repo: the repository, relative to the landing root or absolute, or a git URL; git supplies the credentials.
    """

    path: str
    rev: str | None = None
    repo: str = "."

    def __post_init__(self) -> None:
        """Refuse a path outside of the repository, and a URL that holds a password."""
        refuse_secret(self.repo)
        if not self.path or self.path.startswith("/") or ".." in self.path.split("/"):
            raise ModelFileError(
                f"source: {self.path!r} is not a path within the repository.",
                "Write it relative to the repository, such as 'data/rows.csv'.",
            )

    def fingerprint(self, root: Path) -> str:
        """The md5 of the path at the revision."""
        with self._open(root) as repo:
            return f"{self.path} {self._tracked_info(repo)['md5']}"

    def read(self, root: Path, new: Callable[[str], bool]) -> Iterator[Batch | Waiting]:
        """Fetch and yield every file whose content is new, in the order of their names."""
        with self._open(root) as repo:
            revision = repo.get_rev() if self.rev else f"md5:{self._tracked_info(repo)['md5']}"
            seen: set[str] = set()
            for name, md5 in sorted(self._files(repo).items()):
                batch = hash_parts("dvc", Path(name).suffix, md5)
                if batch in seen or not new(batch):
                    continue
                seen.add(batch)
                with tempfile.TemporaryDirectory() as folder:
                    file = Path(folder) / Path(name).name
                    self._fetch(repo, name, md5, file)
                    yield read_batch(file, batch, name, revision)

    @contextlib.contextmanager
    def _open(self, root: Path) -> Iterator[Repo]:
        """The repository at the revision.

        Raises:
            DataError: it is no DVC repository, or has no such revision.
            EvergreenError: DVC is not installed.
        """
        try:
            from dvc.exceptions import DvcException
            from dvc.repo import Repo
            from dvc.scm import RevError
        except ImportError:
            raise EvergreenError("source: DVC is not installed.", 'Install it: pip install ".[dvc]"') from None
        url = self.repo if "://" in self.repo else str((root / Path(self.repo).expanduser()).absolute())
        name = url.rpartition("@")[2]
        try:
            with Repo.open(url, rev=self.rev) as repo:
                yield repo
        except RevError:
            raise DataError(
                f"source: the repository {name} has no revision {self.rev!r}.", "Name a branch, a tag or a commit."
            ) from None
        except DvcException as error:
            raise DataError(
                f"source: {name} is not a DVC repository that can be read ({type(error).__name__}).",
                "Name the folder that holds .dvc, or its git URL.",
            ) from None

    def _tracked_info(self, repo: Repo) -> dict[str, Any]:
        """What DVC records about the path.

        Raises:
            DataError: there is nothing at this path, or DVC does not track it.
        """
        where = f"{self.path!r} at {self.rev}" if self.rev else f"{self.path!r}"
        try:
            info = dict(repo.dvcfs.fs.info(f"/{self.path}").get("dvc_info") or {})
        except FileNotFoundError:
            raise DataError(f"source: the repository has no {where}.", "Correct the path or the revision.") from None
        info["md5"] = info.get("md5") or info.get("md5-dos2unix")
        if not info["md5"]:
            raise DataError(f"source: DVC does not track {where}.", f"Track it: dvc add {self.path}")
        return info

    def _files(self, repo: Repo) -> dict[str, str]:
        """The md5 of every file of the path, by name."""
        tracked = self._tracked_info(repo)
        if tracked["type"] == "file":
            return {self.path: tracked["md5"]}
        listing = repo.dvcfs.fs.find(f"/{self.path}", detail=True)
        infos = {name.lstrip("/"): info.get("dvc_info") or {} for name, info in listing.items()}
        return {
            name: str(info.get("md5") or info.get("md5-dos2unix"))
            for name, info in infos.items()
            if not is_passed_over(Path(name).name)
        }

    def _fetch(self, repo: Repo, name: str, md5: str, file: Path) -> None:
        """Copy a file from the workspace, DVC's cache or its remote to `file`.

        Raises:
            DataError: the content is in none of them, or is not what DVC tracks.
        """
        try:
            repo.dvcfs.fs.get_file(f"/{name}", str(file))
        except Exception as error:
            # The remote's own message may show a key.
            raise DataError(
                f"source: the content of {name!r} (md5 {md5}) cannot be fetched ({type(error).__name__}).",
                "Put it into DVC's remote or cache: dvc push where it is, or dvc pull here.",
            ) from None
        with file.open("rb") as handle:
            fetched_md5 = hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if fetched_md5 != md5 and self._md5_is_of_bytes(repo):
            raise DataError(
                f"source: {name!r} in the workspace is not what DVC tracks.",
                "Run dvc add to track it as it is, or dvc checkout to get back what was tracked.",
            )

    def _md5_is_of_bytes(self, repo: Repo) -> bool:
        """Whether DVC hashed the file's bytes; before DVC 3 it hashed the text without carriage returns."""
        info = repo.dvcfs.fs.info(f"/{self.path}").get("dvc_info") or {}
        return "md5" in info
