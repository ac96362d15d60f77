"""What the core asks of a model registry: narrow enough that one in memory is one short class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from evergreen.registry.version import CHAMPION, Version
from evergreen.verdicts import Verdict

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from evergreen.spec.model import ModelSpec


class StoredVersions(Protocol):
    """Loads what was stored with a version; its hash is checked first."""

    def load(self, version: Version, spec: ModelSpec) -> Pipeline:
        """The fitted pipeline of a version.

        Raises:
            ArtifactError: it is not what was registered.
        """
        ...

    def load_judged(self, version: Version, spec: ModelSpec) -> Pipeline:
        """The fit of a version that the gates judged: the pipeline itself where no other one is deployed.

        Raises:
            ArtifactError: it is not what was registered.
        """
        ...

    def files(self, version: Version) -> Path:
        """The folder of what was stored beside the pipeline.

        Raises:
            ArtifactError: it is not what was registered.
        """
        ...


class ModelRegistry(Protocol):
    """The versions and aliases of models."""

    def champion(self, model: str) -> Version | None:
        """The version in production."""
        return self.by_alias(model, CHAMPION)

    def by_alias(self, model: str, alias: str) -> Version | None:
        """The version that an alias names; None where it names none."""
        ...

    def get(self, model: str, number: int) -> Version:
        """One version.

        Raises:
            RegistryError: there is none of this number.
        """
        ...

    def lookup(self, model: str, number: int) -> Version | None:
        """One version; None where there is none of this number, or no more."""
        ...

    def versions(self, model: str) -> tuple[Version, ...]:
        """All of them, oldest first."""
        ...

    def find(self, model: str, decision_id: str) -> Version | None:
        """The version that a decision made; None where it made none yet."""
        ...

    def conclude(self, version: Version, verdict: Verdict, description: str, tags: Mapping[str, str]) -> Version:
        """Write what the gates said; the status last, for it says that the rest is there."""
        ...

    def tag(self, version: Version, key: str, value: str) -> None:
        """Set one of Evergreen's tags."""
        ...

    def untag(self, version: Version, key: str) -> None:
        """Take one of Evergreen's tags away; one that is not there is no fault."""
        ...

    def set_alias(self, model: str, alias: str, number: int) -> None:
        """Point an alias at a version: one write, never a moment without a target."""
        ...

    def drop_alias(self, model: str, alias: str) -> None:
        """Take an alias away."""
        ...

    def require_stored(self, version: Version) -> None:
        """Refuse a version of which something is gone, without opening what is there.

        Raises:
            LostError: its run, its pipeline or its files are gone.
        """
        ...

    def require_trusted(self, version: Version, spec: ModelSpec) -> None:
        """Refuse a version that holds a type that nobody vouches for: see `evergreen.registry.trust`.

        Raises:
            ModelFileError: it does.
        """
        ...

    def require_intact(self, version: Version, spec: ModelSpec) -> None:
        """Refuse a version of which a stored fit is not what was registered.

        Raises:
            ArtifactError: it is not.
        """
        ...
