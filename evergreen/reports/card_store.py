"""Gathering what a version's card tells, and keeping the card with the version in MLflow.

The card is an artifact of the run, and the description of the version unless a person has written one.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evergreen.errors import ArtifactError, EvergreenError
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.promotions import Promotions
from evergreen.registry import descriptions, maintenance
from evergreen.registry.client import Registry
from evergreen.registry.version import Version
from evergreen.reports.card import brief, card
from evergreen.reports.card_facts import Facts
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.training import importance
from evergreen.training.candidate import PROFILE

CARD = "card/card.md"


def gather(settings: Settings, registry: Registry, spec: ModelSpec, version: Version, *, spec_hash: str = "") -> Facts:
    """What there is to tell of a version; what is not there any more is left out.

    Raises:
        RegistryError: MLflow or its database cannot be read.
    """
    ledger = Decisions(settings.lake_uri, spec.name)
    decision = version.tags.decision_id
    found, profile = stored(registry, version)
    return Facts(
        spec=spec,
        purpose=purpose(spec),
        spec_hash=spec_hash,
        version=version,
        aliases=tuple(
            name for name, number in maintenance.aliases(registry, spec.name).items() if number == version.number
        ),
        stated=descriptions.stated(registry, version),
        trained=descriptions.trained(registry, version),
        judgement=version.tags.judgement,
        importance=found,
        profile=profile,
        moves=Promotions(settings.lake_uri, spec.name).done(),
        asked=ledger.find("retrain", decision),
        word=ledger.find("approval", decision),
    )


def keep(settings: Settings, registry: Registry, spec: ModelSpec, number: int, *, spec_hash: str) -> None:
    """Write a version's card anew and keep it with the version.

    Raises:
        RegistryError: the version is not there, or MLflow cannot be written.
    """
    version = registry.get(spec.name, number)
    text = card(gather(settings, registry, spec, version, spec_hash=spec_hash))
    folder, _, name = CARD.rpartition("/")
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / name
        file.write_text(text, encoding="utf-8")
        registry.enrich(version.run_id, {}, {folder: file})
    descriptions.describe(registry, version, brief(text))


def kept(registry: Registry, version: Version) -> str | None:
    """The card that is stored with a version; None where there is none."""
    return descriptions.text(registry, version, CARD)


def stored(registry: Registry, version: Version) -> tuple[dict[str, float] | None, Mapping[str, Any]]:
    """A version's importances, and the profile of its reference sample; None and empty where they are gone."""
    try:
        folder = registry.files(version)
        return importance.read(folder), json.loads((folder / PROFILE).read_text())
    except (ArtifactError, EvergreenError, OSError, ValueError):
        return None, {}


def purpose(spec: ModelSpec) -> str:
    """What the model is for: the model file's description, or else the first words of its docstring."""
    if spec.description:
        return spec.description
    module = sys.modules.get(spec.pipeline.__module__)
    words = (module.__doc__ or "").strip() if getattr(module, "MODEL", None) is spec else ""
    return words.split("\n\n")[0]
