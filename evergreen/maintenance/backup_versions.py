"""The files of versions in a backup: copied by what the copy of the registry knows, and held to what was registered."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from evergreen import naming
from evergreen.errors import EvergreenError
from evergreen.maintenance.backup_files import Remarks, Tellers, deleted_meanwhile
from evergreen.markdown import many
from evergreen.registry.artifacts import PIPELINE, sha256
from evergreen.registry.contents import Contents, StoredVersion
from evergreen.registry.database_copy import read_registry
from evergreen.settings import Settings
from evergreen.storage.file_tree import FileTree


def copy_artifacts(contents: Contents, folder: Path, remarks: Remarks, tell: Tellers) -> int:
    """Copy the files of the runs and stored models that the copy of the registry knows."""
    number, of_versions = 0, {key for version in contents.versions for key in (version.run_id, version.model_id)}
    for experiment in contents.experiments:
        if _is_served(experiment.location) and not of_versions & set(experiment.folders):
            remarks.left_out.append(f"The files of {experiment.name}, which are a server's and no version's.")
            continue
        tree = FileTree(place_of(experiment.location, experiment.name), "EVERGREEN_ARTIFACTS")
        below = f"{experiment.location}/"
        known = {uri.removeprefix(below) for uri in experiment.folders.values() if uri.startswith(below)}
        if elsewhere := len(experiment.folders) - len(known):
            remarks.left_out.append(
                f"The files of {many(elsewhere, 'run')} of {experiment.name}, which lie elsewhere than the others'."
            )
        # A folder of the second level is a run's, and one of the third a model's: runs that began later are left out.
        names = [
            file.name
            for file in tree.listing()
            if any(file.name.startswith(f"{place}/") for place in _parents(file.name, known))
        ]
        target = folder / naming.BACKUP_FILES / experiment.name
        number += len(names) - len(tree.fetch_all(names, target, progress=tell.progress))
    return number


def _parents(name: str, known: set[str]) -> Iterable[str]:
    """The folders above a file that are known."""
    parts = name.split("/")
    return (parent for end in range(1, len(parts)) if (parent := "/".join(parts[:end])) in known)


def place_of(uri: str, experiment: str) -> str:
    """The folder or URL of an experiment's files.

    Raises:
        EvergreenError: an MLflow server has them, and gives them away one by one.
    """
    if urlsplit(uri).scheme == "file":
        return url2pathname(urlsplit(uri).path)
    if _is_served(uri):
        raise EvergreenError(
            f"The files of the experiment {experiment} are kept by an MLflow server, and only it knows where.",
            "Set EVERGREEN_ARTIFACTS to a folder or object store for new experiments, or back up the server's files.",
        )
    return uri


def _is_served(uri: str) -> bool:
    return urlsplit(uri).scheme in ("mlflow-artifacts", "http", "https")


def check_versions(settings: Settings, contents: Contents, folder: Path, remarks: Remarks) -> None:
    """Compare the copied files of each version with what was registered."""
    problems = {version: problem for version in contents.versions if (problem := damage(contents, version, folder))}
    if not problems:
        return
    live = read_registry(settings)
    standing = {(version.model, version.number) for version in live.versions if not version.cleaned}
    for version, problem in problems.items():
        if (version.model, version.number) not in standing:
            raise deleted_meanwhile(version.label)
        remarks.damaged.append(f"{version.label}: {problem}.")


def damage(contents: Contents, version: StoredVersion, folder: Path) -> str:
    """What is wrong with a version's files in a backup; empty where they are what was registered, or were cleaned."""
    if version.cleaned:
        return ""
    for key, name, expected in (
        (version.model_id, PIPELINE, version.sha256),
        (version.run_id, naming.RUN_FOLDER, version.files_sha256),
    ):
        path = _in_backup(contents, key, folder)
        if path is None or not (path / name).exists():
            return f"{name} is missing"
        if expected and sha256(path / name) != expected:
            return f"{name} is not what was registered"
    return ""


def _in_backup(contents: Contents, key: str, folder: Path) -> Path | None:
    """The folder of a run's or a stored model's files in a backup."""
    for experiment in contents.experiments:
        uri = experiment.folders.get(key)
        if uri is not None:
            return folder / naming.BACKUP_FILES / experiment.name / uri.removeprefix(f"{experiment.location}/")
    return None
