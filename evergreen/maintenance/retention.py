"""What a model no longer needs on the disk, and why the rest is kept.

A version goes when it is older than asked, is none of the newest, and nothing points to it: no alias, no move of the
promotions log within that time. With it go the rows that only it was trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, cast

from evergreen import naming
from evergreen.errors import DataError
from evergreen.ingest.quarantine import quarantine_table
from evergreen.ledger.promotions import Promotions, champion_at
from evergreen.maintenance import delta_files
from evergreen.registry import maintenance
from evergreen.registry.client import Registry
from evergreen.registry.version import PENDING, Version
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.storage.delta_table import Table

Kind = Literal["version", "leftover", "report", "scratch", "quarantine", "table"]

OBSERVATIONS = "observations"
TABLES = ("labels_waiting", "predictions", "quarantine", "decisions", "drift", "promotions", "runs")
"""Tables of which only the newest version is ever read."""

SMALL_FILES = 100
"""So many small files of the observations are joined: each is named in every checkpoint of the table's log."""

GRACE_HOURS = 24
"""Files of a table that are younger stay, whatever is asked for: a run may be writing or reading them."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How much is kept.

    Attributes:
        days: nothing that is younger goes.
        keep: the newest versions and reports that stay whatever their age.
        quarantine_days: refused batches that are older go as well; None keeps all of them.
    """

    days: int = 30
    keep: int = 10
    quarantine_days: int | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """What would go, or went.

    Attributes:
        kind: what it is.
        name: which one.
        bytes: how much it frees.
        why: in words.
        places: folders, files or URIs that are deleted; empty for a table's files.
        number: of a version.
    """

    kind: Kind
    name: str
    bytes: int
    why: str
    places: tuple[str, ...] = ()
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """What stays although it could be asked about, and why."""

    kind: Kind
    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a cleaning comes to.

    Attributes:
        versions: Delta versions of the observations that stay readable, beside the newest.
        small: how many small files of the observations are joined to larger ones; earlier versions keep their own.
    """

    model: str
    policy: Policy
    now: datetime
    going: tuple[Item, ...]
    kept: tuple[Kept, ...]
    versions: tuple[int, ...]
    small: int

    @property
    def bytes(self) -> int:
        """How much it frees."""
        return sum(item.bytes for item in self.going)

    def to_json(self) -> dict[str, Any]:
        """As the command line prints it."""
        told = asdict(self) | {"now": self.now.isoformat(), "bytes": self.bytes}
        del told["versions"]
        return told


def plan(settings: Settings, registry: Registry, spec: ModelSpec, policy: Policy, *, now: datetime) -> Plan:
    """What would go at `now` (aware), and why the rest stays; nothing is changed."""
    before = now - timedelta(days=policy.days)
    versions = [version for version in registry.versions(spec.name) if not maintenance.gone(registry, version)]
    reasons = _reasons(settings, registry, spec.name, versions, policy, before)
    kept = [version for version in versions if version.number in reasons]
    at = _readable(settings, spec, kept)
    observations = observations_of(settings, spec.name)
    going = [
        *_versions(registry, versions, reasons, policy),
        *_leftovers(registry, spec.name, before),
        *_reports(settings.reports(spec.name), kept, policy, before),
        *_scratch(settings.scratch(spec.name)),
        *_quarantine(settings, spec.name, policy, now),
        *_tables(settings, spec.name, observations, tuple(at), policy),
    ]
    small = delta_files.small(observations) if observations.exists() else 0
    small = small if small >= SMALL_FILES else 0
    told = [Kept("version", f"version {version.number}", reasons[version.number]) for version in kept]
    told += [
        Kept("table", f"observations at version {number}", f"the data of {', '.join(at[number])}") for number in at
    ]
    return Plan(spec.name, policy, now, tuple(going), tuple(told), tuple(at), small)


def _reasons(
    settings: Settings, registry: Registry, model: str, versions: Sequence[Version], policy: Policy, before: datetime
) -> dict[int, str]:
    """Why a version is kept, by its number; one that may go is not among them."""
    names: dict[int, list[str]] = {}
    for alias, number in sorted(maintenance.aliases(registry, model).items()):
        names.setdefault(number, []).append(alias)
    moves = Promotions(settings.lake_uri, model).all()
    past = champion_at(moves, before)
    recent = [move for move in moves if move.at >= before] + ([past] if past else []) + list(moves[-1:])
    seen = {number for move in recent for number in (move.before, move.after)}
    newest = {version.number for version in versions[max(len(versions) - policy.keep, 0) :]}
    reasons: dict[int, str] = {}
    for version in versions:
        number = version.number
        if number in names:
            reasons[number] = f"it is {' and '.join(names[number])}"
        elif number in seen:
            reasons[number] = f"it was in production, or replaced, within {policy.days} days"
        elif version.tags.cleaned is not None:
            # A cleaning was killed in the middle of it.
            continue
        elif version.status == PENDING:
            reasons[number] = "its gates have not answered yet"
        elif number in newest:
            reasons[number] = f"it is one of the newest {policy.keep}"
        elif version.made is None or version.made >= before:
            reasons[number] = f"it is not {policy.days} days old"
    return reasons


def _readable(settings: Settings, spec: ModelSpec, kept: Sequence[Version]) -> dict[int, list[str]]:
    """The Delta versions that the kept versions were trained on and that are still there; who needs each."""
    table, found = observations_of(settings, spec.name), dict[int, list[str]]()
    for version in kept if table.exists() else ():
        number = version.tags.data_version
        if number is None:
            continue
        if number not in found:
            try:
                table.open(number)
            except DataError:
                continue
        found.setdefault(number, []).append(f"version {version.number}")
    return found


def _versions(
    registry: Registry, versions: Sequence[Version], reasons: dict[int, str], policy: Policy
) -> Iterator[Item]:
    for version in versions:
        if version.number in reasons:
            continue
        places = maintenance.places(registry, version)
        size = sum(maintenance.size(registry, place) for place in places)
        why = f"older than {policy.days} days and none of the newest {policy.keep}"
        if version.tags.cleaned is not None:
            why = "an earlier cleaning was not finished"
        yield Item("version", f"version {version.number}", size, why, places, version.number)


def _leftovers(registry: Registry, model: str, before: datetime) -> Iterator[Item]:
    for left in maintenance.leftovers(registry, model):
        size = maintenance.size(registry, left.place) if left.made < before else 0
        if size:
            yield Item(
                "leftover", left.place, size, "stored by a run that was killed, and never registered", (left.place,)
            )


def _reports(folder: Path, kept: Sequence[Version], policy: Policy, before: datetime) -> Iterator[Item]:
    """Report folders by age and count; those of the decisions that made a kept version stay."""
    made_of = {version.tags.decision_id for version in kept}
    found = [
        place for place in folder.glob("*") if any((place / name).is_file() for name in ("report.html", "report.json"))
    ]
    ages = sorted(((place.stat().st_mtime, place) for place in found), reverse=True)
    for moment, place in ages[policy.keep :]:
        if moment < before.timestamp() and place.name not in made_of:
            why = f"older than {policy.days} days and none of the newest {policy.keep}"
            yield Item("report", place.name, _size(place), why, (str(place),))


def _scratch(folder: Path) -> Iterator[Item]:
    """Pieces of an input that a killed scoring run left; none is at work, for its lock is held."""
    if folder.is_dir() and (size := _size(folder)):
        yield Item("scratch", str(folder), size, "left by a scoring run that was killed", (str(folder),))


def _quarantine(settings: Settings, model: str, policy: Policy, now: datetime) -> Iterator[Item]:
    """Refused batches, only if they were asked for; the records of why they were refused stay."""
    table = quarantine_table(settings.lake_uri, model)
    if policy.quarantine_days is None or not table.exists():
        return
    before = now - timedelta(days=policy.quarantine_days)
    records = table.read(["row", "payload", "at", "origin"])
    records = records[(records["row"] < 0) & (records["payload"] != "") & (records["at"] < before)]
    for place, origin in dict(zip(records["payload"], records["origin"], strict=True)).items():
        if Path(place).is_file():
            why = f"refused more than {policy.quarantine_days} days ago; the record of it stays"
            yield Item("quarantine", origin, Path(place).stat().st_size, why, (place,))


def _tables(
    settings: Settings, model: str, observations: Table, keep: tuple[int, ...], policy: Policy
) -> Iterator[Item]:
    """Files of tables that no version in use needs any more; what a killed writer left is among them."""
    for name in (OBSERVATIONS, *TABLES):
        table = observations if name == OBSERVATIONS else table_of(settings, model, name)
        found = (
            delta_files.unneeded(table, hours(policy), keep if name == OBSERVATIONS else ()) if table.exists() else None
        )
        if found is not None and found.files:
            yield Item("table", name, found.bytes, f"{found.files} files that no kept version needs")


def hours(policy: Policy) -> int:
    """How old a table's file has to be to go."""
    return max(policy.days * 24, GRACE_HOURS)


def observations_of(settings: Settings, model: str) -> Table:
    """The observations' table, to be looked after."""
    return table_of(settings, model, OBSERVATIONS)


def table_of(settings: Settings, model: str, name: str) -> Table:
    """One of a model's tables, to be looked after."""
    import pyarrow as pa

    # Nothing is written to it, so that its columns do not matter.
    return Table(naming.table(settings.lake_uri, model, cast("naming.Table", name)), pa.schema([]))


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
