"""The figures of replayed policies beside each other, which one to take, and in words why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from evergreen.backtest.clock import CALENDAR, Clock
from evergreen.backtest.job_runner import Spent
from evergreen.backtest.jobs import JobContext
from evergreen.backtest.naive import best_of, describe_best, describe_defeat, naive_series
from evergreen.backtest.outcomes import Harmful, stale_steps
from evergreen.backtest.remarks import Response, describe_changes, describe_left_out, describe_windows
from evergreen.backtest.request import ALWAYS, NEVER, ORACLE, Request, Variant, now_and_then, window_name, window_of
from evergreen.backtest.scores import Difference, Series, block_length, choose, difference, interval, picks, series
from evergreen.backtest.simulation import SimulationPlan, SimulationResult, StepPredictions, Trained
from evergreen.errors import DataError, EvergreenError
from evergreen.markdown import many
from evergreen.spec.fields import Rows
from evergreen.spec.policy import triggers_of
from evergreen.spec.training import Training

SHORT = 26
"""With fewer scored steps the choice is told with a warning: half of them choose, and half a year says little."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One policy in the report.

    Attributes:
        error: the metric on the reported steps; `chosen_error` on the steps that chose.
        interval: 95 % of `error`, by blocks of time.
        regret: by `never`, `always` and `oracle`, how much worse it is than that one.
        retrains: trainings on the reported steps, of which `rejected` brought no new champion.
        all_retrains: trainings on all scored steps.
        train_seconds: processor seconds of these trainings.
        false_triggers: retrainings for drift or performance before the change that is known; None where none is.
        late: how long after that change the first one came; None where none did, or where the change is not among
            the scored steps.
        series: every scored step.
        trained: every retraining.
        stale: reported steps that were served although a newer candidate had not been promoted.
        harmful: promotions on the reported steps, and how many of them harmed; None where that was not asked.
    """

    variant: Variant
    error: float
    chosen_error: float
    interval: tuple[float, float] | None
    regret: Mapping[str, Difference]
    retrains: int
    rejected: int
    all_retrains: int
    train_seconds: float
    cost: float | None
    false_triggers: int | None
    late: timedelta | None
    series: Series
    trained: tuple[Trained, ...]
    stale: int = 0
    harmful: Harmful | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Backtest:
    """What a backtest found.

    Attributes:
        steps: the first instant of every scored step.
        chosen: how many of them chose.
        recommended: label of the policy to take; None where the history does not say.
        warning: why little can be said; empty where enough can.
        left_out: policies that could not be scored, and why.
        remarks: sentences on what the figures alone do not tell apart.
        spent: the work that it took.
        clock: what its instants and lengths are.
        regular: label of the policy that others are held against beside `never` and `always`.
    """

    model: str
    metric: str
    steps: tuple[datetime, ...]
    chosen: int
    rows: tuple[Row, ...]
    oracle: Series
    recommended: str | None
    reason: str
    warning: str
    left_out: Mapping[str, str]
    spent: Spent
    remarks: tuple[str, ...] = ()
    clock: Clock = CALENDAR
    regular: str = "every 30 days"

    def row(self, label: str) -> Row:
        """The row of a policy."""
        return next(row for row in self.rows if row.variant.label == label)

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        return {
            "model": self.model,
            "metric": self.metric,
            "steps": len(self.steps),
            "reported_from": self.clock.plain(self.steps[self.chosen]),
            "policies": [_row_json(row, self.clock) for row in self.rows],
            "recommended": self.recommended,
            "reason": self.reason,
            "warning": self.warning,
            "left_out": dict(self.left_out),
            "remarks": list(self.remarks),
        }


class Scored:
    """The figures of every policy that served in every scored step."""

    def __init__(
        self,
        context: JobContext,
        plan: SimulationPlan,
        asked: Request,
        oracle: Sequence[StepPredictions],
        results: Mapping[str, tuple[Variant, SimulationResult]],
    ) -> None:
        self.context, self.plan, self.asked = context, plan, asked
        left_out = {
            label: describe_left_out(result, plan, context.history.clock)
            for label, (_, result) in results.items()
            if not _complete(result, plan)
        }
        self.left_out = {label: why for label, (why, _) in left_out.items()}
        self.results = {label: each for label, each in results.items() if label not in left_out}
        if not self.results:
            why, fix = next(iter(left_out.values()))
            raise DataError(f"{context.spec.name}: nothing could be compared: {why.rstrip('.')}.", fix)
        begin = max(result.predicted[0].start for _, result in self.results.values())
        # What came with the first training is not whole: its rows before the end of that training have no prediction.
        self.steps = tuple(step for step in plan.steps[:-1] if step > begin)
        self.series = {label: self._series(result.predicted) for label, (_, result) in self.results.items()}
        self.oracle = self._series(oracle)
        has = np.all([each.rows > 0 for each in self.series.values()], axis=0)
        if has.sum() < 2:
            raise DataError(
                f"{context.spec.name}: {many(int(has.sum()), 'step has', 'steps have')} labels to score by, too few.",
                "Wait for more.",
            )
        self.chosen = self._chosen()
        self.first, self.rest = slice(0, self.chosen), slice(self.chosen, len(self.steps))

    def _series(self, served: Sequence[StepPredictions]) -> Series:
        wanted = set(self.steps)
        return series(self.context.spec, self.context.history, [step for step in served if step.start in wanted])

    def _chosen(self) -> int:
        since, number = self.asked.report_from, len(self.steps)
        count = number // 2 if since is None else sum(step < since for step in self.steps)
        if not 0 < count < number:
            raise EvergreenError(
                f"{_named(since, self.clock)} leaves no step to choose by, or none to report on: they reach from "
                f"{self.clock.name(self.steps[0])} to {self.clock.name(self.steps[-1])}.",
                f"Choose a {'row' if self.clock.by_rows else 'time'} between.",
            )
        return count

    def report(self, wanted: set[str], spent: Spent, harmful: Mapping[str, Harmful]) -> Backtest:
        """The table, and what follows from it; `harmful` by label, where it was counted."""
        seed = self.context.spec.seed
        drawn = picks(len(self.steps) - self.chosen, seed=seed)
        labels = [label for label, (one, _) in self.results.items() if one.name in wanted]
        rows = tuple(self._row(label, drawn, harmful.get(label)) for label in labels)
        first = {label: self.series[label].part(self.first) for label in labels}
        early = {label: self._count(self.results[label][1], self.steps[self.chosen], before=True) for label in labels}
        name, beside = choose(first, early, self.asked.prices, seed=seed)
        warning = _warning(len(self.steps), self.chosen)
        reason = _reason(self, name, beside, early, rows, drawn) if name else _nothing(self, beside)
        metric = self.context.spec.metric.name
        naive = self._naive()
        defeat = self._defeat(naive, rows, drawn)
        without = "" if defeat else describe_best(naive, metric)
        told = (without, *describe_windows(self._windows(), self.span), *self._changes(labels))
        remarks = tuple(remark for remark in told if remark)
        reason = f"{defeat} {reason}" if defeat else reason
        found = (name, reason, warning, dict(self.left_out), spent, remarks)
        facts = (self.context.spec.name, metric, self.steps, self.chosen, rows, self.oracle)
        return Backtest(*facts, *found, self.clock, self.regular)

    def _naive(self) -> dict[str, Series]:
        """The figures of the naive forecasts on the reported steps."""
        end = next((step for step in self.plan.steps if step > self.steps[-1]), self.plan.steps[-1])
        return naive_series(self.context.spec, self.context.history, (*self.steps[self.rest], end))

    def _defeat(self, naive: Mapping[str, Series], rows: Sequence[Row], drawn: Any) -> str:
        """That a naive forecast has less error than every policy; empty where one of them has less."""
        name, best = best_of(naive), min(rows, key=lambda row: row.series.worse * row.error)
        if name is None:
            return ""
        gap = difference(best.series.part(self.rest), naive[name], drawn)
        if not gap.value > 0:
            return ""
        figures = (name, naive[name].value(), best.variant.label, best.error)
        return describe_defeat(*figures, gap, self.context.spec.metric.name)

    @property
    def span(self) -> timedelta | Rows:
        """The length of the history."""
        return self.context.history.span

    @property
    def clock(self) -> Clock:
        """What instants and lengths are."""
        return self.context.history.clock

    @property
    def regular(self) -> str:
        """Label of the policy that others are held against beside `never` and `always`."""
        return now_and_then(self.context.spec)[0]

    def _windows(self) -> Mapping[str, Training]:
        """Every training window by name, those that were asked for among them."""
        own, rows = self.context.spec.training, self.clock.by_rows
        windows = (own, *(window_of(text, own, rows=rows) for text in self.asked.windows))
        return {window_name(training): training for training in windows}

    def _changes(self, labels: Sequence[str]) -> Iterator[str]:
        """How the policies that retrain for drift or performance met the change."""
        change, end = self.asked.change, self.plan.steps[-1]
        responses = {
            label: Response.of(result.trained, change, self.steps[0])
            for label, (one, result) in self.results.items()
            if change and label in labels and {"drift", "performance"} & set(self._triggers(one))
        }
        return describe_changes(responses, change, self.steps, end, self.clock)

    def _triggers(self, variant: Variant) -> Sequence[str]:
        return self.context.spec.retraining.triggers if variant.policy is None else triggers_of(variant.policy)

    def _row(self, label: str, drawn: Any, harmful: Harmful | None) -> Row:
        variant, result = self.results[label]
        mine = self.series[label].part(self.rest)
        turn = self.steps[self.chosen]
        rivals = {NEVER: self.series.get(NEVER), ALWAYS: self.series.get(ALWAYS), ORACLE: self.oracle}
        late = [each for each in result.trained if each.at >= turn]
        scored = [each for each in result.trained if each.at >= self.steps[0]]
        retrains = len(late)
        return Row(
            variant=variant,
            error=mine.value(),
            chosen_error=self.series[label].part(self.first).value(),
            interval=interval(mine.draws(drawn)) if drawn is not None else None,
            regret={name: difference(mine, each.part(self.rest), drawn) for name, each in rivals.items() if each},
            retrains=retrains,
            rejected=sum(each.outcome != "promoted" for each in late),
            all_retrains=len(scored),
            train_seconds=sum(each.seconds for each in late),
            cost=self.asked.prices.cost(mine, retrains) if self.asked.prices.known else None,
            **self._response(result),
            series=self.series[label],
            trained=result.trained,
            stale=stale_steps(result.trained, self.steps[self.rest]),
            harmful=harmful,
        )

    def _response(self, result: SimulationResult) -> dict[str, Any]:
        """Retrainings for drift or performance before the change that is known, and how late the first one was."""
        change = self.asked.change
        if change is None or not self.steps[0] <= change < self.plan.steps[-1]:
            return {"false_triggers": None, "late": None}
        response = Response.of(result.trained, change, self.steps[0])
        return {"false_triggers": len(response.before), "late": response.late}

    def _count(self, result: SimulationResult, turn: datetime, *, before: bool) -> int:
        """Trainings on the scored steps before a time, or from then on."""
        return sum((each.at < turn) is before for each in result.trained if each.at >= self.steps[0])


def _complete(result: SimulationResult, plan: SimulationPlan) -> bool:
    """Whether there was a champion before the last steps."""
    return len(result.predicted) > 2 and result.predicted[-1].start == plan.steps[-2]


def _warning(steps: int, chosen: int) -> str:
    least, scored = min(chosen, steps - chosen), many(steps, "step was scored", "steps were scored")
    if least // block_length(least) < 6:
        return f"The history is too short to say: {scored}, {chosen} of which chose."
    if steps < SHORT:
        return f"The history is short: {scored}, {chosen} of which chose; take this for a hint."
    return ""


def _reason(
    scored: Scored,
    name: str,
    beside: Mapping[str, Difference],
    early: Mapping[str, int],
    rows: Sequence[Row],
    drawn: Any,
) -> str:
    """The recommendation in words, with what the rest of the history says of it."""
    spec, turn = scored.context.spec, scored.steps[scored.chosen]
    mine = next(row for row in rows if row.variant.label == name)
    worse = [label for label, one in beside.items() if one.proven and early[label] < early[name]]
    why = "it costs the least at these prices" if scored.asked.prices.known else (
        f"proven worse with fewer retrainings: {', '.join(worse)}" if worse else
        "no policy with more retrainings is proven to be better"
    )  # fmt: skip
    reason = (
        f"By the {many(scored.chosen, 'step')} before {scored.clock.name(turn)}, {name}: {spec.metric.name} "
        f"{mine.chosen_error:.4g} with {many(early[name], 'retraining')}; {why}. On the rest it has {mine.error:.4g}"
        f"{_between(mine.interval)} with {mine.retrains}"
    )
    rivals = [row for row in rows if row.variant.label in (scored.regular, ALWAYS, NEVER) and row is not mine]
    if not rivals:
        return f"{reason}."
    rival = next((row for row in rivals if row.variant.label == scored.regular), rivals[0])
    gap = difference(mine.series.part(scored.rest), rival.series.part(scored.rest), drawn)
    size = f"{abs(gap.value):.4g} {'worse' if gap.value > 0 else 'better'}"
    ends = None if gap.interval is None else tuple(sorted(np.sign(gap.value or 1) * end for end in gap.interval))
    return f"{reason}: {size}{_between(ends)} than {rival.variant.label} with {rival.retrains}."


def _nothing(scored: Scored, beside: Mapping[str, Difference]) -> str:
    best = min(beside, key=lambda label: beside[label].value)
    few = many(scored.chosen, "step to choose by is", "steps to choose by are")
    return f"{few} too few; {best} has the least error there, which may be chance."


def _between(ends: Sequence[float] | None) -> str:
    return "" if ends is None else f" ({ends[0]:.4g} to {ends[1]:.4g})"


def _named(since: datetime | None, clock: Clock) -> str:
    return clock.name(since) if since is not None else "The middle"


def _row_json(row: Row, clock: Clock) -> dict[str, Any]:
    return {
        "name": row.variant.name,
        "window": row.variant.window,
        "error": _plain(row.error),
        "interval": row.interval,
        "regret": {name: _plain(one.value) for name, one in row.regret.items()},
        "retrains": row.retrains,
        "rejected": row.rejected,
        "train_seconds": round(row.train_seconds, 3),
        "chosen_error": _plain(row.chosen_error),
        "cost": row.cost,
        "false_triggers": row.false_triggers,
        **_late_json(row.late, clock),
        "routine_margin": row.variant.gates.routine_margin,
        "stale_steps": row.stale,
        "promotions": row.harmful and row.harmful.promotions,
        "harmful": row.harmful and row.harmful.harmful,
    }


def _late_json(late: timedelta | None, clock: Clock) -> dict[str, Any]:
    if clock.by_rows:
        return {"late_rows": None if late is None else clock.row(datetime.fromtimestamp(0, UTC) + late)}
    return {"late_days": None if late is None else late / timedelta(days=1)}


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
