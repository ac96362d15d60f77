"""What a backtest compares: policies, training windows, and the times at which they are asked."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from evergreen.backtest.clock import Clock
from evergreen.backtest.history import History, instant
from evergreen.backtest.scores import Prices
from evergreen.errors import DataError, EvergreenError
from evergreen.markdown import many
from evergreen.spec import policies
from evergreen.spec.fields import Rows
from evergreen.spec.gates import Gates
from evergreen.spec.model import ModelSpec
from evergreen.spec.policies import Every, Never, OnDrift, OnPerformance, any_of
from evergreen.spec.policy import RetrainPolicy, name_of
from evergreen.spec.training import Training
from evergreen.timestamps import as_utc

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


def always(spec: ModelSpec) -> Every:
    """A retraining in each step of the replay."""
    window = spec.performance.window
    return Every(rows=window.count) if isinstance(window, Rows) else Every(days=window / timedelta(days=1))


def now_and_then(spec: ModelSpec, times: int = 1) -> tuple[str, Every]:
    """The policy that others are held against, and its name: every 30 days, or every four windows of rows."""
    window = spec.performance.window
    if isinstance(window, Rows):
        return f"every {4 * times * window.count} rows", Every(rows=4 * times * window.count)
    return f"every {30 * times} days", Every(days=30 * times)


def usual(spec: ModelSpec) -> dict[str, RetrainPolicy | Any]:
    """The six policies that are compared where none is named, and the model file's own."""
    (often, regular), (seldom, rare) = now_and_then(spec), now_and_then(spec, times=3)
    found: dict[str, RetrainPolicy | Any] = {
        NEVER: Never(),
        ALWAYS: always(spec),
        often: regular,
        "on drift": OnDrift(),
        "on performance": OnPerformance(),
        f"on drift or {seldom}": any_of(OnDrift(), rare),
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


def window_of(text: str, training: Training, *, rows: bool = False) -> Training:
    """A training window by its name: `180d`, `all`, or `half-life 90d` for all of history, weighed by age.

    With `rows` lengths are such as `5000 rows`.

    Raises:
        EvergreenError: it is none.
    """
    name = text.strip().lower()
    if name == "all":
        return training.model_copy(update={"last": None, "half_life": None})
    length = _length_of(name.removeprefix("half-life").strip(), rows=rows)
    if length is None:
        such = "5000 rows, all, or 'half-life 5000 rows'" if rows else "90d, all, or 'half-life 90d'"
        raise EvergreenError(f"{text!r} is not a training window.", f"Such as {such}.")
    decays = name.startswith("half-life")
    return training.model_copy(update={"last": None if decays else length, "half_life": length if decays else None})


def _length_of(text: str, *, rows: bool) -> timedelta | Rows | None:
    """A length by its name, `90d` or `5000 rows`; None for another text."""
    if rows:
        matched = re.fullmatch(r"(\d+) ?rows?", text)
        return Rows(int(matched[1])) if matched and int(matched[1]) else None
    try:
        days = timedelta(days=float(text.removesuffix("d")))
    except (ValueError, OverflowError):
        return None
    return days if days > timedelta(0) and text.endswith("d") else None


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
        return f"half-life {_length_name(training.half_life)}"
    return "all" if training.last is None else _length_name(training.last)


def _length_name(length: timedelta | Rows) -> str:
    return f"{length.count} rows" if isinstance(length, Rows) else f"{length / timedelta(days=1):g}d"


PLACES = ("since", "report_from", "change")
"""Fields of a request that are a place in the history: a time, or the number of a row."""


def place_of(value: datetime | int, spec: ModelSpec, field: str) -> datetime:
    """A place in the history by a time or, where rows have the order of landing, by the number of a row.

    Raises:
        EvergreenError: it is the other of both.
    """
    if spec.order == "rows":
        if isinstance(value, datetime) or value < 0:
            raise EvergreenError(
                f"{field}: rows of {spec.name} have the order of landing, and no time.",
                "Give the number of a row, such as 5000.",
            )
        try:
            return Clock(spec.performance.window).instant(value)
        except OverflowError:
            raise EvergreenError(f"{field}: row {value:,} lies behind any history.", "Give an earlier one.") from None
    if not isinstance(value, datetime):
        raise EvergreenError(f"{field}: {value} is the number of a row, and rows have a time.", "Give a time.")
    return as_utc(value)


def require_no_times(spec: ModelSpec, **lengths: timedelta | None) -> None:
    """Refuse lengths of time for a model whose rows have none.

    Raises:
        EvergreenError: there is one.
    """
    given = [name for name, length in lengths.items() if length is not None]
    if spec.order == "rows" and given:
        raise EvergreenError(
            f"{given[0]}: rows of {spec.name} have the order of landing, and no time.",
            "Leave it out: a label is known since it landed, and a training takes no rows.",
        )


def steps_of(history: History, since: datetime | None = None) -> tuple[datetime, ...]:
    """The times at which a monitor would have run: the ends of the performance report's windows.

    Raises:
        DataError: the history is too short to be replayed at all.
    """
    spec, clock = history.spec, history.clock
    step = clock.step
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
    length = clock.described_step
    if len(steps) < 4 and since is not None and begin == since:
        raise DataError(
            f"{spec.name}: only {many(number, f'step of {length} lies', f'steps of {length} lie')} between "
            f"{clock.name(since)} and the end of the history, {clock.name(history.end)}: at least 3 steps are needed.",
            "Choose an earlier first step (--since), or take a shorter performance.window.",
        )
    if len(steps) < 4:
        whole = history.span
        told = str(whole) if isinstance(whole, Rows) else many(round(whole / timedelta(days=1)), "day")
        held = many(number, f"step of {length}", f"steps of {length}")
        raise DataError(
            f"{spec.name}: a history of {told} holds {held} after the first training, too short to be replayed.",
            "Wait for more rows, or take a shorter performance.window.",
        )
    return steps
