"""Which files of a model are no longer needed on the disk, and why the others are kept.

A version's files go when it is older than the retention, is none of the newest, and nothing points to it: no alias, and
no move of the promotions log within that time. With them go the rows that only it was trained on.
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
from evergreen.markdown import many
from evergreen.registry import maintenance
from evergreen.registry.client import Registry
from evergreen.registry.version import PENDING, Version
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.storage.delta_table import Table
from evergreen.storage.file_tree import TreeFile
from evergreen.storage.kept_files import KeptFiles, kept_name

Kind = Literal["version", "leftover", "report", "scratch", "quarantine", "table"]

OBSERVATIONS = "observations"
TABLES = ("labels_waiting", "requests", "predictions", "quarantine", "decisions", "drift", "promotions", "runs")
"""Tables of which only the newest version is ever read."""

SMALL_FILES = 100
"""From this number on, small files of a table are merged: every checkpoint of the table's log lists each."""

GRACE_HOURS = 24
"""Younger files of a table stay whatever the retention, because a run may be writing or reading them."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How much is kept.

    Attributes:
        days: nothing younger is deleted.
        keep: so many of the newest versions and reports stay whatever their age.
        quarantine_days: rejected batches that are older are deleted as well; None keeps all of them.
    """

    days: int = 30
    keep: int = 10
    quarantine_days: int | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """Something that is deleted.

    Attributes:
        kind: what it is.
        name: which one.
        bytes: how much space it frees.
        why: the reason, in words.
        places: folders or URIs that are deleted, or names of reports and rejected batches (see `KeptFiles`); empty for
            a table's files.
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
    """Something that stays although somebody may expect it to go, and why."""

    kind: Kind
    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a cleaning deletes and keeps.

    Attributes:
        model: name of the model.
        retention: how much is kept.
        now: when the plan was made (aware).
        going: what is deleted.
        kept: what stays, and why.
        versions: Delta versions of the observations that stay readable, beside the newest.
        small: how many small files of its tables are merged; earlier versions of the observations keep their own.
    """

    model: str
    retention: Retention
    now: datetime
    going: tuple[Item, ...]
    kept: tuple[Kept, ...]
    versions: tuple[int, ...]
    small: int

    @property
    def bytes(self) -> int:
        """How much space the plan frees."""
        return sum(item.bytes for item in self.going)

    def to_json(self) -> dict[str, Any]:
        """As the command line prints it."""
        fields = asdict(self) | {"now": self.now.isoformat(), "bytes": self.bytes}
        fields["policy"] = fields.pop("retention")
        del fields["versions"]
        return fields


def plan(settings: Settings, registry: Registry, spec: ModelSpec, retention: Retention, *, now: datetime) -> Plan:
    """Plan what to delete at `now` (aware), and say why the rest stays; nothing is changed."""
    before = now - timedelta(days=retention.days)
    versions = [version for version in registry.versions(spec.name) if not maintenance.gone(registry, version)]
    reasons = _keep_reasons(settings, registry, spec.name, versions, retention, before)
    kept_versions = [version for version in versions if version.number in reasons]
    needed_by = _readable_versions(settings, spec, kept_versions)
    observations, files = observations_of(settings, spec.name), KeptFiles(settings.report_place)
    going = [
        *_expired_versions(registry, versions, reasons, retention),
        *_leftovers(registry, spec.name, before),
        *_expired_reports(files, spec.name, kept_versions, retention, before),
        *_scratch(settings.scratch(spec.name)),
        *_expired_batches(settings, files, spec.name, retention, now),
        *_unneeded_files(settings, spec.name, observations, tuple(needed_by), retention),
    ]
    small = sum(small_files(settings, spec.name).values())
    kept = [Kept("version", f"version {version.number}", reasons[version.number]) for version in kept_versions]
    kept += [
        Kept("table", f"observations at version {number}", f"the data of {', '.join(models)}")
        for number, models in needed_by.items()
    ]
    return Plan(spec.name, retention, now, tuple(going), tuple(kept), tuple(needed_by), small)


def _keep_reasons(
    settings: Settings,
    registry: Registry,
    model: str,
    versions: Sequence[Version],
    retention: Retention,
    before: datetime,
) -> dict[int, str]:
    """Why each version is kept, by its number; a version that may go has no entry."""
    aliases: dict[int, list[str]] = {}
    for alias, number in sorted(maintenance.aliases(registry, model).items()):
        aliases.setdefault(number, []).append(alias)
    moves = Promotions(settings.lake_uri, model).all()
    former = champion_at(moves, before)
    recent = [move for move in moves if move.at >= before] + ([former] if former else []) + list(moves[-1:])
    in_recent_moves = {number for move in recent for number in (move.before, move.after)}
    newest = {version.number for version in versions[max(len(versions) - retention.keep, 0) :]}
    reasons: dict[int, str] = {}
    for version in versions:
        number = version.number
        if number in aliases:
            reasons[number] = f"it is {' and '.join(aliases[number])}"
        elif number in in_recent_moves:
            reasons[number] = f"it was in production, or replaced, within {many(retention.days, 'day')}"
        elif version.tags.cleaned is not None:
            # A cleaning was killed while it deleted this version.
            continue
        elif version.status == PENDING:
            reasons[number] = "its gates have not run yet"
        elif number in newest:
            reasons[number] = f"it is one of the newest {retention.keep}"
        elif version.made is None or version.made >= before:
            reasons[number] = f"it is not {many(retention.days, 'day')} old"
    return reasons


