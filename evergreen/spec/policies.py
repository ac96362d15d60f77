"""Retraining policies: plain objects that the live flows and the backtest ask in the same way.

A policy of your own is a function of a `PolicyContext` that answers yes or no, or a class with `should_retrain`, in the
model file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, Protocol

from evergreen.details.decision import RetrainDetail
from evergreen.details.watch import DriftDetail
from evergreen.spec.policy import (
    TRIGGERS,
    PolicyContext,
    PolicyFunction,
    RetrainAnswer,
    RetrainPolicy,
    Trigger,
    evaluate,
    name_of,
    triggers_of,
)

if TYPE_CHECKING:
    from evergreen.decision import Decision

_SLACK = timedelta(hours=1)
"""A cron does not fire to the second: so much earlier, or a tenth of the period, still counts as the period."""


@dataclass(frozen=True, slots=True)
class Never:
    """The first champion stays."""

    triggers: tuple[Trigger, ...] = ()

    def should_retrain(self, context: PolicyContext) -> RetrainAnswer:
        """No."""
        return RetrainAnswer(False, "the policy never retrains")

    def __str__(self) -> str:
        return "never"


@dataclass(frozen=True, slots=True)
class Scheduled:
    """Whenever the schedule asks; how often that is stands in `prefect.yaml`."""

    triggers: tuple[Trigger, ...] = ("schedule",)

    def should_retrain(self, context: PolicyContext) -> RetrainAnswer:
        """Yes, where it is the schedule that asks."""
        scheduled = context.trigger == "schedule"
        return RetrainAnswer(scheduled, "the schedule asked" if scheduled else "it is not the schedule that asks")

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
    triggers: tuple[Trigger, ...] = ("schedule",)

    def __post_init__(self) -> None:
        """Refuse what can never be due, or always is."""
        if self.days is None and self.rows is None:
            raise ValueError("policy: Every: say days=... or rows=...")
        if (self.days is not None and self.days <= 0) or (self.rows is not None and self.rows <= 0):
            raise ValueError("policy: Every: days and rows have to be larger than zero")

    def should_retrain(self, context: PolicyContext) -> RetrainAnswer:
        """Whether the last retraining is long enough ago."""
        if not context.retrains:
            return RetrainAnswer(True, "there was no retraining yet")
        last = context.retrains[-1]
        age, rows = context.now - last.at, context.rows - last.detail_as(RetrainDetail).snapshot.rows
        elapsed = f"{age / timedelta(days=1):.4g} days and {rows} rows since the last retraining"
        period = timedelta(days=self.days) if self.days is not None else None
        due = period is not None and age >= period - min(_SLACK, period / 10)
        return RetrainAnswer(due or (self.rows is not None and rows >= self.rows), f"{elapsed}; due {self}")

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
    triggers: tuple[Trigger, ...] = ("drift",)

    def should_retrain(self, context: PolicyContext) -> RetrainAnswer:
        """Whether enough of the last reports failed."""
        return _failing(self, "drift", context, self.share)

    def __str__(self) -> str:
        return f"on drift{_how(self.confirm, self.of, self.cooldown, self.share)}"


@dataclass(frozen=True, slots=True)
class OnPerformance:
    """When a performance report failed; `confirm`, `of` and `cooldown` are as in `OnDrift`."""

    confirm: int = 1
    of: int = 1
    cooldown: timedelta | None = None
    triggers: tuple[Trigger, ...] = ("performance",)

    def should_retrain(self, context: PolicyContext) -> RetrainAnswer:
        """Whether enough of the last reports failed."""
        return _failing(self, "performance", context, None)

    def __str__(self) -> str:
        return f"on performance{_how(self.confirm, self.of, self.cooldown, None)}"


@dataclass(frozen=True, slots=True)
class OnData:
    """When at least so many rows landed since the last retraining."""

    rows: int = 1
    triggers: tuple[Trigger, ...] = ("data",)

    def should_retrain(self, context: PolicyContext) -> RetrainAnswer:
        """Whether enough rows are new."""
        before = context.retrains[-1].detail_as(RetrainDetail).snapshot.rows if context.retrains else 0
        return RetrainAnswer(
            context.rows - before >= self.rows, f"{context.rows - before} new rows; {self.rows} are asked for"
        )

    def __str__(self) -> str:
        return f"on {self.rows} new rows" if self.rows > 1 else "on new data"


@dataclass(frozen=True, slots=True)
class AtLeast:
    """When at least `least` of several policies agree, one of which the trigger concerns.

    Made by `any_of`, `all_of` and `at_least`.
    """

    least: int
    policies: tuple[RetrainPolicy | PolicyFunction, ...]

    def __post_init__(self) -> None:
        """Refuse what can never be."""
        if not 1 <= self.least <= len(self.policies):
            raise ValueError(f"policy: {self.least} of {len(self.policies)} policies can never agree")

    @property
    def triggers(self) -> tuple[Trigger, ...]:
        """Those of all of them."""
        return tuple(trigger for trigger in TRIGGERS if any(trigger in triggers_of(policy) for policy in self.policies))

    def should_retrain(self, context: PolicyContext) -> RetrainAnswer:
        """Whether enough of them agree now."""
        answers = [evaluate(policy, context) for policy in self.policies]
        concerned = [context.trigger in triggers_of(policy) for policy in self.policies]
        agreed = sum(answer.retrain for answer in answers)
        moved = any(answer.retrain and mine for answer, mine in zip(answers, concerned, strict=True))
        yes = moved and agreed >= self.least
        agreeing = yes or self.least > 1
        reasons = [
            answer.reason
            for answer, mine in zip(answers, concerned, strict=True)
            if (answer.retrain and agreeing) or (mine and not yes)
        ]
        counted = "" if self.least == 1 else f"{agreed} of {len(answers)} agree, {self.least} are needed: "
        return RetrainAnswer(yes, counted + "; ".join(reasons))

    def __str__(self) -> str:
        words = {1: " or ", len(self.policies): " and "}.get(self.least)
        names = [name_of(policy) for policy in self.policies]
        return words.join(names) if words else f"{self.least} of: {', '.join(names)}"


@dataclass(frozen=True, slots=True)
class Budget:
    """As another policy says, but at most so many retrainings, whatever came of them, within so many days."""

    policy: RetrainPolicy | PolicyFunction
    at_most: int
    days: float

    @property
    def triggers(self) -> tuple[Trigger, ...]:
        """Those of the other policy."""
        return triggers_of(self.policy)

    def should_retrain(self, context: PolicyContext) -> RetrainAnswer:
        """Whether it agrees and there is something left."""
        answer = evaluate(self.policy, context)
        spent = sum(retrain.at > context.now - timedelta(days=self.days) for retrain in context.retrains)
        if not answer.retrain or spent < self.at_most:
            return answer
        return RetrainAnswer(False, f"{spent} retrainings within {self.days:g} days are all that the budget has")

    def __str__(self) -> str:
        return f"{name_of(self.policy)}, at most {self.at_most} in {self.days:g} days"


def any_of(*policies: RetrainPolicy | PolicyFunction) -> AtLeast:
    """When one of them says so."""
    return AtLeast(1, policies)


def all_of(*policies: RetrainPolicy | PolicyFunction) -> AtLeast:
    """When all of them agree."""
    return AtLeast(len(policies), policies)


def at_least(least: int, *policies: RetrainPolicy | PolicyFunction) -> AtLeast:
    """When so many of them agree."""
    return AtLeast(least, policies)


def default_policy(triggers: Sequence[Trigger]) -> AtLeast:
    """What a model file without a policy does: retrain for the schedule, and for the triggers that it names."""
    policies: dict[Trigger, RetrainPolicy] = {"drift": OnDrift(), "performance": OnPerformance(), "data": OnData()}
    return any_of(*(policies[trigger] for trigger in TRIGGERS if trigger in triggers), Scheduled())


class _Counting(Protocol):
    @property
    def confirm(self) -> int: ...
    @property
    def of(self) -> int: ...
    @property
    def cooldown(self) -> timedelta | None: ...


def _failing(
    policy: _Counting, kind: Literal["drift", "performance"], context: PolicyContext, share: float | None
) -> RetrainAnswer:
    last = context.last(kind)
    if last is None:
        return RetrainAnswer(False, f"there is no {kind} report yet")
    if not _failed(last, share):
        return RetrainAnswer(False, f"the last {kind} report says {last.outcome}: {last.reason}")
    if isinstance(last.detail, DriftDetail) and not last.detail.confirmed:
        return RetrainAnswer(False, f"the failed {kind} report is not confirmed")
    by_digest = {report.digest: _failed(report, share) for report in context.reports if report.kind == kind}
    # In the order of the newest report on each data.
    order = dict.fromkeys(report.digest for report in reversed(context.reports) if report.kind == kind)
    failed = sum(by_digest[digest] for digest in list(order)[: policy.of])
    if failed < policy.confirm:
        return RetrainAnswer(
            False, f"{failed} of the last {policy.of} {kind} reports failed, {policy.confirm} are needed"
        )
    ended = [
        retrain.at for retrain in context.retrains if re.match(rf"{kind}\b", retrain.detail_as(RetrainDetail).reason)
    ]
    if policy.cooldown is not None and ended and max(ended) + policy.cooldown > context.now:
        return RetrainAnswer(False, f"cooling down until {max(ended) + policy.cooldown:%Y-%m-%d %H:%M} UTC")
    return RetrainAnswer(True, f"{kind} failed: {last.reason}")


def _failed(report: Decision, share: float | None) -> bool:
    return report.outcome == "FAIL" and (share is None or report.detail_as(DriftDetail).share >= share)


def _how(confirm: int, of: int, cooldown: timedelta | None, share: float | None) -> str:
    parts = [] if share is None else [f"{share:.0%} of the columns"]
    parts += [] if of == 1 else [f"{confirm} of {of} reports"]
    parts += [] if cooldown is None else [f"{cooldown / timedelta(days=1):g} days apart"]
    return f" ({', '.join(parts)})" if parts else ""
