"""A registry, a ledger and a log of promotions in memory: where a replay keeps what the live flows keep in storage.

They answer by the same names, so that the same code promotes, rolls back and asks what was answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from evergreen.backtest.job_cache import Store
from evergreen.decision import Decision, Kind
from evergreen.errors import RegistryError
from evergreen.ledger.decisions import Decisions
from evergreen.ledger.drift_scores import ColumnDrift
from evergreen.ledger.promotions import Move, Promotions
from evergreen.registry.artifacts import load_pipeline, verify
from evergreen.registry.client import Registry
from evergreen.registry.version import CHAMPION, STATUS, Version, status_of
from evergreen.spec.model import ModelSpec
from evergreen.verdicts import Verdict

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


class HeldFits(Registry):
    """A registry that only loads: the fit of a version is the folder of the store that its `model_id` names."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._loaded = lru_cache(maxsize=24)(self._load)
        self._verified: set[str] = set()

    def load(self, version: Version, spec: ModelSpec) -> Pipeline:
        """The version's pipeline, its hash checked first; the last few are kept in memory."""
        return self._loaded(version.model_id, version.tags.get("sha256", ""), spec.trusted)

    def _load(self, fit: str, expected: str, trusted: tuple[str, ...]) -> Pipeline:
        return load_pipeline(self.store.fit(fit), expected, trusted, f"fit {fit}")

    def files(self, version: Version) -> Path:
        """The folder of what was stored with the version, its hash checked first."""
        folder = self.store.fit(version.model_id) / "evergreen"
        if version.model_id not in self._verified:
            verify(folder, version.tags.get("files_sha256", ""), f"fit {version.model_id}")
            self._verified.add(version.model_id)
        return folder


class HeldRegistry(Registry):
    """The versions and aliases of one model."""

    def __init__(self) -> None:
        self._versions: dict[int, Version] = {}
        self._aliases: dict[str, int] = {}

    def add(self, model: str, fit: str, tags: Mapping[str, str]) -> Version:
        """Make a version of a fit, PENDING."""
        number = len(self._versions) + 1
        self._versions[number] = Version(model, number, "", fit, {STATUS: "PENDING", **tags}, "")
        return self._versions[number]

    def champion(self, model: str) -> Version | None:
        """The version in production."""
        return self.by_alias(model, CHAMPION)

    def by_alias(self, model: str, alias: str) -> Version | None:
        """The version that an alias names."""
        return self._versions.get(self._aliases.get(alias, 0))

    def get(self, model: str, number: int) -> Version:
        """One version."""
        found = self.lookup(model, number)
        if found is None:
            raise RegistryError(f"{model} has no version {number}.", "Choose another one.")
        return found

    def lookup(self, model: str, number: int) -> Version | None:
        """One version; None where there is none of this number."""
        return self._versions.get(number)

    def versions(self, model: str) -> tuple[Version, ...]:
        """All of them, oldest first."""
        return tuple(self._versions.values())

    def find(self, model: str, decision_id: str) -> Version | None:
        """The version that a decision made."""
        found = [one for one in self._versions.values() if one.tags.get("decision_id") == decision_id]
        return found[-1] if found else None

    def conclude(self, version: Version, verdict: Verdict, description: str, tags: Mapping[str, str]) -> Version:
        """Write what the gates said."""
        return self._tagged(version.number, {**tags, STATUS: status_of(verdict)})

    def tag(self, version: Version, key: str, value: str) -> None:
        """Set a tag."""
        self._tagged(version.number, {key: value})

    def untag(self, version: Version, key: str) -> None:
        """Take a tag away."""
        present = self._versions[version.number]
        kept = {name: value for name, value in present.tags.items() if name != key}
        self._versions[version.number] = replace(present, tags=kept)

    def set_alias(self, model: str, alias: str, number: int) -> None:
        """Point an alias at a version."""
        self._aliases[alias] = number

    def drop_alias(self, model: str, alias: str) -> None:
        """Take an alias away."""
        self._aliases.pop(alias, None)

    def load(self, version: Version, spec: ModelSpec) -> Pipeline:
        """Nothing: whoever promotes loads a version to see that it can be, which its fit has shown."""
        return None

    def _tagged(self, number: int, tags: Mapping[str, str]) -> Version:
        present = self._versions[number]
        self._versions[number] = replace(present, tags={**present.tags, **tags})
        return self._versions[number]


class HeldDecisions(Decisions):
    """The ledger of one model."""

    def __init__(self, model: str) -> None:
        self.model = model
        self._kept: dict[tuple[Kind, str], Decision] = {}

    @property
    def entries(self) -> tuple[Decision, ...]:
        """Every decision, in the order in which it was taken."""
        return tuple(self._kept.values())

    def record(self, decision: Decision) -> None:
        """Keep a decision; one that is there already stays as it is."""
        self._kept.setdefault((decision.kind, decision.id), decision)

    def record_scores(self, decision: str, at: datetime, champion: int, columns: Sequence[ColumnDrift]) -> None:
        """Nothing: the scores of every column are for people to look at."""

    def find(self, kind: Kind, decision: str) -> Decision | None:
        """A decision by its id."""
        return self._kept.get((kind, decision))

    def select(self, kinds: Sequence[Kind], only: Mapping[Kind, str] | None = None) -> tuple[Decision, ...]:
        """Every decision of some kinds, and of others `only` those of an outcome, oldest first."""
        wanted = only or {}
        found = [one for one in self.entries if one.kind in kinds or wanted.get(one.kind) == one.outcome]
        return tuple(sorted(found, key=lambda one: one.at))


class HeldPromotions(Promotions):
    """The log of promotions of one model."""

    def __init__(self, model: str) -> None:
        self.model = model
        self._lines: list[Move] = []

    def write(self, move: Move) -> None:
        """Add a line."""
        self._lines.append(move)

    def all(self) -> tuple[Move, ...]:
        """Every line, oldest first."""
        return tuple(self._lines)
