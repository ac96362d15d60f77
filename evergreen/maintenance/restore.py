"""Put a backup back: verified first, then copied beside its place, then moved in; what was there is moved aside.

Until every file lies beside its place nothing of the target is touched, and nothing is ever deleted. The registry is
told where the files of its versions are now, so that the target may be another folder, another store, another machine.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from errno import EEXIST
from functools import partial
from pathlib import Path
from typing import Any

from evergreen import naming
from evergreen.errors import ArtifactError, EvergreenError, RefusedError, RegistryError
from evergreen.maintenance.backup_files import Tellers
from evergreen.maintenance.backup_manifest import BackupFile, Manifest, library_versions, read_manifest, verify
from evergreen.maintenance.restore_target import Part, Target, find_target, hold_target
from evergreen.markdown import many
from evergreen.registry.artifacts import sha256
from evergreen.registry.database_copy import restore_postgres, rewrite_sqlite
from evergreen.settings import Settings
from evergreen.storage.delta_log import LOG
from evergreen.storage.file_tree import FileTree
from evergreen.storage.locks import machine_locks
from evergreen.storage.schema_revision import MLFLOW, describe_newer
from evergreen.surroundings import make_home

_WAIT_SECONDS = 10.0
_BESIDE = ("", "-wal", "-shm", "-journal")
"""The files that an SQLite database consists of, by what is added to its name."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What was there before: moved from one path to another."""

    place: str
    aside: str


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did.

    Attributes:
        backup: the folder.
        made: the moment of the backup (ISO 8601, UTC).
        home: the state folder that it is in now.
        tables: how many.
        files: how many.
        places: how many entries of the registry name another place now.
        aside: what was there before.
        other_versions: libraries that wrote the backup in another version than is installed: then and now.
        damaged: as the backup's manifest has it.
    """

    backup: str
    made: str
    home: str
    tables: int
    files: int
    places: int
    aside: tuple[Moved, ...]
    other_versions: dict[str, tuple[str, str]]
    damaged: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As the command line prints it."""
        return asdict(self)


def restore(
    settings: Settings,
    folder: Path,
    *,
    replace: bool,
    now: datetime,
    tell: Tellers = Tellers(),  # noqa: B008 - frozen
) -> Restored:
    """Put a backup where these settings say.

    Args:
        settings: of the environment that the backup is of.
        folder: the backup.
        replace: move aside what is there.
        now: names what is moved aside (aware, UTC).
        tell: who is told how it goes.

    Raises:
        EvergreenError: the backup is damaged, of another environment, or of a newer library; or something cannot be
            written.
        RefusedError: something is there, and `replace` is not set, or it cannot be moved aside.
        BusyError: a run is writing to the target.
    """
    manifest = read_manifest(folder)
    verify(folder, manifest, progress=tell.progress)
    tell.step(f"verified: {many(len(manifest.files), 'file')} of the backup of {manifest.made[:19]} UTC")
    _require_fit(settings, manifest)
    target = find_target(settings, manifest)
    _require_room(settings, target, manifest, replace=replace, now=now)
    places, aside = _replace(settings, folder, manifest, target, now=now, tell=tell)
    installed = library_versions()
    return Restored(
        backup=str(folder),
        made=manifest.made,
        home=str(settings.root),
        tables=len(manifest.tables),
        files=len(manifest.files),
        places=places,
        aside=aside,
        other_versions={
            name: (then, installed.get(name, "none"))
            for name, then in manifest.versions.items()
            if then != installed.get(name)
        },
        damaged=manifest.damaged,
    )


def _replace(
    settings: Settings, folder: Path, manifest: Manifest, target: Target, *, now: datetime, tell: Tellers
) -> tuple[int, tuple[Moved, ...]]:
    """Copy beside, move aside, move in; returns how many places the registry has anew, and what was there before."""
    try:
        make_home(settings.root)
        with (
            hold_target(settings, manifest, now=now),
            machine_locks(settings).hold("registry", "opening", wait=_WAIT_SECONDS, now=now),
        ):
            try:
                places = _stage(settings, folder, manifest, target, tell)
                aside = tuple(_move_aside(target, now))
                _move_in(target)
            finally:
                _drop_staged(target)
    except OSError as error:
        raise EvergreenError(
            f"The backup cannot be restored: {error.filename or settings.root}: {error.strerror or error}.",
            "What was moved aside lies beside its place, named .before-restore-...; free space or fix the mode, and "
            "run it again with --yes.",
        ) from None
    return places, aside


