"""What a backtest compares: policies, training windows, and the times at which they are asked."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from evergreen.backtest.history import History, instant
from evergreen.backtest.scores import Prices
from evergreen.errors import DataError, EvergreenError
from evergreen.markdown import many
from evergreen.spec import policies
from evergreen.spec.gates import Gates
from evergreen.spec.model import ModelSpec
from evergreen.spec.policies import Every, Never, OnDrift, OnPerformance, any_of
from evergreen.spec.policy import RetrainPolicy, name_of
from evergreen.spec.training import Training

NEVER, ALWAYS, ORACLE = "never", "always", "oracle"

_POLICIES = ("Never", "Scheduled", "Every", "OnDrift", "OnPerformance", "OnData", "Budget")
_CALLED: Mapping[str, Callable[..., Any]] = {
    **{name: getattr(policies, name) for name in (*_POLICIES, "any_of", "all_of", "at_least")},
    "timedelta": timedelta,
}


@dataclass(frozen=True, slots=True)
class Variant:
    """A policy with a training window.

    Attributes:
        policy: None for what the model file does without one.
        window: the training window's name.
        gates: what a candidate has to prove.
        apart: what it does not share with the model file, a training window or a routine margin; empty where it does.
    """

    name: str
    policy: RetrainPolicy | Any
    window: str
    training: Training
    gates: Gates
    apart: str = ""

    @property
    def label(self) -> str:
        """As it is named among others."""
        return f"{self.name} · {self.apart}" if self.apart else self.name


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a backtest.

    Attributes:
        policies: by name; empty for the usual six and the model file's own.
        windows: names of training windows, such as `90d`, `all` or `half-life 90d`; empty for the model file's.
        routine_margins: burdens of proof of a routine candidate, beside the model file's own.
        since: the first step; None for the first at which there is enough to learn from.
        report_from: steps from here on are reported, those before choose; None for the middle.
        schedule: how often the schedule asks; None for every step.
        train_time: as in `evergreen.backtest.simulation.SimulationPlan`.
        change: since when the law of the data is another one, where that is known.
    """

    policies: Mapping[str, RetrainPolicy | Any] = field(default_factory=dict)
    windows: Sequence[str] = ()
    routine_margins: Sequence[float] = ()
    prices: Prices = field(default_factory=Prices)
    since: datetime | None = None
    report_from: datetime | None = None
    schedule: timedelta | None = None
    train_time: timedelta | None = None
    change: datetime | None = None


def usual(spec: ModelSpec) -> dict[str, RetrainPolicy | Any]:
    """The six policies that are compared where none is named, and the model file's own."""
    step = spec.performance.window / timedelta(days=1)
    found: dict[str, RetrainPolicy | Any] = {
        NEVER: Never(),
        ALWAYS: Every(days=step),
        "every 30 days": Every(days=30),
        "on drift": OnDrift(),
        "on performance": OnPerformance(),
        "on drift or every 90 days": any_of(OnDrift(), Every(days=90)),
    }
    if spec.retraining.policy is None:
        return found | {"as the model file has it": None}
    own = {} if spec.retraining.policy in found.values() else {name_of(spec.retraining.policy): spec.retraining.policy}
    return found | own


def named(texts: Sequence[str], spec: ModelSpec) -> dict[str, RetrainPolicy | Any]:
    """Policies by what was typed: a name of the usual ones, `every 14 days`, `every 500 rows`, or Python.

    Raises:
        EvergreenError: it is none of these.
    """
    known = usual(spec)
    found: dict[str, RetrainPolicy | Any] = {}
    for text in (name.strip() for name in texts):
        if text in known:
            found[text] = known[text]
            continue
        policy = _every(text) or _written(text)
        if policy is None:
            raise EvergreenError(
                f"{text[:60]!r} is not a policy.",
                f"One of: {', '.join(known)}; or such as 'every 14 days', 'OnDrift(confirm=2, of=3)'.",
            )
        found[name_of(policy)] = policy
    return found


def _every(text: str) -> RetrainPolicy | None:
    matched = re.fullmatch(r"every (\d+(?:\.\d+)?) (days?|rows?)", text)
    if matched is None or float(matched[1]) <= 0:
        return None
    return Every(days=float(matched[1])) if matched[2].startswith("day") else Every(rows=int(float(matched[1])))


