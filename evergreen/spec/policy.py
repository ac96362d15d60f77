"""What a retraining policy is, what it is asked with, and how it is asked.

A policy is asked for a trigger: a stored drift or performance report, rows that landed, or the schedule. It says
whether the state of things calls for a retraining (`should_retrain`), and which triggers concern it (`triggers`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from evergreen.errors import EvergreenError, ModelFileError
from evergreen.spec.place import failed_in

if TYPE_CHECKING:
    from evergreen.decision import Decision

Trigger = Literal["drift", "performance", "data", "schedule"]
TRIGGERS: tuple[Trigger, ...] = ("drift", "performance", "data", "schedule")


@dataclass(frozen=True, slots=True)
class RetrainAnswer:
    """Whether to retrain, and why (one sentence)."""

    retrain: bool
    reason: str


@dataclass(frozen=True, slots=True)
class PolicyContext:
    """What a policy is asked with; nothing of it lies in the future.

    Attributes:
        now: the logical time (aware, UTC).
        trigger: for what it is asked.
        rows: rows that have landed by now.
        champion: version in production; a policy is not asked before there is one.
        reports: the drift and performance decisions about this champion, oldest first; the newest may be the very one
            that the policy is asked for.
        retrains: every retraining that trained a candidate, oldest first; `detail.snapshot.rows` is how many rows it
            saw, and `detail.reason` what it was asked for.
    """

    now: datetime
    trigger: Trigger
    rows: int
    champion: int
    reports: tuple[Decision, ...] = ()
    retrains: tuple[Decision, ...] = ()

    def last(self, kind: Literal["drift", "performance"]) -> Decision | None:
        """The newest report of a kind."""
        return next((report for report in reversed(self.reports) if report.kind == kind), None)


@runtime_checkable
class RetrainPolicy(Protocol):
    """Anything that can be asked."""

    def should_retrain(self, context: PolicyContext) -> RetrainAnswer:
        """Whether the state of things calls for a retraining."""
        ...


PolicyFunction = Callable[[PolicyContext], bool | RetrainAnswer]


def triggers_of(policy: RetrainPolicy | PolicyFunction) -> tuple[Trigger, ...]:
    """The triggers that concern a policy: every one, where it does not say."""
    triggers: tuple[Trigger, ...] = getattr(policy, "triggers", TRIGGERS)
    return triggers


def name_of(policy: RetrainPolicy | PolicyFunction) -> str:
    """A policy in a few words: its own, or the name of a function or class."""
    has_words = type(policy).__str__ is not object.__str__ and not callable(policy)
    return str(policy) if has_words else str(getattr(policy, "__name__", type(policy).__name__)).replace("_", " ")


def ask(policy: RetrainPolicy | PolicyFunction, context: PolicyContext, model: str) -> RetrainAnswer:
    """What a policy answers for a trigger; no, where the trigger does not concern it.

    Raises:
        ModelFileError: a policy of the user's own failed, or answered something else than yes or no.
    """
    if context.trigger not in triggers_of(policy):
        return RetrainAnswer(False, f"the policy ({name_of(policy)}) does not retrain for {context.trigger}")
    try:
        return evaluate(policy, context)
    except EvergreenError:
        raise
    except Exception as error:
        asked = policy.should_retrain if isinstance(policy, RetrainPolicy) else policy
        raise ModelFileError(
            f"{failed_in(asked, error)}, asked as the policy of {model} for {context.now:%Y-%m-%d %H:%M} UTC.",
            "Correct it: it takes an evergreen.spec.PolicyContext and answers True or False.",
        ) from None


def evaluate(policy: RetrainPolicy | PolicyFunction, context: PolicyContext) -> RetrainAnswer:
    """What a policy thinks of the state of things, whatever the trigger.

    Raises:
        TypeError: a policy of the user's own answers something else than yes or no.
    """
    answer: object = policy.should_retrain(context) if isinstance(policy, RetrainPolicy) else policy(context)
    if isinstance(answer, RetrainAnswer):
        return answer
    if not isinstance(answer, bool):
        raise TypeError(f"it answered {type(answer).__name__} instead of True or False")
    return RetrainAnswer(answer, f"{name_of(policy)} says {'yes' if answer else 'no'}")
