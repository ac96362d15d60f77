"""What is written beside a version for people: its description, the tags that they gave it, and its run's figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evergreen.errors import EvergreenError
from evergreen.naming import TAG_PREFIX
from evergreen.registry.client import Registry
from evergreen.registry.mlflow_calls import clear
from evergreen.registry.mlflow_entities import short
from evergreen.registry.version import DESCRIBED, STATUS, Version

_LETTERS = 5_000
"""As long as MLflow's database takes a description."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a version's run was given and measured, as MLflow has it."""

    params: Mapping[str, str]
    metrics: Mapping[str, float]


def describe(registry: Registry, version: Version, text: str) -> bool:
    """Set the description; False where a person has written one, which stays."""
    present, text = registry.get(version.model, version.number), text[:_LETTERS]
    before = short(present.description)
    if present.description and before not in present.tags.described.split():
        return False
    # Both hashes, and first: what a killed process left behind is known as Evergreen's either way.
    registry.tag(version, DESCRIBED, f"{short(text)} {before}")
    with clear(registry.settings.tracking):
        registry.client.update_model_version(registry.registered(version.model), str(version.number), text)
    return True


def stated(registry: Registry, version: Version) -> dict[str, str]:
    """The tags that the model file or a person gave: those of the version, and of the registered model."""
    with clear(registry.settings.tracking):
        model = registry.client.get_registered_model(registry.registered(version.model)).tags
        own = registry.client.get_model_version(registry.registered(version.model), str(version.number)).tags
    ours = (TAG_PREFIX, "mlflow.", STATUS)
    return {key: value for key, value in sorted({**model, **own}.items()) if not key.startswith(ours)}


def trained(registry: Registry, version: Version) -> Trained:
    """The parameters and figures of the version's run; empty where MLflow has it no more."""
    from mlflow.exceptions import MlflowException

    with clear(registry.settings.tracking):
        try:
            data = registry.client.get_run(version.run_id).data
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return Trained({}, {})
            raise
    return Trained(dict(data.params), dict(data.metrics))


def text(registry: Registry, version: Version, path: str) -> str | None:
    """A text file of the version's run; None where there is none, or no more."""
    folder, _, name = path.rpartition("/")
    try:
        with clear(registry.settings.tracking):
            place = f"{registry.client.get_run(version.run_id).info.artifact_uri}/{folder}"
        return (registry.stored.local(place, version.label) / name).read_text(encoding="utf-8")
    except (EvergreenError, OSError, UnicodeDecodeError):
        return None
