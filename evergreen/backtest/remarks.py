"""What a table of figures does not say of a backtest: a sentence for each outcome that could be taken for another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from evergreen.backtest.simulation import SimulationPlan, SimulationResult, Trained
from evergreen.markdown import many
from evergreen.spec.training import Training

_DAY = timedelta(days=1)


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

    def describe(self, end: datetime) -> str:
        """As a clause; `end` is the last instant of the history that was replayed."""
        what, before = "retraining for drift or performance", f"{len(self.before)} came before it"
        if not self.after:
            left = _days(end - self.change)
            return f"no {what} came in the {left} from the change to the end; {before}"
        first, new = self.after[0], next((each for each in self.after if each.outcome == "promoted"), None)
        came = f"the first {what} came {_days(first.at - self.change)} after the change"
        if new is None:
            return f"{came}, and none of {many(len(self.after), 'retraining')} since brought a new champion; {before}"
        if new is first:
            return f"{came} and brought a new champion; {before}"
        later = _days(new.at - self.change)
        return f"{came} and was {first.outcome}; the first new champion came {later} after it; {before}"


def describe_changes(
    responses: Mapping[str, Response], change: datetime | None, steps: Sequence[datetime], end: datetime
) -> Iterator[str]:
    """How each policy met the change, by its label; one sentence where the change is not among the scored steps."""
    if change is None:
        return
    if not steps[0] <= change < end:
        side = "after" if change >= end else "before"
        yield (
            f"The change of {change:%Y-%m-%d} is {side} the scored steps, {steps[0]:%Y-%m-%d} to {end:%Y-%m-%d}: no "
            "retraining can be called early or late by it."
        )
        return
    for label, response in responses.items():
        yield f"{label}: {response.describe(end)}."


def describe_windows(windows: Mapping[str, Training], span: timedelta) -> Iterator[str]:
    """Which training windows, by name, are longer than the history of length `span`."""
    for name, training in windows.items():
        if training.last is not None and training.last > span:
            yield (
                f"The training window {name} is longer than the history of {_days(span)}: it learns from all of "
                "it, as the window all does."
            )


def within(training: Training, span: timedelta) -> Training:
    """A training window as it is on a history of length `span`: one that is longer is all of it."""
    longer = training.last is not None and training.last > span
    return training.model_copy(update={"last": None}) if longer else training


def describe_left_out(result: SimulationResult, plan: SimulationPlan) -> tuple[str, str]:
    """Why a policy did not predict enough steps to be scored, as a clause, and what to do about it."""
    number = len(plan.steps) - 1
    promoted = [each for each in result.trained if each.outcome == "promoted"]
    if promoted:
        return (
            f"its first version passed its gates on {promoted[0].at:%Y-%m-%d}, and predicted {len(result.predicted)} "
            f"of the {many(number, 'step')}: at least 3 are needed",
            "Wait for more rows, or take a shorter performance.window.",
        )
    if result.trained:
        last = result.trained[-1]
        return (
            f"no version ever passed its gates, of {len(result.trained)} that were trained; the last, on "
            f"{last.at:%Y-%m-%d}: {last.explanation}",
            "Look at the gates in the model file.",
        )
    settled = [decision for decision in result.decisions if decision.kind in ("retrain", "suppressed")]
    why = f": {settled[-1].reason}" if settled else ""
    return (
        f"nothing was ever trained in {many(number, 'step')}{why}",
        "Take a longer training window, or wait for more rows.",
    )


def _days(span: timedelta) -> str:
    days = f"{span / _DAY:.3g}"
    return f"{days} {'day' if days == '1' else 'days'}"
