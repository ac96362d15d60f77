"""A copy of everything that an environment knows, of one moment, made while others work.

The moment is that of tables and registry (`backup_moment`). What they name is copied after it: a table's files up to
its version, the files of versions, reports and refused batches. None of these is written again once it is named; what a
cleaning deletes meanwhile is found missing, and the backup is refused rather than kept.
"""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

from evergreen import naming
from evergreen.errors import EvergreenError
from evergreen.maintenance.backup_files import Remarks, Tellers, copy_kept, copy_landing, copy_table
from evergreen.maintenance.backup_manifest import Manifest, describe_files, library_versions, write_manifest
from evergreen.maintenance.backup_moment import Moment, take_moment
from evergreen.maintenance.backup_versions import check_versions, copy_artifacts
from evergreen.markdown import many
from evergreen.registry.contents import Contents
from evergreen.registry.database_copy import is_postgres
from evergreen.registry.moved_home import database_file, require_own_places
from evergreen.settings import Settings
from evergreen.storage.file_tree import FileTree

WAIT_SECONDS = 60.0
"""How long to try for a moment at which no table is written."""


def back_up(
    settings: Settings,
    folder: Path,
    *,
    landing: bool,
    now: datetime,
    wait: float = WAIT_SECONDS,
    tell: Tellers = Tellers(),  # noqa: B008 - frozen
) -> Manifest:
    """Copy tables, registry, the files of versions, reports and refused batches to a folder; returns the manifest.

    Args:
        settings: of the environment.
        folder: is made, or is empty.
        landing: copy landing folders as well.
        now: when it is made (aware, UTC).
        wait: how many seconds to try for a moment at which no table is written.
        tell: who is told how it goes.

    Raises:
        BusyError: tables were written without a pause, or files were deleted meanwhile; nothing is kept.
        EvergreenError: there is nothing to back up, the folder is not empty, or something cannot be read or written.
    """
    lake = FileTree(settings.lake_uri, "EVERGREEN_LAKE")
    _require_folder(settings, folder)
    if not is_postgres(settings):
        require_own_places(settings)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return _copy(settings, lake, folder, landing=landing, now=now, wait=wait, tell=tell)
    except BaseException as error:
        for path in folder.iterdir() if folder.is_dir() else ():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if isinstance(error, OSError):
            raise EvergreenError(
                f"The backup {folder} cannot be written: {error.strerror or error}.", "Free space, or fix its mode."
            ) from None
        raise


def _copy(
    settings: Settings, lake: FileTree, folder: Path, *, landing: bool, now: datetime, wait: float, tell: Tellers
) -> Manifest:
    moment, remarks = take_moment(settings, lake, folder, wait=wait), Remarks()
    if not moment.tables and moment.contents.empty:
        raise EvergreenError(
            f"There is nothing to back up: {lake.name} has no tables, and the model registry no versions.",
            "Check EVERGREEN_HOME, EVERGREEN_LAKE and EVERGREEN_ENVIRONMENT.",
        )
    _tell_of_others(settings, moment.contents, remarks)
    tell.step(f"registry: {many(len(moment.contents.versions), 'version')}, of {now:%Y-%m-%d %H:%M:%S} UTC")
    number = sum(copy_table(lake, table, version, folder, remarks, tell) for table, version in moment.tables.items())
    tell.step(f"lake: {many(len(moment.tables), 'table')}, {many(number, 'file')}")
    number = copy_artifacts(moment.contents, folder, remarks, tell)
    check_versions(settings, moment.contents, folder, remarks)
    tell.step(f"versions: {many(number, 'file')}, compared with what was registered")
    number = copy_kept(settings, folder, tell)
    tell.step(f"reports: {many(number, 'file')}, refused batches among them")
    if landing:
        number = copy_landing(settings, folder, remarks)
        tell.step(f"landing: {many(number, 'file')}")
    else:
        remarks.left_out.append("Landing folders; --landing takes them.")
    manifest = _describe(settings, folder, moment, remarks, landing=landing, now=now, tell=tell)
    write_manifest(folder, manifest)
    return manifest


def _describe(
    settings: Settings,
    folder: Path,
    moment: Moment,
    remarks: Remarks,
    *,
    landing: bool,
    now: datetime,
    tell: Tellers,
) -> Manifest:
    return Manifest(
        made=now.isoformat(),
        environment=settings.environment,
        home=str(settings.root),
        versions=library_versions(),
        tables=moment.tables,
        registry=moment.registry,
        revision=moment.contents.revision or "",
        experiments={experiment.name: experiment.location for experiment in moment.contents.experiments},
        left_out=tuple(remarks.left_out),
        damaged=tuple(remarks.damaged),
        landing=landing,
        files=describe_files(folder, progress=tell.progress),
    )


def _require_folder(settings: Settings, folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise EvergreenError(f"{folder} is a file, and a backup is a folder.", "Give another folder.")
    if folder.is_dir() and any(folder.iterdir()):
        raise EvergreenError(f"{folder} is not empty.", "Give a folder that is empty or not there yet.")
    kept = [f"{settings.report_place}/{name}" for name in naming.KEPT_FOLDERS]
    for place in (settings.lake_uri, *kept, str(settings.landing), str(settings.artifact_folder)):
        if "://" not in place and folder.resolve().is_relative_to(Path(place).resolve()):
            raise EvergreenError(f"{folder} lies in {place}, which is backed up.", "Give a folder outside of it.")


def _tell_of_others(settings: Settings, contents: Contents, remarks: Remarks) -> None:
    if not contents.others:
        return
    names = ", ".join(contents.others[:5]) + (f" and {len(contents.others) - 5} more" if contents.others[5:] else "")
    if database_file(settings) is None:
        remarks.left_out.append(f"What others have in the same model registry: {names}.")
    else:
        remarks.left_out.append(f"The files of experiments that are no model's, whose entries are in it: {names}.")
