"""One file about one version, to be kept, sent and printed: its card, what it leans on, its data, its whole history.

The page needs no network and holds no row of the data, only what it says at its end. Text is escaped twice over: by
Jinja2 where it is put into the page, and by the card for Markdown, whose raw HTML and pictures are not rendered.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from evergreen import naming
from evergreen.errors import EvergreenError
from evergreen.ledger.timeline import read_timeline
from evergreen.ledger.timeline_entries import Entry
from evergreen.pages.environment import fill
from evergreen.registry.client import Registry
from evergreen.registry.version import DESCRIBED, Version
from evergreen.reports.card import card
from evergreen.reports.card_facts import FEWEST, Facts, common, names_slices, without_slices
from evergreen.reports.card_store import gather, kept
from evergreen.reports.explanation import Explanation, explain
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.storage.atomic_write import write_text

ENTRIES = 60
"""Entries of the ledger that are shown, at most: the newest."""
FEWEST_NUMBERS = 30
"""With fewer values the quantiles of a column would be as good as its rows."""
_CATEGORIES = 12
_SHOWN_APART = ("judgement", "checks", "packages", DESCRIBED)


@dataclass(frozen=True, slots=True)
class Spread:
    """One column of the reference sample, as aggregates.

    Attributes:
        missing: share of the rows without a value.
        quantiles: at 5, 25, 50, 75 and 95 %, rounded to three figures; empty for categories, and for few values.
        shares: of the categories that at least ten rows have, the most frequent first.
        other: share of all the others; 0 for a number.
    """

    name: str
    missing: float
    quantiles: tuple[float, ...]
    shares: Mapping[str, float]
    other: float


@dataclass(frozen=True, slots=True)
class Dossier:
    """What the page shows.

    Attributes:
        environment: whose version it is.
        card: Markdown.
        rows: of the reference sample that the columns were measured on.
        entries: of the ledger, about this version or taken while it was in production, oldest first.
        left_out: how many older entries there are.
        notes: what could not be told, or is not as it usually is, one sentence each.
    """

    environment: str
    model: str
    version: Version
    aliases: tuple[str, ...]
    made: datetime
    card: str
    explanation: Explanation
    rows: int
    spreads: tuple[Spread, ...]
    entries: tuple[Entry, ...]
    left_out: int
    tags: Mapping[str, str]
    packages: Mapping[str, str]
    notes: tuple[str, ...]


def dossier(
    settings: Settings, registry: Registry, spec: ModelSpec, number: int, *, spec_hash: str, now: datetime
) -> Dossier:
    """Gather everything about a version; nothing is written.

    Raises:
        RegistryError: there is no such version, or MLflow cannot be read.
    """
    version = registry.get(spec.name, number)
    facts = gather(settings, registry, spec, version, spec_hash=spec_hash)
    text, explanation = kept(registry, version), explain(spec, registry, version)
    entries = [
        _public(spec, entry)
        for entry in read_timeline(settings, spec.name, spec=spec)
        if number in (entry.version, entry.champion)
    ]
    notes = []
    if text is None:
        notes.append("No card was stored with this version: this one was made anew from its tags.")
    if version.tags.cleaned is not None:
        notes.append("The files of this version were deleted to free the disk.")
    elif not facts.profile:
        notes.append("The files of this version are gone, or are not what was registered: no distributions are shown.")
    if explanation.note:
        notes.append(explanation.note)
    return Dossier(
        environment=settings.environment,
        model=spec.name,
        version=version,
        aliases=facts.aliases,
        made=now,
        card=text or card(facts),
        explanation=explanation,
        rows=facts.profile.get("rows", 0),
        spreads=_spreads(facts),
        entries=tuple(entries[-ENTRIES:]),
        left_out=max(len(entries) - ENTRIES, 0),
        tags={key: value for key, value in sorted(version.tags.raw.items()) if key not in _SHOWN_APART and value},
        packages=version.tags.packages,
        notes=tuple(notes),
    )


def page(found: Dossier) -> str:
    """The dossier as one HTML file."""
    return fill("dossier.html.j2", found=found, fewest=FEWEST)


def dossier_file(settings: Settings, model: str, number: int) -> Path:
    """Where a dossier goes by default."""
    return settings.dossiers / naming.dossier_file(model, number)


def require_writable(path: Path) -> None:
    """Refuse a place that cannot be written, before anything is gathered; nothing is made there yet.

    Raises:
        EvergreenError: the place cannot be written.
    """
    try:
        if path.is_dir():
            raise _unwritable(path, "it is a folder")
        above = next(folder for folder in path.parents if folder.exists())
    except OSError as error:
        raise _unwritable(path, error.strerror) from None
    if not above.is_dir():
        raise _unwritable(path, f"{above} is not a folder")
    if not os.access(above, os.W_OK):
        raise _unwritable(path, f"you may not write to {above}")


def write(path: Path, text: str) -> None:
    """Put the page there at once, in place of an older one.

    Raises:
        EvergreenError: the place cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise _unwritable(path, error.strerror) from None


def _unwritable(path: Path, why: str | None) -> EvergreenError:
    return EvergreenError(
        f"{path} cannot be written: {why or 'no reason given'}.", "Name another file with --out FILE."
    )


def _public(spec: ModelSpec, entry: Entry) -> Entry:
    """The entry without what it has as JSON, and without the names of slices of a few rows."""
    return replace(
        entry,
        reason=without_slices(spec, entry.reason),
        consequences=tuple(without_slices(spec, line) for line in entry.consequences),
        measurements=tuple(
            each for each in entry.measurements if names_slices(spec) or not each.name.startswith("slice ")
        ),
        links={},
        detail=None,
    )


def _spreads(facts: Facts) -> tuple[Spread, ...]:
    columns: Mapping[str, Any] = facts.profile.get("columns", {})
    return tuple(_spread(facts.profile, name, column) for name, column in columns.items())


def _spread(profile: Mapping[str, Any], name: str, column: Mapping[str, Any]) -> Spread:
    """Without the least and the greatest value, and without categories of a few rows: those are rows."""
    values = profile["rows"] * (1 - column["missing"])
    inner = column.get("quantiles", ())[1:-1] if values >= FEWEST_NUMBERS else ()
    shares = dict(list(common(profile, name).items())[:_CATEGORIES])
    other = 1 - sum(shares.values()) if "shares" in column and values else 0.0
    quantiles = tuple(float(f"{value:.3g}") for value in inner if value is not None)
    return Spread(name, column["missing"], quantiles, shares, max(other, 0.0))