def _require_fit(settings: Settings, manifest: Manifest) -> None:
    """Refuse a backup that these settings, or what is installed, cannot use."""
    if manifest.environment != settings.environment:
        own, here = (name or naming.UNNAMED for name in (manifest.environment, settings.environment))
        raise RefusedError(
            f"The backup is of the environment {own}, and this one is {here}: its names would be another's.",
            f"Set EVERGREEN_ENVIRONMENT={manifest.environment}, with places of its own, and run it again.",
        )
    newer = describe_newer(manifest.revision or None, MLFLOW)
    if newer is not None:
        raise RegistryError(f"The backup's model registry {newer[0]}.", newer[1])


def _require_room(settings: Settings, target: Target, manifest: Manifest, *, replace: bool, now: datetime) -> None:
    for part in target.parts:
        if part.occupied and not part.local:
            raise RefusedError(
                f"There are {part.what} in {FileTree(part.place, part.what).name} already, and what lies in an object "
                "store is not moved aside.",
                "Restore to an empty place: set EVERGREEN_LAKE, EVERGREEN_ARTIFACTS or EVERGREEN_REPORTS to one.",
            )
    if target.occupied and not replace:
        raise RefusedError(
            f"The restore would replace {'; '.join(target.occupied)}. Nothing was changed.",
            "To move all of it aside, where it stays beside its place with .before-restore- and the time in its name, "
            "add --yes. Or set EVERGREEN_HOME to an empty folder.",
        )
    parent = next(folder for folder in (settings.root, *settings.root.parents) if folder.is_dir())
    if shutil.disk_usage(parent).free < manifest.bytes:
        raise EvergreenError(
            f"The backup has {manifest.bytes / 1e6:.0f} MB, and the disk of {settings.root} has less free.", "Free it."
        )


def _stage(settings: Settings, folder: Path, manifest: Manifest, target: Target, tell: Tellers) -> int:
    """Copy everything beside its place, into object stores and PostgreSQL to the place itself.

    Returns how many entries of the registry name another place now.
    """
    for part in target.parts:
        staged = _staged(part)
        if staged is not None:
            shutil.rmtree(staged, ignore_errors=True)
        files = manifest.below(part.folder)
        tree, source = FileTree(str(staged or part.place), part.what), partial(_verified, folder / part.folder, files)
        # The logs of tables come last, so that a table is not there before its rows are.
        for logs in (False, True):
            names = [name for name in files if (f"/{LOG}/" in name) is logs]
            tree.put_all(names, source, progress=tell.progress)
        if files:
            tell.step(f"copied: {many(len(files), 'file')} for {FileTree(part.place, part.what).name}")
    places = {old: f"{target.artifacts}/{name}" for name, old in manifest.experiments.items()}
    if manifest.registry == "postgresql":
        return restore_postgres(settings, folder / naming.BACKUP_DUMP, places)
    if manifest.registry and target.database is not None:
        staged = Path(naming.half_restored(str(target.database)))
        staged.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / naming.BACKUP_DATABASE, staged)
        return rewrite_sqlite(staged, places)
    return 0


def _verified(folder: Path, files: Mapping[str, BackupFile], name: str) -> Path:
    """The path of a file of a backup, which still is what the manifest says."""
    if sha256(folder / name) != files[name].sha256:
        raise ArtifactError(f"{folder / name} has changed since it was verified.", "Nothing was replaced.")
    return folder / name


def _move_aside(target: Target, now: datetime) -> Iterator[Moved]:
    for part in target.parts:
        for name in part.occupied:
            yield _move(Path(part.place) / name, Path(naming.set_aside(part.place, now)) / name)
    if target.database is not None:
        for end in _BESIDE:
            file = target.database.with_name(target.database.name + end)
            if file.exists():
                yield _move(file, Path(naming.set_aside(str(target.database), now)) / file.name)


def _move(path: Path, aside: Path) -> Moved:
    aside.parent.mkdir(parents=True, exist_ok=True)
    if aside.exists():
        raise FileExistsError(EEXIST, "it is there already", str(aside))
    shutil.move(path, aside)
    return Moved(str(path), str(aside))


def _move_in(target: Target) -> None:
    for part in target.parts:
        staged = _staged(part)
        if staged is not None and staged.is_dir():
            Path(part.place).mkdir(parents=True, exist_ok=True)
            for path in staged.iterdir():
                shutil.move(path, Path(part.place) / path.name)
    if target.database is not None:
        database = Path(naming.half_restored(str(target.database)))
        if database.is_file():
            database.replace(target.database)


def _drop_staged(target: Target) -> None:
    """Delete the copies that did not take their place; where all went well, only empty folders."""
    for staged in filter(None, map(_staged, target.parts)):
        shutil.rmtree(staged, ignore_errors=True)
    if target.database is not None:
        Path(naming.half_restored(str(target.database))).unlink(missing_ok=True)


def _staged(part: Part) -> Path | None:
    return Path(naming.half_restored(part.place)) if part.local else None