def _written(text: str) -> RetrainPolicy | None:
    """A policy as it stands in a model file; only calls of this project's own policies and plain values are read."""
    try:
        policy = _made(ast.parse(text, mode="eval").body)
    except (SyntaxError, TypeError, ValueError, KeyError):
        return None
    return policy if isinstance(policy, RetrainPolicy) else None


def _made(node: ast.expr) -> Any:
    if not isinstance(node, ast.Call):
        return ast.literal_eval(node)
    if not isinstance(node.func, ast.Name):
        raise ValueError("only names are called")
    words = {keyword.arg: _made(keyword.value) for keyword in node.keywords if keyword.arg is not None}
    return _CALLED[node.func.id](*map(_made, node.args), **words)


def window_of(text: str, training: Training) -> Training:
    """A training window by its name: `180d`, `all`, or `half-life 90d` for all of history, weighed by age.

    Raises:
        EvergreenError: it is none.
    """
    name = text.strip().lower()
    if name == "all":
        return training.model_copy(update={"last": None, "half_life": None})
    number, decays = name.removeprefix("half-life").strip().removesuffix("d"), name.startswith("half-life")
    try:
        days = timedelta(days=float(number))
    except (ValueError, OverflowError):
        days = timedelta(0)
    if days <= timedelta(0) or not name.endswith("d"):
        raise EvergreenError(f"{text!r} is not a training window.", "Such as 90d, all, or 'half-life 90d'.")
    changed = {"last": None, "half_life": days} if decays else {"last": days, "half_life": None}
    return training.model_copy(update=changed)


def margins_of(text: str) -> tuple[float, ...]:
    """Burdens of proof of a routine candidate, such as `0,0.1,0.2`, as they were typed; none of an empty text.

    Raises:
        EvergreenError: one is no share from 0 on and below 1.
    """
    found: list[float] = []
    for part in (part.strip() for part in text.split(",") if part.strip()):
        try:
            margin = float(part)
        except ValueError:
            margin = -1.0
        if not 0 <= margin < 1:
            raise EvergreenError(
                f"{part[:60]!r} is not a margin for routine candidates.",
                "Give shares of the champion's metric, from 0 on and below 1, such as 0,0.1,0.2.",
            )
        found.append(margin)
    return tuple(found)


def window_name(training: Training) -> str:
    """What `window_of` understands."""
    if training.half_life is not None:
        return f"half-life {training.half_life / timedelta(days=1):g}d"
    return "all" if training.last is None else f"{training.last / timedelta(days=1):g}d"


def steps_of(history: History, since: datetime | None = None) -> tuple[datetime, ...]:
    """The times at which a monitor would have run: the ends of the performance report's windows.

    Raises:
        DataError: the history is too short to be replayed at all.
    """
    spec, step = history.spec, history.spec.performance.window
    epoch = datetime.fromtimestamp(0, UTC)
    least = spec.training.min_rows + spec.holdout.min_rows
    known = np.sort(history.known)
    if len(known) < least or known[least - 1] == np.iinfo(np.int64).max:
        has = int((known < np.iinfo(np.int64).max).sum())
        few = many(has, "labelled row is", "labelled rows are")
        raise DataError(f"{spec.name}: {few} too few to begin with: {least} are needed.", "Wait for more.")
    begin = max(instant(known[least - 1]), since) if since else instant(known[least - 1])
    first = -((epoch - begin) // step)
    last = -((epoch - history.end) // step)
    steps = tuple(epoch + number * step for number in range(first, last + 1))
    number = max(0, len(steps) - 1)
    length = f"{step / timedelta(days=1):g} day{'' if step == timedelta(days=1) else 's'}"
    if len(steps) < 4 and since is not None and begin == since:
        raise DataError(
            f"{spec.name}: only {many(number, f'step of {length} lies', f'steps of {length} lie')} between "
            f"{since:%Y-%m-%d} and the end of the history, {history.end:%Y-%m-%d}: at least 3 steps are needed.",
            "Choose an earlier first step (--since), or take a shorter performance.window.",
        )
    if len(steps) < 4:
        days = many(round((history.end - history.start) / timedelta(days=1)), "day")
        held = many(number, f"step of {length}", f"steps of {length}")
        raise DataError(
            f"{spec.name}: a history of {days} holds {held} after the first training, too short to be replayed.",
            "Wait for more rows, or take a shorter performance.window.",
        )
    return steps