def _readable_versions(settings: Settings, spec: ModelSpec, kept: Sequence[Version]) -> dict[int, list[str]]:
    """The Delta versions that the kept versions were trained on and that can be read, and which of them need each."""
    table, needed_by = observations_of(settings, spec.name), dict[int, list[str]]()
    for version in kept if table.exists() else ():
        number = version.tags.data_version
        if number is None:
            continue
        if number not in needed_by:
            try:
                table.open(number)
            except DataError:
                continue
        needed_by.setdefault(number, []).append(f"version {version.number}")
    return needed_by


def _expired_versions(
    registry: Registry, versions: Sequence[Version], reasons: dict[int, str], retention: Retention
) -> Iterator[Item]:
    for version in versions:
        if version.number in reasons:
            continue
        places = maintenance.places(registry, version)
        size = sum(maintenance.size(registry, place) for place in places)
        why = f"older than {many(retention.days, 'day')} and none of the newest {retention.keep}"
        if version.tags.cleaned is not None:
            why = "an earlier cleaning was not finished"
        yield Item("version", f"version {version.number}", size, why, places, version.number)


def _leftovers(registry: Registry, model: str, before: datetime) -> Iterator[Item]:
    for leftover in maintenance.leftovers(registry, model):
        size = maintenance.size(registry, leftover.place) if leftover.made < before else 0
        if size:
            why = "stored by a run that was killed, and never registered"
            yield Item("leftover", leftover.place, size, why, (leftover.place,))


def _expired_reports(
    files: KeptFiles, model: str, kept: Sequence[Version], retention: Retention, before: datetime
) -> Iterator[Item]:
    """Report folders by age and number; those of the decisions that made a kept version stay."""
    kept_decisions = {version.tags.decision_id for version in kept}
    reports = dict[str, list[TreeFile]]()
    for file in files.listing(naming.report_folder(model, "")):
        folder, _, name = file.name.rpartition("/")
        if name in ("report.html", "report.json"):
            reports.setdefault(folder, []).append(file)
    by_age = sorted(((max(file.modified for file in found), folder) for folder, found in reports.items()), reverse=True)
    for modified, folder in by_age[retention.keep :]:
        decision = folder.rpartition("/")[2]
        if modified < before and decision not in kept_decisions:
            why = f"older than {many(retention.days, 'day')} and none of the newest {retention.keep}"
            found = reports[folder]
            yield Item("report", decision, sum(file.bytes for file in found), why, tuple(file.name for file in found))


def _scratch(folder: Path) -> Iterator[Item]:
    """Chunks of an input that a killed scoring left; no scoring is running, because its lock is held."""
    if folder.is_dir() and (size := _size(folder)):
        yield Item("scratch", str(folder), size, "left by a scoring run that was killed", (str(folder),))


def _expired_batches(
    settings: Settings, files: KeptFiles, model: str, retention: Retention, now: datetime
) -> Iterator[Item]:
    """Rejected batches, if the retention says so; the records of why they were rejected stay.

    An input that was refused for scoring is in quarantine, too, but its file is its owner's.
    """
    table = quarantine_table(settings.lake_uri, model)
    if retention.quarantine_days is None or not table.exists():
        return
    before = now - timedelta(days=retention.quarantine_days)
    records = table.read(["row", "payload", "at", "origin"])
    records = records[(records["row"] < 0) & (records["payload"] != "") & (records["at"] < before)]
    origins = {kept_name(place): origin for place, origin in zip(records["payload"], records["origin"], strict=True)}
    for file in files.listing(naming.quarantine_folder(model)) if origins else ():
        if file.name in origins:
            why = f"rejected more than {many(retention.quarantine_days, 'day')} ago; its record stays"
            yield Item("quarantine", origins[file.name], file.bytes, why, (file.name,))


def _unneeded_files(
    settings: Settings, model: str, observations: Table, keep: tuple[int, ...], retention: Retention
) -> Iterator[Item]:
    """Files of tables that no version in use needs any more, with those that a killed writer left."""
    hours = retention_hours(retention)
    for name in (OBSERVATIONS, *TABLES):
        table = observations if name == OBSERVATIONS else table_of(settings, model, name)
        if not table.exists():
            continue
        unneeded = delta_files.unneeded(table, hours, keep if name == OBSERVATIONS else ())
        if unneeded.files:
            yield Item("table", name, unneeded.bytes, f"{many(unneeded.files, 'file')} that no kept version needs")


def small_files(settings: Settings, model: str) -> dict[str, int]:
    """The tables of which small files are merged, and how many each has."""
    tables = {name: table_of(settings, model, name) for name in (OBSERVATIONS, *TABLES)}
    counts = {name: delta_files.small_files(table) for name, table in tables.items() if table.exists()}
    return {name: count for name, count in counts.items() if count >= SMALL_FILES}


def retention_hours(retention: Retention) -> int:
    """How old a table's file has to be, in hours, to be deleted."""
    return max(retention.days * 24, GRACE_HOURS)


def observations_of(settings: Settings, model: str) -> Table:
    """The observations' table, for maintenance."""
    return table_of(settings, model, OBSERVATIONS)


def table_of(settings: Settings, model: str, name: str) -> Table:
    """One of a model's tables, for maintenance."""
    import pyarrow as pa

    # No row is written to it, so that its columns do not matter.
    return Table(naming.table(settings.lake_uri, model, cast("naming.Table", name)), pa.schema([]))


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
