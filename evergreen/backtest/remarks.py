"""What a table of figures does not say of a backtest: a sentence for each outcome that could be taken for another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from evergreen.backtest.clock import CALENDAR, Clock
from evergreen.backtest.simulation import SimulationPlan, SimulationResult, Trained
from evergreen.markdown import many
from evergreen.spec.fields import Rows, distance
from evergreen.spec.training import Training


@dataclass(frozen=True, slots=True)
class Response:
    """What a policy made of a change that is known: its retrainings for drift or performance on the scored steps."""

    change: datetime
    before: tuple[Trained, ...]
    after: tuple[Trained, ...]

    @classmethod
    def of(cls, trained: Sequence[Trained], change: datetime, begin: datetime) -> Response:
        """Of the retrainings from `begin` on, the first scored step."""
        asked = [each for each in trained if each.reason in ("drift", "performance") and each.at >= begin]
        return cls(
            change,
            tuple(each for each in asked if each.at < change),
            tuple(each for each in asked if each.at >= change),
        )

    @property
    def late(self) -> timedelta | None:
        """How long after the change the first retraining came; None where none did."""
        return self.after[0].at - self.change if self.after else None

    def describe(self, end: datetime, clock: Clock = CALENDAR) -> str:
        """As a clause; `end` is the last instant of the history that was replayed."""
        what, before = "retraining for drift or performance", f"{len(self.before)} came before it"
        if not self.after:
            left = clock.describe(end - self.change)
            return f"no {what} came in the {left} from the change to the end; {before}"
        first, new = self.after[0], next((each for each in self.after if each.outcome == "promoted"), None)
        came = f"the first {what} came {clock.describe(first.at - self.change)} after the change"
        if new is None:
            return f"{came}, and none of {many(len(self.after), 'retraining')} since brought a new champion; {before}"
        if new is first:
            return f"{came} and brought a new champion; {before}"
        later = clock.describe(new.at - self.change)
        return f"{came} and was {first.outcome}; the first new champion came {later} after it; {before}"


def describe_changes(
    responses: Mapping[str, Response],
    change: datetime | None,
    steps: Sequence[datetime],
    end: datetime,
    clock: Clock = CALENDAR,
) -> Iterator[str]:
    """How each policy met the change, by its label; one sentence where the change is not among the scored steps."""
    if change is None:
        return
    if not steps[0] <= change < end:
        side = "after" if change >= end else "before"
        yield (
            f"The change {'at' if clock.by_rows else 'of'} {clock.name(change)} is {side} the scored steps, "
            f"{clock.name(steps[0])} to {clock.name(end)}: no retraining can be called early or late by it."
        )
        return
    for label, response in responses.items():
        yield f"{label}: {response.describe(end, clock)}."


def describe_windows(windows: Mapping[str, Training], span: timedelta | Rows) -> Iterator[str]:
    """Which training windows, by name, are longer than the history of length `span`."""
    for name, training in windows.items():
        if _is_longer(training, span):
            yield (
                f"The training window {name} is longer than the history of {CALENDAR.describe(span)}: it learns from "
                "all of it, as the window all does."
            )


def within(training: Training, span: timedelta | Rows) -> Training:
    """A training window as it is on a history of length `span`: one that is longer is all of it."""
    return training.model_copy(update={"last": None}) if _is_longer(training, span) else training


def _is_longer(training: Training, span: timedelta | Rows) -> bool:
    return training.last is not None and bool(distance(training.last) > distance(span))


def describe_left_out(result: SimulationResult, plan: SimulationPlan, clock: Clock = CALENDAR) -> tuple[str, str]:
    """Why a policy did not predict enough steps to be scored, as a clause, and what to do about it."""
    number = len(plan.steps) - 1
    promoted = [each for each in result.trained if each.outcome == "promoted"]
    if promoted:
        return (
            f"its first version passed its gates {_at(promoted[0].at, clock)}, and predicted {len(result.predicted)} "
            f"of the {many(number, 'step')}: at least 3 are needed",
            "Wait for more rows, or take a shorter performance.window.",
        )
    if result.trained:
        last = result.trained[-1]
        return (
            f"no version ever passed its gates, of {len(result.trained)} that were trained; the last, "
            f"{_at(last.at, clock)}: {last.explanation}",
            "Look at the gates in the model file.",
        )
    settled = [decision for decision in result.decisions if decision.kind in ("retrain", "suppressed")]
    why = f": {settled[-1].reason}" if settled else ""
    return (
        f"nothing was ever trained in {many(number, 'step')}{why}",
        "Take a longer training window, or wait for more rows.",
    )


def _at(moment: datetime, clock: Clock) -> str:
    return f"{'at' if clock.by_rows else 'on'} {clock.name(moment)}"
