"""A registry, a ledger and a log of promotions in memory: where a simulation keeps what the live flows keep in storage.

They satisfy the protocols of the core, so that the same code promotes, rolls back and asks what was answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from evergreen.decision import Decision, Kind
from evergreen.errors import RegistryError
from evergreen.ledger.decisions import Ledger
from evergreen.ledger.drift_scores import ColumnDrift
from evergreen.ledger.promotions import Move, PromotionLog, is_next
from evergreen.registry.model_registry import ModelRegistry, StoredVersions
from evergreen.registry.version import PENDING, STATUS, Version, VersionTags, status_of
from evergreen.spec.model import ModelSpec
from evergreen.verdicts import Verdict


class InMemoryRegistry(ModelRegistry):
    """The versions and aliases of one model.

    Attributes:
        stored: every version by its number.
        aliases: the number that each alias names.
    """

    def __init__(self, files: StoredVersions) -> None:
        """`files` has what was stored with a version."""
        self.stored: dict[int, Version] = {}
        self.aliases: dict[str, int] = {}
        self._files = files
        self._last = 0

    def add(self, model: str, model_id: str, tags: Mapping[str, str]) -> Version:
        """Make a version, PENDING unless the tags say otherwise; no number comes twice."""
        self._last += 1
        self.stored[self._last] = Version(
            model, self._last, "", model_id, VersionTags.read({STATUS: PENDING, **tags}), ""
        )
        return self.stored[self._last]

    def by_alias(self, model: str, alias: str) -> Version | None:
        """The version that an alias names; None where it names none."""
        return self.stored.get(self.aliases.get(alias, 0))

    def get(self, model: str, number: int) -> Version:
        """One version.

        Raises:
            RegistryError: there is none of this number.
        """
        version = self.lookup(model, number)
        if version is None:
            raise RegistryError(f"{model} has no version {number}.", "Choose another one.")
        return version

    def lookup(self, model: str, number: int) -> Version | None:
        """One version; None where there is none of this number."""
        return self.stored.get(number)

    def versions(self, model: str) -> tuple[Version, ...]:
        """All of them, oldest first."""
        return tuple(self.stored.values())

    def find(self, model: str, decision_id: str) -> Version | None:
        """The newest version that a decision made; None where it made none."""
        versions = [version for version in self.stored.values() if version.tags.decision_id == decision_id]
        return versions[-1] if versions else None

    def conclude(self, version: Version, verdict: Verdict, description: str, tags: Mapping[str, str]) -> Version:
        """Write what the gates said."""
        return self._retag(version.number, {**tags, STATUS: status_of(verdict)})

    def tag(self, version: Version, key: str, value: str) -> None:
        """Set a tag."""
        self._retag(version.number, {key: value})

    def untag(self, version: Version, key: str) -> None:
        """Take a tag away; one that is not there is no fault."""
        present = self.stored[version.number]
        tags = {name: value for name, value in present.tags.raw.items() if name != key}
        self.stored[version.number] = replace(present, tags=VersionTags.read(tags))

    def set_alias(self, model: str, alias: str, number: int) -> None:
        """Point an alias at a version."""
        self.aliases[alias] = self.get(model, number).number

    def drop_alias(self, model: str, alias: str) -> None:
        """Take an alias away."""
        self.aliases.pop(alias, None)

    def require_stored(self, version: Version) -> None:
        """Refuse nothing: what is in memory is there."""

    def require_trusted(self, version: Version, spec: ModelSpec) -> None:
        """Refuse nothing: what is in memory was made by this very model file."""

    def require_intact(self, version: Version, spec: ModelSpec) -> None:
        """Refuse a version whose files differ from their hash. The pipeline is not loaded, which would import it."""
        self._files.files(version)

    def _retag(self, number: int, tags: Mapping[str, str]) -> Version:
        present = self.stored[number]
        self.stored[number] = replace(present, tags=VersionTags.read({**present.tags.raw, **tags}))
        return self.stored[number]


class InMemoryLedger(Ledger):
    """The decisions of one model, in the order in which they were taken."""

    def __init__(self) -> None:
        self._decisions: dict[tuple[Kind, str], Decision] = {}

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Every decision, oldest first."""
        return tuple(self._decisions.values())

    def record(self, decision: Decision) -> None:
        """Keep a decision; one that is there already stays as it is."""
        self._decisions.setdefault((decision.kind, decision.id), decision)

    def record_scores(self, decision: str, at: datetime, champion: int, columns: Sequence[ColumnDrift]) -> None:
        """Keep nothing: the scores of every column are for people to look at, and nothing is decided by them."""

    def find(self, kind: Kind, decision: str) -> Decision | None:
        """A decision by its id."""
        return self._decisions.get((kind, decision))

    def select(self, kinds: Sequence[Kind], only: Mapping[Kind, str] | None = None) -> tuple[Decision, ...]:
        """Every decision of some kinds, and of others `only` those of an outcome, oldest first."""
        outcomes = only or {}
        decisions = [each for each in self.decisions if each.kind in kinds or outcomes.get(each.kind) == each.outcome]
        return tuple(sorted(decisions, key=lambda decision: decision.at))


class InMemoryPromotions(PromotionLog):
    """The log of promotions of one model."""

    def __init__(self, model: str) -> None:
        self.model = model
        self._lines: list[Move] = []

    def write(self, move: Move, *, after: int | None = None) -> None:
        """Add a line."""
        if is_next(self.model, self._lines, move, after):
            self._lines.append(move)

    def all(self) -> tuple[Move, ...]:
        """Every line, oldest first."""
        return tuple(self._lines)
