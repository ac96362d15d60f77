"""What a registry's database holds of one environment: its versions, and where their files are.

It is read in SQL, because what is looked at is a copy, or a database as it was at one moment, which MLflow cannot open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evergreen import naming
from evergreen.naming import version_tag

Ask = Callable[[str], Sequence[Sequence[Any]]]
"""Runs a query and gives its rows."""

PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Where MLflow stores the place of files, as a URI."""

DEFAULT_EXPERIMENT = 0
"""MLflow's own, which every database has."""

_DELETED = "Deleted_Internal"
_TAGS = ("model_id", "sha256", "files_sha256", "cleaned")


@dataclass(frozen=True, slots=True)
class StoredExperiment:
    """An experiment of a model of this environment.

    Attributes:
        name: as MLflow has it.
        location: the URI of the folder of its files.
        folders: the URI of the files of each of its runs and stored models, by id.
    """

    name: str
    location: str
    folders: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A version of a model of this environment, and what was recorded of its files when it was registered."""

    model: str
    number: int
    run_id: str
    model_id: str
    sha256: str
    files_sha256: str
    cleaned: bool

    @property
    def label(self) -> str:
        """As messages name it."""
        return f"{self.model} version {self.number}"


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a registry's database.

    Attributes:
        revision: of its schema; None for a database without MLflow's tables.
        experiments: those of this environment's models.
        versions: of them.
        others: the names of experiments and models that another environment, or a person, made.
    """

    revision: str | None = None
    experiments: tuple[StoredExperiment, ...] = ()
    versions: tuple[StoredVersion, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing would be lost with it."""
        return not (self.experiments or self.versions or self.others)


def read_contents(ask: Ask, environment: str) -> Contents:
    """Read what is there; the database has MLflow's tables."""
    runs = ask("SELECT experiment_id, run_uuid, artifact_uri FROM runs")
    models = ask("SELECT experiment_id, model_id, artifact_location FROM logged_models")
    experiments, others = [], set[str]()
    for number, name, location in ask("SELECT experiment_id, name, artifact_location FROM experiments"):
        folders = {key: uri for found in (runs, models) for of, key, uri in found if of == number}
        if naming.model_of(environment, name) is not None and number != DEFAULT_EXPERIMENT:
            experiments.append(StoredExperiment(name, str(location).rstrip("/"), folders))
        elif number != DEFAULT_EXPERIMENT or folders:
            others.add(name)
    others |= {
        name for (name,) in ask("SELECT name FROM registered_models") if naming.model_of(environment, name) is None
    }
    revision = ask("SELECT version_num FROM alembic_version")[0][0]
    return Contents(str(revision), tuple(experiments), _versions(ask, environment), tuple(sorted(others)))


def _versions(ask: Ask, environment: str) -> tuple[StoredVersion, ...]:
    wanted = ", ".join(f"'{version_tag(key)}'" for key in _TAGS)
    tags: dict[tuple[str, int], dict[str, str]] = {}
    for name, number, key, value in ask(
        f"SELECT name, version, key, value FROM model_version_tags WHERE key IN ({wanted})"  # noqa: S608
    ):
        tags.setdefault((name, number), {})[key] = value
    found = []
    for name, number, run in ask(
        f"SELECT name, version, run_id FROM model_versions WHERE current_stage != '{_DELETED}' ORDER BY name, version"  # noqa: S608
    ):
        model, known = naming.model_of(environment, name), tags.get((name, number), {})
        if model is not None:
            facts = {key: known.get(version_tag(key), "") for key in _TAGS}
            cleaned = bool(facts.pop("cleaned"))
            found.append(StoredVersion(model, int(number), str(run), cleaned=cleaned, **facts))
    return tuple(found)
