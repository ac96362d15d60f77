"""One policy, lived through again: what would have been decided, and what would have been predicted.

Step by step, as the flows do it: the monitor judges what is known, the policy is asked, what it asks for is planned,
fitted, held to the gates and promoted, and the champion predicts the rows until the next step. All of it by the code
that runs live; only storage is in memory, and training takes simulated time. No Prefect.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from evergreen.backtest.history import Past
from evergreen.backtest.in_memory import HeldDecisions, HeldPromotions, HeldRegistry
from evergreen.backtest.jobs import FAULT, Bench, Drift, Fit, Gate, Job, Performance, Serve, Shadow
from evergreen.data.predictions import Predictions
from evergreen.decision import Decision, Outcome
from evergreen.drift.report import DriftReport
from evergreen.errors import DataError, EvergreenError
from evergreen.evaluation.judgement import Judgement
from evergreen.ledger.promotions import Move
from evergreen.ledger.reconciliation import CALLS, calls
from evergreen.performance.labelled_rows import performance_question
from evergreen.performance.shadow import Question, answer, question
from evergreen.performance.shadow_report import BY, ShadowReport
from evergreen.registry.lineage import against, lineage
from evergreen.registry.promotion import move_back, move_up
from evergreen.registry.version import CHALLENGER, Version
from evergreen.runs.recorder import Clerk, retrain_result
from evergreen.runs.results import Ingested
from evergreen.spec.model import ModelSpec
from evergreen.spec.policy import TRIGGERS, Policy, grounds_of
from evergreen.spec.training import Training
from evergreen.training.evaluate import not_again
from evergreen.training.plan import Plan, decide
from evergreen.training.request import Request
from evergreen.verdicts import Verdict

Told = Mapping[str, Any]
Steps = Generator[Job, Told, Any]
FIRST = "first"
"""The reason of the training that makes the first champion, whatever the policy."""


@dataclass(frozen=True, slots=True)
class Course:
    """What every walk of a backtest has in common.

    Attributes:
        steps: the times (aware, UTC) at which the monitor runs, and one more that ends the last step.
        spec_hash: of the model file's code.
        schedule: how often the schedule asks; None at every step.
        train_time: how long a training takes before its version serves; None for the measured time.
        code: the tags that say by which code a version is made.
    """

    steps: Sequence[datetime]
    spec_hash: str
    schedule: timedelta | None = None
    train_time: timedelta | None = None
    code: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """What was predicted in one step.

    Attributes:
        start: its first instant.
        places: of the rows in the history, by the version that predicted them.
    """

    start: datetime
    pieces: tuple[tuple[int, int, Predictions], ...]


@dataclass(frozen=True, slots=True)
class Trained:
    """One retraining.

    Attributes:
        seconds: what the fit took; 0 where nothing was fitted.
        outcome: `promoted`, `rejected`, `inconclusive`, or `failed` where the data or the pipeline was at fault.
    """

    at: datetime
    reason: str
    outcome: str
    version: int | None
    seconds: float
    explanation: str


@dataclass(frozen=True, slots=True, eq=False)
class Story:
    """What became of one policy."""

    decisions: tuple[Decision, ...]
    moves: tuple[Move, ...]
    trained: tuple[Trained, ...]
    served: tuple[Served, ...]


class Walk:
    """One policy with one training window, on its way through the history."""

    def __init__(self, bench: Bench, course: Course, policy: Policy | Any, training: Training | None = None) -> None:
        """`policy` None is what the model file's `retrain_on` and the schedule do."""
        own = {} if policy is None else {"policy": policy, "retrain_on": _events(policy)}
        changed = own | {"training": training or bench.spec.training, "approval": "auto"}
        self.spec: ModelSpec = bench.spec.model_copy(update=changed)
        self.bench, self.course = bench, course
        self.registry, self.ledger = HeldRegistry(), HeldDecisions(self.spec.name)
        self.promotions = HeldPromotions(self.spec.name)
        self.trained: list[Trained] = []
        self.served: list[Served] = []
        self._serving: tuple[Version | None, Version | None, datetime | None] = (None, None, None)
        self._asked: datetime | None = None

    def run(self) -> Generator[Job, Told, Story]:
        """Live through all steps; yields what is to be worked out.

        Raises:
            EvergreenError: the model file's own policy failed, or a training takes longer than a step.
        """
        for now, end in zip(self.course.steps[:-1], self.course.steps[1:], strict=True):
            past = self.bench.past(now, self.spec.training).of(self.spec)
            clerk = Clerk(self.spec, self.ledger, now)
            found = yield from self._watched(past, clerk, now)
            for request in self._requests(found, now):
                yield from self._retrained(past, clerk, request, now)
            yield from self._predicted(now, end)
        moves = self.promotions.done()
        return Story(self.ledger.entries, moves, tuple(self.trained), tuple(self.served))

    @property
    def champion(self) -> Version | None:
        """The version in production."""
        return self.registry.champion(self.spec.name)

    def _watched(self, past: Past, clerk: Clerk, now: datetime) -> Generator[Job, Told, tuple[Decision | None, ...]]:
        """As the flow `monitor`; the decisions that may call for a retraining."""
        champion, snapshot, training = self.champion, past.snapshot(), self.spec.training
        data = clerk.data(champion, snapshot)
        if champion is None:
            return (data,)
        report = Drift.read(self._sound((yield Drift(now, training, champion))))
        drift = clerk.drift(champion, snapshot, report)
        wanted = Performance(now, training, champion)
        told = self._sound((yield wanted))
        asked = performance_question(self.spec, champion.number, told["digest"])
        performance = clerk.performance(champion, snapshot, wanted.read(told, asked))
        about = question(self.spec, self.promotions, self.ledger, self.registry, champion)
        if isinstance(about, Question):
            told = self._sound((yield Shadow(now, training, about.pair, about.before)))
            found = answer(self.spec, about, Shadow.read(told))
            clerk.shadow(champion, snapshot, found)
            self._taken_back(found, now)
        return data, drift, performance

    def _taken_back(self, report: ShadowReport, now: datetime) -> None:
        if report.verdict is not Verdict.FAIL or not (report.rollback and self.spec.shadow.rollback):
            return
        reason = f"{report.reason} (decision {report.decision_id})"
        about = (self.spec, self.registry, self.promotions, report.former)
        move_back(*about, reason=reason, by=BY, now=now, undoes=report.promotion)

    def _requests(self, found: Sequence[Decision | None], now: datetime) -> list[Request]:
        """What the monitor's decisions and the schedule ask for, in the order in which they do."""
        if self.champion is None:
            self._asked = now
            return [Request(reason=FIRST)]
        asked = [
            Request(reason=one.kind, decision_id=one.id) for one in found if one is not None and calls(self.spec, one)
        ]
        period = self.course.schedule
        due = self._asked is None or period is None or now - self._asked >= period
        if due and "schedule" in grounds_of(self.spec.live_policy):
            self._asked = now
            asked.append(Request(reason="schedule"))
        return asked

    def _retrained(self, past: Past, clerk: Clerk, request: Request, now: datetime) -> Steps:
        """As the flow `retrain`."""
        about = (past, self.course.spec_hash, self.registry, self.ledger, self.champion, request)
        plan = decide(*about, now=now, counts=self.bench.counts)
        if plan.settled is not None:
            self._concluded(clerk, plan)
            return
        drift: DriftReport | None = None
        if plan.champion is not None:
            drift = Drift.read(self._sound((yield Drift(now, self.spec.training, plan.champion))))
        told = yield Fit(now, self.spec.training)
        if FAULT in told:
            self._failed(plan, told, now)
            return
        version = self.registry.add(self.spec.name, told["fit"], self._tags(plan, told["tags"]))
        judged = yield Gate(now, self.spec.training, version, plan.champion)
        judgement = not_again(Gate.read(self._sound(judged)), version, self.registry.versions(self.spec.name))
        outcome = self._judged(plan, version, judgement, now)
        if drift is not None and drift.columns and plan.champion is not None:
            clerk.drift(plan.champion, plan.snapshot, drift, plan.decision_id)
        self._concluded(clerk, plan, outcome, version, drift, judgement)
        self._trained(now, request, outcome, version, told["seconds"], judgement.explanation)

    def _judged(self, plan: Plan, version: Version, judgement: Judgement, now: datetime) -> Outcome:
        """Write down what the gates found, and promote what passed."""
        name = self.spec.metric.name
        figures = {f"holdout_{name}": judgement.value, f"champion_{name}": judgement.champion_value}
        tags = {"judgement": judgement.to_text()}
        tags |= {key: repr(value) for key, value in figures.items() if value is not None}
        passed = self.registry.conclude(version, judgement.verdict, "", tags)
        if judgement.verdict is not Verdict.PASS:
            return "rejected" if judgement.verdict is Verdict.FAIL else "inconclusive"
        self.registry.set_alias(self.spec.name, CHALLENGER, version.number)
        about = (self.spec, self.registry, self.promotions, passed)
        move_up(*about, reason=plan.request.reason, by="retrain", now=now)
        return "promoted"

    def _concluded(
        self,
        clerk: Clerk,
        plan: Plan,
        outcome: Outcome | None = None,
        version: Version | None = None,
        drift: DriftReport | None = None,
        judgement: Judgement | None = None,
    ) -> None:
        nothing = Ingested(cached=True, rows=0)
        result = retrain_result(self.spec, plan, nothing, self.champion, outcome, version, drift, judgement)
        if plan.answer is None:
            clerk.retrain(result, plan.champion.number if plan.champion else None)

    def _trained(
        self, now: datetime, request: Request, outcome: str, version: Version, seconds: float, explanation: str
    ) -> None:
        """Count a training; a new version serves from its end on."""
        took = self.course.train_time or timedelta(seconds=seconds)
        if took >= self.course.steps[1] - self.course.steps[0]:
            raise EvergreenError(
                f"{self.spec.name}: a training takes {took}, which is no shorter than a step of the replay.",
                "Take a longer performance.window, or state a shorter time of training.",
            )
        self.trained.append(Trained(now, request.reason, outcome, version.number, seconds, explanation))
        if outcome == "promoted":
            _, serving, _ = self._serving
            self._serving = (serving, self.champion, now + took)

    def _failed(self, plan: Plan, told: Told, now: datetime) -> None:
        """A training that the data or the pipeline did not allow; the first one is nothing to go on without."""
        what, fix = told[FAULT]
        if plan.champion is None:
            raise DataError(what, fix)
        self.trained.append(Trained(now, plan.request.reason, "failed", None, 0.0, what))

    def _tags(self, plan: Plan, stored: Mapping[str, str]) -> dict[str, str]:
        return {
            **lineage(
                plan.snapshot,
                decision=plan.decision_id,
                reason=plan.request.reason,
                spec_hash=self.course.spec_hash,
                compared_with=plan.champion.number if plan.champion else None,
                params=None,
                seed=self.spec.seed,
                flow_run="",
                learned_end=plan.learned_end,
                code=self.course.code,
            ),
            **stored,
            "compared_with": against(plan.champion.number if plan.champion else None),
        }

    def _predicted(self, now: datetime, end: datetime) -> Steps:
        """The rows until the next step, by whoever is in production; a fresh champion from the end of its training."""
        champion = self.champion
        if champion is None:
            return
        former, serving, since = self._serving
        if serving is None or serving.number != champion.number:
            # Taken back: that takes no time.
            former, since = None, None
        turn = min(max(since, now), end) if since is not None and since > now else now
        self._serving = (former, champion, since)
        pieces = []
        for start, until, version in ((now, turn, former), (turn, end, champion)):
            first, last = self.bench.history.between(start, until)
            if version is not None and last > first:
                given = Serve.read(self._sound((yield Serve(start, until, version))))
                pieces.append((first, last, given))
        self.served.append(Served(now, tuple(pieces)))

    @staticmethod
    def _sound(told: Told) -> Told:
        if FAULT in told:
            raise EvergreenError(*told[FAULT])
        return told


