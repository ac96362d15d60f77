"""What a card tells, as one frozen value, and what of it may be told: aggregates, and words that stay words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from evergreen.decision import Decision
from evergreen.evaluation.judgement import Judgement
from evergreen.ledger.promotions import Move
from evergreen.markdown import escape
from evergreen.registry.descriptions import Trained
from evergreen.registry.version import Version
from evergreen.spec.model import ModelSpec
from evergreen.verdicts import Check

FEWEST = 10
"""A value of a column is named only where at least so many rows share it."""
LONGEST = 500
_MARKUP = re.compile(r"[\\`*\[\]~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that a card tells; nothing is looked up any more.

    Attributes:
        spec: the model file as it is today.
        purpose: what the model is for, in the words of the model file; may be empty.
        spec_hash: today's, to be compared with the version's.
        aliases: those that name the version.
        stated: tags of the model file, or set by hand.
        judgement: what the gates found; None where they were not asked.
        importance: how much the metric worsens without each feature; None where it is not known.
        profile: of the reference sample, as `evergreen.training.candidate` stores it; empty where it is gone.
        moves: every move of the champion alias that was done, oldest first.
        asked: the retraining that made the version, where it is in the ledger.
        word: what a person, or its canary, said of it, where one had the word.
    """

    spec: ModelSpec
    purpose: str
    spec_hash: str
    version: Version
    aliases: tuple[str, ...] = ()
    stated: Mapping[str, str] = field(default_factory=dict)
    trained: Trained = field(default_factory=lambda: Trained({}, {}))
    judgement: Judgement | None = None
    importance: Mapping[str, float] | None = None
    profile: Mapping[str, Any] = field(default_factory=dict)
    moves: tuple[Move, ...] = ()
    asked: Decision | None = None
    word: Decision | None = None


def said(text: str, most: int = LONGEST) -> str:
    """Somebody's words as words: no markup, no tag, no line of its own, and not more than `most` characters."""
    return escape(plain(text, most))


def plain(text: str, most: int = LONGEST) -> str:
    """Without what Markdown would take for markup; for the cells of a table, which do the rest."""
    readable = "".join(letter if letter.isprintable() else " " for letter in text).strip()
    short = readable if len(readable) <= most else readable[:most] + "\N{HORIZONTAL ELLIPSIS}"
    return _MARKUP.sub(lambda found: "\\" + found.group(0), short)


def sentence(text: str) -> str:
    """Somebody's words with one full stop at their end."""
    return said(text).rstrip(".") + "."


def names_slices(spec: ModelSpec) -> bool:
    """Whether slices may be named: not where the model file lets a few rows be one."""
    return spec.gates.slice_min_rows >= FEWEST


def without_slices(spec: ModelSpec, text: str) -> str:
    """A reason of ours, unless it may name a slice of a few rows."""
    return text if names_slices(spec) or "slice " not in text else "It names a slice that only a few rows share."


def spans(facts: Facts) -> Iterator[tuple[Move, Move | None]]:
    """Each time that the version went into production, and the move that ended it; None where it is there still."""
    for place, move in enumerate(facts.moves):
        if move.after == facts.version.number:
            yield move, facts.moves[place + 1] if place + 1 < len(facts.moves) else None


def told_checks(facts: Facts) -> tuple[Check, ...]:
    """The checks that may be named one by one."""
    checks = facts.judgement.checks if facts.judgement else ()
    return tuple(check for check in checks if names_slices(facts.spec) or not check.name.startswith("slice "))


def learned_from(facts: Facts) -> tuple[str, str]:
    """The first and the last time of the rows that it was trained and judged on; empty without a time column."""
    tags = facts.version.tags
    start, end = tags.data_start, tags.data_end
    last = facts.spec.training.last
    if start and end and isinstance(last, timedelta):
        start = max(start, (datetime.fromisoformat(end) - last).isoformat())
    return start, end


def common(profile: Mapping[str, Any], column: str) -> dict[str, float]:
    """Share of the reference rows by category, of those that at least ten rows have; empty for a number."""
    summary = profile.get("columns", {}).get(column, {})
    rows = profile.get("rows", 0) * (1 - summary.get("missing", 0))
    shares: Mapping[str, float] = summary.get("shares", {})
    return {name: share for name, share in shares.items() if round(share * rows) >= FEWEST}
