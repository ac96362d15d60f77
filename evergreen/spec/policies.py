"""When a model is retrained: plain objects that are asked at every occasion, by the live flows and by a replay alike.

A policy of one's own is a function of an `evergreen.spec.Occasion` that answers yes or no, or a class with `holds`,
in the model file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, Protocol

from evergreen.spec.policy import TRIGGERS, Answer, Occasion, Own, Policy, Trigger, grounds_of, name_of, said

if TYPE_CHECKING:
    from evergreen.decision import Decision

_SLACK = timedelta(hours=1)
"""A cron does not fire to the second: so much earlier, or a tenth of the period, still counts as the period."""


@dataclass(frozen=True, slots=True)
class Never:
    """The first champion stays."""

    grounds: tuple[Trigger, ...] = ()

    def holds(self, seen: Occasion) -> Answer:
        """No."""
        return Answer(False, "the policy never retrains")

    def __str__(self) -> str:
        return "never"


@dataclass(frozen=True, slots=True)
class Scheduled:
    """Whenever the schedule asks; how often that is stands in `prefect.yaml`."""

    grounds: tuple[Trigger, ...] = ("schedule",)

    def holds(self, seen: Occasion) -> Answer:
        """Yes, where it is the schedule that asks."""
        asked = seen.ground == "schedule"
        return Answer(asked, "the schedule asked" if asked else "it is not the schedule that asks")

    def __str__(self) -> str:
        return "whenever the schedule asks"


@dataclass(frozen=True, slots=True)
class Every:
    """So many days, or so many rows, after the last retraining, whatever came of it; the schedule's runs ask.

    Attributes:
        days: at least so many days; None does not count them.
        rows: at least so many new rows; None does not count them. With both, either is enough.
    """

    days: float | None = None
    rows: int | None = None
    grounds: tuple[Trigger, ...] = ("schedule",)

    def __post_init__(self) -> None:
        """Refuse what can never be due, or always is."""
        if self.days is None and self.rows is None:
            raise ValueError("policy: Every: say days=... or rows=...")
        if (self.days is not None and self.days <= 0) or (self.rows is not None and self.rows <= 0):
            raise ValueError("policy: Every: days and rows have to be larger than zero")

    def holds(self, seen: Occasion) -> Answer:
        """Whether the last retraining is long enough ago."""
        if not seen.retrains:
            return Answer(True, "there was no retraining yet")
        last = seen.retrains[-1]
        age, rows = seen.now - last.at, seen.rows - int(last.detail["snapshot"]["rows"])
        told = f"{age / timedelta(days=1):.4g} days and {rows} rows since the last retraining"
        period = timedelta(days=self.days) if self.days is not None else None
        due = period is not None and age >= period - min(_SLACK, period / 10)
        return Answer(due or (self.rows is not None and rows >= self.rows), f"{told}; due {self}")

    def __str__(self) -> str:
        parts = [] if self.days is None else [f"{self.days:g} days"]
        parts += [] if self.rows is None else [f"{self.rows} rows"]
        return f"every {' or '.join(parts)}"


@dataclass(frozen=True, slots=True)
class OnDrift:
    """When a drift report failed.

    Attributes:
        share: of the columns that has to have drifted; None for the drift policy's own, which a smaller one here does
            not undercut.
        confirm, of: `confirm` of the last `of` reports on this champion have to fail, beyond what the drift policy asks
            for. Reports on the same data count once.
        cooldown: so long after a retraining for drift there is no other one, beyond the model file's `cooldown`.
    """

    share: float | None = None
    confirm: int = 1
    of: int = 1
    cooldown: timedelta | None = None
    grounds: tuple[Trigger, ...] = ("drift",)

    def holds(self, seen: Occasion) -> Answer:
        """Whether enough of the last reports failed."""
        return _failing(self, "drift", seen, self.share)

    def __str__(self) -> str:
        return f"on drift{_how(self.confirm, self.of, self.cooldown, self.share)}"


@dataclass(frozen=True, slots=True)
class OnPerformance:
    """When a performance report failed; `confirm`, `of` and `cooldown` are as in `OnDrift`."""

    confirm: int = 1
    of: int = 1
    cooldown: timedelta | None = None
    grounds: tuple[Trigger, ...] = ("performance",)

    def holds(self, seen: Occasion) -> Answer:
        """Whether enough of the last reports failed."""
        return _failing(self, "performance", seen, None)

    def __str__(self) -> str:
        return f"on performance{_how(self.confirm, self.of, self.cooldown, None)}"


@dataclass(frozen=True, slots=True)
class OnData:
    """When at least so many rows landed since the last retraining."""

    rows: int = 1
    grounds: tuple[Trigger, ...] = ("data",)

    def holds(self, seen: Occasion) -> Answer:
        """Whether enough rows are new."""
        before = int(seen.retrains[-1].detail["snapshot"]["rows"]) if seen.retrains else 0
        return Answer(seen.rows - before >= self.rows, f"{seen.rows - before} new rows; {self.rows} are asked for")

    def __str__(self) -> str:
        return f"on {self.rows} new rows" if self.rows > 1 else "on new data"


@dataclass(frozen=True, slots=True)
class AtLeast:
    """When at least `least` of several policies agree, one of which the occasion concerns.

    Made by `any_of`, `all_of` and `at_least`.
    """

    least: int
    policies: tuple[Policy | Own, ...]

    def __post_init__(self) -> None:
        """Refuse what can never be."""
        if not 1 <= self.least <= len(self.policies):
            raise ValueError(f"policy: {self.least} of {len(self.policies)} policies can never agree")

    @property
    def grounds(self) -> tuple[Trigger, ...]:
        """Those of all of them."""
        return tuple(ground for ground in TRIGGERS if any(ground in grounds_of(one) for one in self.policies))

    def holds(self, seen: Occasion) -> Answer:
        """Whether enough of them agree now."""
        answers = [said(one, seen) for one in self.policies]
        concerned = [seen.ground in grounds_of(one) for one in self.policies]
        agreed = sum(answer.yes for answer in answers)
        moved = any(answer.yes and mine for answer, mine in zip(answers, concerned, strict=True))
        yes = moved and agreed >= self.least
        agreeing = yes or self.least > 1
        told = [
            answer.reason
            for answer, mine in zip(answers, concerned, strict=True)
            if (answer.yes and agreeing) or (mine and not yes)
        ]
        counted = "" if self.least == 1 else f"{agreed} of {len(answers)} agree, {self.least} are needed: "
        return Answer(yes, counted + "; ".join(told))

    def __str__(self) -> str:
        words = {1: " or ", len(self.policies): " and "}.get(self.least)
        named = [name_of(one) for one in self.policies]
        return words.join(named) if words else f"{self.least} of: {', '.join(named)}"


@dataclass(frozen=True, slots=True)
class Budget:
    """As another policy says, but at most so many retrainings, whatever came of them, within so many days."""

    policy: Policy | Own
    at_most: int
    days: float

    @property
    def grounds(self) -> tuple[Trigger, ...]:
        """Those of the other policy."""
        return grounds_of(self.policy)

    def holds(self, seen: Occasion) -> Answer:
        """Whether it agrees and there is something left."""
        answer = said(self.policy, seen)
        spent = sum(one.at > seen.now - timedelta(days=self.days) for one in seen.retrains)
        if not answer.yes or spent < self.at_most:
            return answer
        return Answer(False, f"{spent} retrainings within {self.days:g} days are all that the budget has")

    def __str__(self) -> str:
        return f"{name_of(self.policy)}, at most {self.at_most} in {self.days:g} days"


def any_of(*policies: Policy | Own) -> AtLeast:
    """When one of them says so."""
    return AtLeast(1, policies)


def all_of(*policies: Policy | Own) -> AtLeast:
    """When all of them agree."""
    return AtLeast(len(policies), policies)


def at_least(least: int, *policies: Policy | Own) -> AtLeast:
    """When so many of them agree."""
    return AtLeast(least, policies)


def as_before(retrain_on: Sequence[Trigger]) -> AtLeast:
    """What a model file without a policy does: the schedule, and the grounds of its `retrain_on`."""
    made: dict[Trigger, Policy] = {"drift": OnDrift(), "performance": OnPerformance(), "data": OnData()}
    return any_of(*(made[ground] for ground in TRIGGERS if ground in retrain_on), Scheduled())


class _Counting(Protocol):
    @property
    def confirm(self) -> int: ...
    @property
    def of(self) -> int: ...
    @property
    def cooldown(self) -> timedelta | None: ...


def _failing(policy: _Counting, kind: Literal["drift", "performance"], seen: Occasion, share: float | None) -> Answer:
    last = seen.last(kind)
    if last is None:
        return Answer(False, f"there is no {kind} report yet")
    if not _failed(last, share):
        return Answer(False, f"the last {kind} report says {last.outcome}: {last.reason}")
    if not last.detail.get("confirmed", True):
        return Answer(False, f"the failed {kind} report is not confirmed")
    by_digest = {one.digest: _failed(one, share) for one in seen.reports if one.kind == kind}
    # In the order of the newest report on each data.
    order = dict.fromkeys(one.digest for one in reversed(seen.reports) if one.kind == kind)
    failed = sum(by_digest[digest] for digest in list(order)[: policy.of])
    if failed < policy.confirm:
        return Answer(False, f"{failed} of the last {policy.of} {kind} reports failed, {policy.confirm} are needed")
    ended = [one.at for one in seen.retrains if re.match(rf"{kind}\b", str(one.detail["reason"]))]
    if policy.cooldown is not None and ended and max(ended) + policy.cooldown > seen.now:
        return Answer(False, f"cooling down until {max(ended) + policy.cooldown:%Y-%m-%d %H:%M} UTC")
    return Answer(True, f"{kind} failed: {last.reason}")


def _failed(report: Decision, share: float | None) -> bool:
    return report.outcome == "FAIL" and (share is None or report.detail.get("share", 0.0) >= share)


def _how(confirm: int, of: int, cooldown: timedelta | None, share: float | None) -> str:
    parts = [] if share is None else [f"{share:.0%} of the columns"]
    parts += [] if of == 1 else [f"{confirm} of {of} reports"]
    parts += [] if cooldown is None else [f"{cooldown / timedelta(days=1):g} days apart"]
    return f" ({', '.join(parts)})" if parts else ""
