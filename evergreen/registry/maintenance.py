"""What the registry's files take on the disk, and deleting those that nobody needs; the entries themselves stay."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from evergreen import naming
from evergreen.errors import ForeignError
from evergreen.registry.client import Registry
from evergreen.registry.mlflow_calls import clear, pages, quiet_mlflow
from evergreen.registry.mlflow_entities import moment
from evergreen.registry.version import Version


@dataclass(frozen=True, slots=True)
class Leftover:
    """Files of a candidate that a killed run stored and never registered, by the URI of their folder."""

    place: str
    made: datetime


def aliases(registry: Registry, model: str) -> dict[str, int]:
    """The version of every alias, also of those that a person made."""
    from mlflow.exceptions import MlflowException

    with clear(registry.settings.tracking):
        try:
            found = registry.client.get_registered_model(registry.registered(model)).aliases
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise
    return {alias: int(number) for alias, number in found.items()}


def places(registry: Registry, version: Version) -> tuple[str, ...]:
    """The URIs of the folders of what a version is made of; of those that MLflow still knows of.

    Its card, which says what it was, is not among them.
    """
    from mlflow.exceptions import MlflowException

    client, uris = registry.client, list[str]()
    for ask, key, folders in (
        (lambda key: client.get_logged_model(key).artifact_location, version.model_id, ("",)),
        (lambda key: client.get_run(key).info.artifact_uri, version.run_id, ("/evergreen", "/drift")),
    ):
        with clear(registry.settings.tracking):
            try:
                place = ask(key)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                continue
        uris += [place + folder for folder in folders]
    return tuple(uris)


def gone(registry: Registry, version: Version) -> bool:
    """Whether a cleaning deleted its files, all of them."""
    return version.tags.cleaned is not None and not any(size(registry, place) for place in places(registry, version))


def leftovers(registry: Registry, model: str) -> tuple[Leftover, ...]:
    """What killed runs stored that no version was made of; runs that Evergreen did not make are left out."""
    with clear(registry.settings.tracking):
        experiment = registry.client.get_experiment_by_name(registry.experiment(model))
        if experiment is None:
            return ()
        known = {version.run_id for version in registry.versions(model)}
        runs = pages(
            registry.client.search_runs, [experiment.experiment_id], f"tags.`{naming.version_tag('decision_id')}` != ''"
        )
        stray = {run.info.run_id: run.info for run in runs if run.info.run_id not in known}
        models = pages(registry.client.search_logged_models, [experiment.experiment_id]) if stray else ()
    return (
        *(Leftover(info.artifact_uri, moment(info.start_time)) for info in stray.values()),
        *(
            Leftover(found.artifact_location, moment(found.creation_timestamp))
            for found in models
            if found.source_run_id in stray
        ),
    )


def size(registry: Registry, place: str) -> int:
    """The bytes below a folder of stored files; 0 where it is gone."""
    with clear(registry.settings.tracking):
        repository = _repository(registry, place)
        folders, total = [""], 0
        while folders:
            for found in repository.list_artifacts(folders.pop() or None):
                if found.is_dir:
                    folders.append(found.path)
                else:
                    total += int(found.file_size or 0)
        return total


def discard(registry: Registry, place: str) -> None:
    """Delete a folder of stored files; one that is gone is no fault."""
    if registry.settings.read_only:
        raise ForeignError.of(f"The folder {place}", registry.settings.environment)
    with clear(registry.settings.tracking):
        _repository(registry, place).delete_artifacts()


def _repository(registry: Registry, place: str) -> Any:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    quiet_mlflow()
    return get_artifact_repository(place, tracking_uri=registry.settings.tracking)
