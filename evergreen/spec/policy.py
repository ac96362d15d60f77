"""An occasion to retrain, and how a policy is asked about it.

An occasion is a stored drift or performance report, rows that landed, or the schedule. A policy says what it thinks of
the state of things (`holds`), and which occasions concern it (`grounds`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from evergreen.errors import EvergreenError, ModelFileError

if TYPE_CHECKING:
    from evergreen.decision import Decision

Trigger = Literal["drift", "performance", "data", "schedule"]
TRIGGERS: tuple[Trigger, ...] = ("drift", "performance", "data", "schedule")


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether to retrain, and why (one sentence)."""

    yes: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Occasion:
    """What a policy is asked with; nothing of it lies in the future.

    Attributes:
        now: the logical time (aware, UTC).
        ground: what makes one ask.
        rows: rows that have landed by now.
        champion: version in production; a policy is not asked before there is one.
        reports: the drift and performance decisions about this champion, oldest first; the newest may be the very one
            that makes one ask.
        retrains: every retraining that trained a candidate, oldest first; `detail["snapshot"]["rows"]` is how many
            rows it saw.
    """

    now: datetime
    ground: Trigger
    rows: int
    champion: int
    reports: tuple[Decision, ...] = ()
    retrains: tuple[Decision, ...] = ()

    def last(self, kind: Literal["drift", "performance"]) -> Decision | None:
        """The newest report of a kind."""
        return next((one for one in reversed(self.reports) if one.kind == kind), None)


@runtime_checkable
class Policy(Protocol):
    """Anything that can be asked."""

    def holds(self, seen: Occasion) -> Answer:
        """Whether the state of things calls for a retraining."""
        ...


Own = Callable[[Occasion], bool | Answer]


def grounds_of(policy: Policy | Own) -> tuple[Trigger, ...]:
    """The occasions that concern a policy: every one, where it does not say."""
    found: tuple[Trigger, ...] = getattr(policy, "grounds", TRIGGERS)
    return found


def name_of(policy: Policy | Own) -> str:
    """A policy in a few words: its own, or the name of a function or class."""
    own = type(policy).__str__ is not object.__str__ and not callable(policy)
    return str(policy) if own else str(getattr(policy, "__name__", type(policy).__name__)).replace("_", " ")


def asked(policy: Policy | Own, seen: Occasion, model: str) -> Answer:
    """What a policy says to an occasion; no, where it does not concern it.

    Raises:
        ModelFileError: a policy of one's own failed, or answered something else than yes or no.
    """
    if seen.ground not in grounds_of(policy):
        return Answer(False, f"the policy ({name_of(policy)}) does not retrain for {seen.ground}")
    try:
        return said(policy, seen)
    except EvergreenError:
        raise
    except Exception as error:
        told = (str(error).splitlines() or [""])[0][:200]
        raise ModelFileError(
            f"models/{model}.py: policy: {name_of(policy)} failed at {seen.now:%Y-%m-%d %H:%M} UTC with "
            f"{type(error).__name__}: {told}.",
            "Mend it; it is given an evergreen.spec.Occasion and answers True or False.",
        ) from None


def said(policy: Policy | Own, seen: Occasion) -> Answer:
    """What a policy thinks of the state of things, whatever the occasion.

    Raises:
        TypeError: a policy of one's own answers something else than yes or no.
    """
    found: object = policy.holds(seen) if isinstance(policy, Policy) else policy(seen)
    if isinstance(found, Answer):
        return found
    if not isinstance(found, bool):
        raise TypeError(f"it answered {type(found).__name__} instead of True or False")
    return Answer(found, f"{name_of(policy)} says {'yes' if found else 'no'}")
