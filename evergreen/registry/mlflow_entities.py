"""What Evergreen's things are called in MLflow, and MLflow's in Evergreen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from evergreen import naming
from evergreen.registry.version import Version, VersionTags
from evergreen.spec.model import ModelSpec

if TYPE_CHECKING:
    import mlflow
    from mlflow.entities.model_registry import ModelVersion


def version_of(model: str, found: ModelVersion) -> Version:
    """A version of a model as MLflow has it."""
    # Evergreen's own come last: one that a person gave the same name does not take its place.
    ordered = sorted(found.tags.items(), key=lambda item: item[0].startswith(naming.TAG_PREFIX))
    tags = {key.removeprefix(naming.TAG_PREFIX): value for key, value in ordered}
    model_id = tags.get("model_id") or str(found.source).rpartition("/")[2]
    made = moment(found.creation_timestamp)
    return Version(
        model,
        int(found.version),
        found.run_id or "",
        model_id,
        VersionTags.read(tags),
        found.description or "",
        made,
    )


def named(registered: str) -> str:
    """A registered model in a search of MLflow's."""
    return f"name='{registered}'"


def moment(milliseconds: float) -> datetime:
    """A time of MLflow's (aware, UTC)."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def short(text: str) -> str:
    """16 hex digits of a text's hash."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def prefixed(tags: Mapping[str, str]) -> dict[str, str]:
    """Evergreen's own tags by the names that MLflow has them by."""
    return {naming.version_tag(key): value for key, value in tags.items()}


def signature_of(spec: ModelSpec, classes: Sequence[Any] | None) -> mlflow.models.ModelSignature:
    """Numbers as doubles, so that a missing one is accepted; categories as text."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    inputs: list[ColSpec | TensorSpec] = [ColSpec("double", name) for name in spec.features.numeric]
    inputs += [ColSpec("string", name) for name in spec.features.categorical]
    output = "double" if classes is None else "long" if isinstance(classes[0], int) else "string"
    return ModelSignature(inputs=Schema(inputs), outputs=Schema([ColSpec(output)]))


def requirements() -> list[str]:
    """The packages that a pipeline needs, in the versions that are installed."""
    from importlib.metadata import version

    return [f"{name}=={version(name)}" for name in ("scikit-learn", "pandas", "numpy", "skops")]


def dataset_of(facts: Mapping[str, str]) -> Any:
    """What a candidate learned from, as an input of its run."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=facts["name"],
        digest=facts["digest"],
        source_type="delta_table",
        source=json.dumps({"uri": facts["table"], "delta_table_version": facts["version"]}),
        profile=json.dumps({"num_rows": int(facts["rows"])}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])
