"""Where a restore puts what a backup holds, and what is there already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from evergreen import naming
from evergreen.errors import RegistryError
from evergreen.maintenance.backup_manifest import Manifest
from evergreen.markdown import many
from evergreen.registry.database_copy import is_postgres, read_registry, sqlite_file
from evergreen.registry.moved_home import database_file
from evergreen.settings import Settings
from evergreen.storage.file_tree import FileTree
from evergreen.storage.leases import require_free
from evergreen.storage.locks import open_locks

_PURPOSES = ("retrain", "score", "canary", "promotion")
"""What a run holds a lock for while it writes."""


@dataclass(frozen=True, slots=True)
class Part:
    """A folder of a backup, and where it goes.

    Attributes:
        what: what it is, for people.
        folder: in the backup.
        place: the folder or URL below which its files go.
        occupied: what lies directly below that place now and would be mixed with it.
    """

    what: str
    folder: str
    place: str
    occupied: tuple[str, ...]

    @property
    def local(self) -> bool:
        """Whether it goes to this machine."""
        return "://" not in self.place


@dataclass(frozen=True, slots=True)
class Target:
    """Where all of a backup goes.

    Attributes:
        parts: its folders.
        artifacts: the URI below which the files of each experiment go.
        database: the registry's SQLite file; None where it is PostgreSQL.
        registry: what is in the registry now, in words; empty where nothing would be lost.
    """

    parts: tuple[Part, ...]
    artifacts: str
    database: Path | None
    registry: str

    @property
    def occupied(self) -> tuple[str, ...]:
        """What would be replaced, in words."""
        found = [f"{part.what} in {FileTree(part.place, part.what).name}" for part in self.parts if part.occupied]
        return (*found, *([self.registry] if self.registry else ()))


def find_target(settings: Settings, manifest: Manifest) -> Target:
    """Where a backup goes by these settings, and what is there; nothing is changed.

    Raises:
        RegistryError: the registry is of another kind than the backup's, or others have entries in it.
    """
    artifacts = settings.artifact_uri
    postgres = is_postgres(settings)
    if artifacts is None:
        raise RegistryError("It is not known where the files of versions go.", "Set EVERGREEN_ARTIFACTS.")
    if manifest.registry and (manifest.registry == "postgresql") != postgres:
        raise RegistryError(
            f"The backup's model registry is {_KINDS[manifest.registry]}, and EVERGREEN_TRACKING_URI names one that "
            f"is {_KINDS['postgresql' if postgres else 'sqlite']}.",
            "Set EVERGREEN_TRACKING_URI to one of the backup's kind.",
        )
    return Target(
        parts=tuple(_parts(settings, manifest, artifacts)),
        artifacts=artifacts,
        database=None if postgres else sqlite_file(settings),
        registry=_describe_registry(settings),
    )


_KINDS = {"sqlite": "an SQLite file", "postgresql": "a PostgreSQL database"}


def _parts(settings: Settings, manifest: Manifest, artifacts: str) -> Iterator[Part]:
    lake = FileTree(settings.lake_uri, "EVERGREEN_LAKE")
    models = tuple(name for name in lake.children() if not naming.is_place(name))
    yield Part(many(len(models), "model"), naming.BACKUP_LAKE, lake.place, models)
    place = url2pathname(urlsplit(artifacts).path) if artifacts.startswith("file:") else artifacts
    experiments = tuple(
        name
        for name in FileTree(place, "EVERGREEN_ARTIFACTS").children()
        if naming.model_of(settings.environment, name) is not None
    )
    yield Part("files of versions", naming.BACKUP_FILES, place, experiments)
    for name in naming.KEPT_FOLDERS:
        kept = f"{settings.report_place}/{name}"
        found = FileTree(kept, "EVERGREEN_REPORTS").children()
        yield Part(_KEPT[name], f"{naming.BACKUP_REPORTS}/{name}", kept, found)
    if manifest.landing:
        landing = str(settings.landing)
        yield Part("landing folders", naming.BACKUP_LANDING, landing, FileTree(landing, "EVERGREEN_HOME").children())


_KEPT = {"reports": "drift reports", "quarantine": "refused batches"}


def _describe_registry(settings: Settings) -> str:
    """What would be lost with the registry, in words.

    Raises:
        RegistryError: it may not be replaced: others have entries in it, or it is no file that can be moved aside.
    """
    contents = read_registry(settings)
    if is_postgres(settings):
        if contents.revision is not None:
            raise RegistryError(
                "The PostgreSQL database of EVERGREEN_TRACKING_URI has the tables of a model registry already.",
                "Set it to an empty database: createdb NAME. What is there is not replaced.",
            )
        return ""
    if contents.empty:
        return ""
    path = sqlite_file(settings)
    if contents.others and database_file(settings) is None:
        raise RegistryError(
            f"The model registry {path} has entries of others as well ({', '.join(contents.others[:5])}): it is not "
            "replaced.",
            "Set EVERGREEN_TRACKING_URI to a file that is not there yet.",
        )
    return f"{many(len(contents.versions), 'version')} in the model registry {path}"


@contextmanager
def hold_target(settings: Settings, manifest: Manifest, *, now: datetime) -> Iterator[None]:
    """Hold what keeps runs from writing to the target while it is replaced.

    In a lake that others share the locks lie in what is replaced: there it is only looked whether somebody holds one.

    Raises:
        BusyError: a run is writing to it.
    """
    present = FileTree(settings.lake_uri, "EVERGREEN_LAKE").children()
    models = sorted({*manifest.models, *(name for name in present if not naming.is_place(name))})
    if settings.lake:
        require_free(settings.lake_uri, models, _PURPOSES, now=now)
        yield
        return
    locks = open_locks(settings)
    with ExitStack() as held:
        for model in models:
            for purpose in _PURPOSES:
                held.enter_context(locks.hold(model, purpose, wait=0, now=now))
        yield
