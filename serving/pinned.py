"""Serve one version from a folder: no registry is asked, and no alias is followed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from evergreen.errors import ArtifactError
from evergreen.registry.client import Registry
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from serving.champion import ChampionFollower, Followed, make_served
from serving.verified_copy import COPY, VerifiedCopy, read_copy
from serving.version import ServedVersion

PINNED = "pinned"
"""What stands in an answer for the alias by which its version was found."""


@dataclass(slots=True)
class PinnedVersion(ChampionFollower):
    """A follower that has arrived."""

    def start(self) -> None:
        """There is nothing to look for."""

    def look(self) -> None:
        """There is nothing to look for."""


def pin(name: str, folder: Path, settings: Settings, load_spec: Callable[[str], ModelSpec]) -> PinnedVersion:
    """Load the version of a folder.

    Raises:
        ArtifactError: there is none, or it is not what was written.
        ModelFileError: it holds a type that the model file does not trust.
    """
    spec = load_spec(name)
    copy = read_copy(folder, spec)
    if copy is None:
        raise ArtifactError(f"{folder / COPY} is missing.", f"Write the folder anew: evergreen image {name}")
    followed = Followed(serve_copy(spec, copy))
    return PinnedVersion(settings, Registry(settings), {name: followed}, load_spec)


def serve_copy(spec: ModelSpec, copy: VerifiedCopy) -> ServedVersion:
    """A copied version that is ready to answer."""
    return make_served(spec, copy.pipeline, copy.golden, number=copy.number, sha256=copy.sha256, alias=PINNED)