def _events(policy: Policy | Any) -> tuple[str, ...]:
    return tuple(one for one in TRIGGERS if one in CALLS and one in grounds_of(policy))


def canonical(decisions: Sequence[Decision], moves: Sequence[Move]) -> str:
    """What was decided, as text that is the same live and in a replay; one line for each decision and move.

    Left out is what follows from storage, clocks and machines: table versions, run ids, paths, the latency and the size
    of a model, how many predictions had been kept.
    """
    import json

    lines = [[one.at, one.kind, one.outcome, one.champion, one.digest, one.id, one.reason, _figures(one)]
             for one in decisions]  # fmt: skip
    lines += [[one.at, one.action, one.phase, one.before, f"version {one.after}", one.id, one.reason, one.by]
              for one in moves]  # fmt: skip
    told = [json.dumps([f"{line[0]:%Y-%m-%dT%H:%M:%S.%f}", *line[1:]], sort_keys=True) for line in lines]
    return "\n".join(sorted(told)) + "\n"


_MACHINE = ("latency", "size")
_KEPT = ("share", "columns", "confirmed", "failed", "needed", "answered_by", "called", "because", "metric", "value",
         "interval", "at_promotion", "bound", "own", "rows", "immature", "former_value", "gain", "windows", "final",
         "version", "outcome", "reason", "explanation", "former", "promotion")  # fmt: skip


def _figures(decision: Decision) -> dict[str, Any]:
    kept = {name: _rounded(value) for name, value in decision.detail.items() if name in _KEPT}
    checks = [one for one in decision.detail.get("checks", ()) if one["name"] not in _MACHINE]
    if checks:
        kept["checks"] = _rounded([{**one, "status": str(one["status"])} for one in checks])
    return kept


def _rounded(value: Any) -> Any:
    """Numbers to nine figures: the last ones depend on how many rows went through a matrix product together."""
    if isinstance(value, float):
        return float(f"{value:.9g}") if np.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _rounded(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return value
