"""What a backup says of itself: each file with its size and hash, where it is from and by which versions it was made.

The manifest is written last, and beside it its own hash: a folder without both is no backup, and one in which a byte
differs is refused before anything is done with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from evergreen.errors import EvergreenError
from evergreen.naming import BACKUP_MANIFEST, BACKUP_SEAL
from evergreen.registry.artifacts import sha256

FORMAT = 1
_LIBRARIES = ("evergreen", "mlflow", "deltalake", "scikit-learn")


@dataclass(frozen=True, slots=True)
class BackupFile:
    """A file of a backup: its size and its sha256."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is in a backup.

    Attributes:
        made: the moment of which it is (ISO 8601, UTC).
        environment: whose it is; empty for the environment without a name.
        home: the state folder that it was made of.
        versions: of Evergreen and of the libraries that wrote what is in it.
        tables: the version of each table, by its folder below the lake.
        registry: `sqlite`, `postgresql`, or empty where there was none yet.
        revision: of the schema of the registry's database.
        experiments: the URI that the registry has for the files of each experiment, by its name.
        left_out: what is not in it and might be expected, as sentences.
        damaged: files of versions that were gone or changed already when it was made, as sentences.
        landing: whether landing folders are in it.
        files: by their names below the backup's folder.
    """

    made: str
    environment: str
    home: str
    versions: Mapping[str, str]
    tables: Mapping[str, int]
    registry: str
    revision: str
    experiments: Mapping[str, str]
    left_out: tuple[str, ...]
    damaged: tuple[str, ...]
    landing: bool
    files: Mapping[str, BackupFile]

    @property
    def models(self) -> tuple[str, ...]:
        """The models that have a table in it."""
        return tuple(sorted({table.partition("/")[0] for table in self.tables}))

    @property
    def bytes(self) -> int:
        """The size of all of its files."""
        return sum(file.bytes for file in self.files.values())

    def below(self, folder: str) -> dict[str, BackupFile]:
        """The files of one of its folders, by their names below that folder."""
        return {
            name.removeprefix(f"{folder}/"): file for name, file in self.files.items() if name.startswith(f"{folder}/")
        }


def library_versions() -> dict[str, str]:
    """The versions of Evergreen and of the libraries that write what is backed up."""
    return {name: version(name) for name in _LIBRARIES}


def describe_files(
    folder: Path, *, progress: Callable[[int, int], None] = lambda _done, _all: None
) -> dict[str, BackupFile]:
    """Every file below a folder, by name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    found = {}
    for number, path in enumerate(files):
        progress(number, len(files))
        found[path.relative_to(folder).as_posix()] = BackupFile(path.stat().st_size, sha256(path))
    return found


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write a backup's manifest, and then its hash."""
    text = json.dumps({"format": FORMAT, **asdict(manifest)}, indent=1)
    (folder / BACKUP_MANIFEST).write_text(text, encoding="utf-8")
    (folder / BACKUP_SEAL).write_text(f"{hashlib.sha256(text.encode()).hexdigest()}\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Read a backup's manifest, by its hash.

    Raises:
        EvergreenError: the folder is no whole backup, or one of a newer Evergreen.
    """
    try:
        content, seal = (folder / BACKUP_MANIFEST).read_bytes(), (folder / BACKUP_SEAL).read_bytes()
    except OSError:
        raise EvergreenError(
            f"{folder} is no backup: {BACKUP_MANIFEST} or {BACKUP_SEAL} is missing, which are written last.",
            "Give the folder that evergreen backup wrote; one that was stopped is not whole.",
        ) from None
    if hashlib.sha256(content).hexdigest().encode() != seal.strip():
        raise _damaged(folder, f"{BACKUP_MANIFEST} is not what {BACKUP_SEAL} says")
    stored = json.loads(content)
    if stored.pop("format") != FORMAT:
        by = stored.get("versions", {}).get("evergreen", "another one")
        raise EvergreenError(
            f"{folder} was made by Evergreen {by}, in a form that this one does not know.",
            "Restore it with the Evergreen that made it.",
        )
    if any(name.startswith("/") or ".." in name.split("/") for name in stored["files"]):
        raise _damaged(folder, f"{BACKUP_MANIFEST} names files outside of it")
    stored["files"] = {name: BackupFile(**file) for name, file in stored["files"].items()}
    return Manifest(**_with_tuples(stored))


def verify(
    folder: Path, manifest: Manifest, *, progress: Callable[[int, int], None] = lambda _done, _all: None
) -> None:
    """Read every file of a backup and compare it with the manifest.

    Raises:
        EvergreenError: one is missing, has changed, or is in no manifest; the line names it.
    """
    for number, (name, expected) in enumerate(manifest.files.items()):
        progress(number, len(manifest.files))
        path = folder / name
        if not path.is_file():
            raise _damaged(folder, f"{name} is missing")
        if path.stat().st_size != expected.bytes or sha256(path) != expected.sha256:
            raise _damaged(folder, f"{name} is not the file that was stored: its sha256 differs")
    known = {*manifest.files, BACKUP_MANIFEST, BACKUP_SEAL}
    strange = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    for name in strange:
        if name not in known:
            raise _damaged(folder, f"{name} is in it, and is none of its files")


def _damaged(folder: Path, what: str) -> EvergreenError:
    return EvergreenError(
        f"The backup {folder} is damaged: {what}. Nothing was changed.", "Take another copy of it, or another backup."
    )


def _with_tuples(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}
