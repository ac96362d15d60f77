"""Simulate one retraining policy over the recorded history: what would have been decided and predicted.

Action by step, as the flows do it: the monitor judges what is known, the policy is asked, what it asks for is planned,
fitted, held to the gates and promoted, and the champion predicts the rows until the next step. All of it by the code
that runs live; only storage is in memory, and training takes simulated time. No Prefect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from evergreen.backtest.history import History, PointInTimeRows
from evergreen.backtest.in_memory import InMemoryLedger, InMemoryPromotions, InMemoryRegistry
from evergreen.backtest.job_runner import JobRunner
from evergreen.backtest.jobs import CachedVersions, Fit, Job, Measured, PredictedRows
from evergreen.data.predictions import Predictions
from evergreen.decision import Decision
from evergreen.details.decision import Ingested
from evergreen.drift.check import drift_question, no_champion_report
from evergreen.drift.report import DriftReport
from evergreen.errors import DataError, EvergreenError
from evergreen.evaluation.judgement import Judgement
from evergreen.ledger.promotions import Move
from evergreen.ledger.reconciliation import TRIGGER_OUTCOMES, requests_retrain
from evergreen.performance.labelled_rows import performance_decision_id
from evergreen.performance.report import PerformanceReport
from evergreen.performance.shadow import FormerComparison, Pair, check_promotion, roll_back_if_worse
from evergreen.registry.promotion import promote_if_passed
from evergreen.registry.version import Version
from evergreen.runs.recorder import DecisionRecorder
from evergreen.spec.gates import Gates
from evergreen.spec.model import ModelSpec
from evergreen.spec.policy import TRIGGERS, RetrainPolicy, triggers_of
from evergreen.spec.retraining import Approval
from evergreen.spec.training import Training
from evergreen.training.evaluate import record_judgement, reject_repeat
from evergreen.training.plan import CountRows, Plan, lineage_of, plan_retraining
from evergreen.training.request import Request

FIRST = "first"
"""The reason of the training that makes the first champion, whatever the policy."""
NOTHING_NEW = Ingested(cached=True, rows=0)


@dataclass(frozen=True, slots=True)
class SimulationPlan:
    """What every simulation of a backtest has in common.

    Attributes:
        steps: the times (aware, UTC) at which the monitor runs, and one more that ends the last step.
        spec_hash: of the model file's code.
        schedule: how often the schedule asks; None at every step.
        train_time: how long a training takes before its version serves; None for the measured time.
        code: the tags that say by which code a version is made.
        recipe: of the model file; empty where it is not known.
    """

    steps: Sequence[datetime]
    spec_hash: str
    schedule: timedelta | None = None
    train_time: timedelta | None = None
    code: Mapping[str, str] = field(default_factory=dict)
    recipe: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class StepPredictions:
    """What was predicted in one step.

    Attributes:
        start: its first instant.
        pieces: the first place in the history, the one behind the last, and the predictions of the rows between them,
            for each version that predicted.
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
class SimulationResult:
    """What became of one policy."""

    decisions: tuple[Decision, ...]
    moves: tuple[Move, ...]
    trained: tuple[Trained, ...]
    predicted: tuple[StepPredictions, ...]
    versions: tuple[Version, ...] = ()


class HeavySteps:
    """The steps that take long, as functions; each is worked out once, whichever simulation asks for it."""

    def __init__(self, runner: JobRunner, training: Training) -> None:
        """`training` is the window that every candidate learns from."""
        self._runner, self._training = runner, training
        self.spec: ModelSpec = runner.context.spec
        self.history: History = runner.context.history
        self.versions: CachedVersions = runner.context.versions
        self.count_rows: CountRows = runner.context.count_rows

    def rows(self, now: datetime) -> PointInTimeRows:
        """The observations as they were known before `now`."""
        return self._runner.context.rows(now, self._training)

    def fit(self, now: datetime) -> Fit:
        """A candidate of what was known before `now`.

        Raises:
            EvergreenError: the data or the pipeline was at fault.
        """
        fit: Fit = self._result("fit", now)
        return fit

    def drift(self, now: datetime, champion: Version | None) -> DriftReport:
        """The drift report of the champion."""
        if champion is None:
            return no_champion_report(self.spec)
        report: DriftReport = self._result("drift", now, champion)
        # The report follows from the fit, the question from the number that the version has in this simulation.
        decision, _ = drift_question(self.spec, champion, self.rows(now).snapshot())
        return replace(report, decision_id=decision)

    def performance(self, now: datetime, champion: Version) -> PerformanceReport:
        """The performance report of the champion."""
        measured: Measured = self._result("performance", now, champion)
        decision = performance_decision_id(self.spec, champion.number, measured.digest)
        return replace(measured.report, decision_id=decision)

    def compare_with_former(self, now: datetime) -> Callable[[Pair, int], FormerComparison]:
        """Compares a champion with the one that it replaced, at `now`."""

        def compare(pair: Pair, before: int) -> FormerComparison:
            comparison: FormerComparison = self._result("shadow", now, pair, before)
            return comparison

        return compare

    def judge(self, now: datetime, candidate: Version, champion: Version | None, gates: Gates) -> Judgement:
        """What these gates find of a candidate."""
        judgement: Judgement = self._result("gate", now, candidate, champion, gates)
        return judgement

    def predict(self, start: datetime, until: datetime, version: Version) -> Predictions:
        """What a version predicts for the rows from `start` on and before `until`."""
        rows: PredictedRows = self._result("serve", start, until, version)
        return rows.predictions()

    def _result(self, kind: str, now: datetime, *about: Any) -> Any:
        return self._runner.result(Job(kind, now, self._training, about))


class Simulation:
    """One policy with one training window, on its way through the history."""

    def __init__(
        self,
        runner: JobRunner,
        plan: SimulationPlan,
        policy: RetrainPolicy | Any,
        training: Training | None = None,
        stepped: Callable[[], None] = lambda: None,
        gates: Gates | None = None,
    ) -> None:
        """`policy` None is what the model file's `retrain_on` and the schedule do; `stepped` is called at each step.

        `training` and `gates` are the model file's where they are None.
        """
        spec: ModelSpec = runner.context.spec
        own = {} if policy is None else {"policy": policy, "triggers": _events(policy)}
        changes = {
            "retraining": spec.retraining.model_copy(update=own),
            "training": training or spec.training,
            "gates": gates or spec.gates,
            "approval": Approval(),
        }
        self.spec: ModelSpec = spec.model_copy(update=changes)
        self._stepped = stepped
        self.plan, self.heavy = plan, HeavySteps(runner, self.spec.training)
        self.registry = InMemoryRegistry(self.heavy.versions)
        self.ledger, self.promotions = InMemoryLedger(), InMemoryPromotions(self.spec.name)
        self.trained: list[Trained] = []
        self.predicted: list[StepPredictions] = []
        self._serving: tuple[Version | None, Version | None, datetime | None] = (None, None, None)
        self._scheduled: datetime | None = None

    def run(self) -> SimulationResult:
        """Live through all steps.

        Raises:
            EvergreenError: the model file's own policy failed, or a training takes longer than a step.
        """
        for now, end in zip(self.plan.steps[:-1], self.plan.steps[1:], strict=True):
            rows = self.heavy.rows(now).of(self.spec)
            recorder = DecisionRecorder(self.spec, self.ledger, now)
            decisions = self._monitor(rows, recorder, now)
            for request in self._requests(decisions, now):
                self._retrain(rows, recorder, request, now)
            self._predict(now, end)
            self._stepped()
        return SimulationResult(
            self.ledger.decisions,
            self.promotions.done(),
            tuple(self.trained),
            tuple(self.predicted),
            tuple(self.registry.versions(self.spec.name)),
        )

    @property
    def champion(self) -> Version | None:
        """The version in production."""
        return self.registry.champion(self.spec.name)

    def _monitor(self, rows: PointInTimeRows, recorder: DecisionRecorder, now: datetime) -> tuple[Decision | None, ...]:
        """As the flow `monitor`; the decisions that may call for a retraining."""
        champion, snapshot, stores = self.champion, rows.snapshot(), (self.registry, self.promotions)
        data = recorder.data(champion, snapshot)
        if champion is None:
            return (data,)
        drift = recorder.drift(champion, snapshot, self.heavy.drift(now, champion))
        performance = recorder.performance(champion, snapshot, self.heavy.performance(now, champion))
        compare = self.heavy.compare_with_former(now)
        comparison = check_promotion(self.spec, *stores, self.ledger, champion, compare)
        recorder.shadow(champion, snapshot, comparison)
        roll_back_if_worse(self.spec, *stores, comparison, now=now, lock=nullcontext())
        return data, drift, performance

    def _requests(self, decisions: Sequence[Decision | None], now: datetime) -> list[Request]:
        """What the monitor's decisions and the schedule ask for, in the order in which they do."""
        if self.champion is None:
            self._scheduled = now
            return [Request(reason=FIRST)]
        requests = [
            Request(reason=decision.kind, decision_id=decision.id)
            for decision in decisions
            if decision is not None and requests_retrain(self.spec, decision)
        ]
        period = self.plan.schedule
        due = self._scheduled is None or period is None or now - self._scheduled >= period
        if due and "schedule" in triggers_of(self.spec.retraining.live_policy):
            self._scheduled = now
            requests.append(Request(reason="schedule"))
        return requests

    def _retrain(self, rows: PointInTimeRows, recorder: DecisionRecorder, request: Request, now: datetime) -> None:
        """As the flow `retrain`."""
        stores = (self.registry, self.promotions)
        inputs = (rows, self.plan.spec_hash, *stores, self.ledger, request)
        plan = plan_retraining(*inputs, now=now, lock=nullcontext(), count=self.heavy.count_rows)
        if plan.settled is not None:
            recorder.conclude(plan, NOTHING_NEW, self.champion)
            return
        drift = self.heavy.drift(now, plan.champion)
        try:
            fit = self.heavy.fit(now)
        except EvergreenError as error:
            self._count_failure(plan, error, now)
            return
        tags = lineage_of(plan, self.spec, self.plan.spec_hash, self.plan.recipe, code=self.plan.code)
        version = self.registry.add(self.spec.name, fit.model_id, {**tags, **fit.tags})
        judgement = self.heavy.judge(now, version, plan.champion, self.spec.gates)
        judgement = reject_repeat(judgement, version, self.registry.versions(self.spec.name))
        version = record_judgement(self.registry, version, self.spec, judgement, champion=plan.champion, description="")
        outcome = promote_if_passed(
            self.spec, *stores, version, judgement.verdict, reason=request.reason, now=now, lock=nullcontext()
        )
        recorder.conclude(plan, NOTHING_NEW, self.champion, outcome, version, drift, judgement)
        self._count(Trained(now, request.reason, outcome, version.number, fit.seconds, judgement.explanation))

    def _count(self, training: Trained) -> None:
        """Count a training; a new version serves from its end on, at once where rows have no time."""
        took = self.plan.train_time or timedelta(seconds=training.seconds)
        took = timedelta(0) if self.heavy.history.clock.by_rows else took
        if took >= self.plan.steps[1] - self.plan.steps[0]:
            raise EvergreenError(
                f"{self.spec.name}: a training takes {took}, which is no shorter than a step of the simulation.",
                "Take a longer performance.window, or state a shorter time of training.",
            )
        self.trained.append(training)
        if training.outcome == "promoted":
            _, serving, _ = self._serving
            self._serving = (serving, self.champion, training.at + took)

    def _count_failure(self, plan: Plan, error: EvergreenError, now: datetime) -> None:
        """Count a training that the data or the pipeline did not allow; without a first version nothing can go on."""
        if plan.champion is None:
            raise DataError(error.what, error.fix)
        self.trained.append(Trained(now, plan.request.reason, "failed", None, 0.0, error.what))

    def _predict(self, now: datetime, end: datetime) -> None:
        """The rows until the next step, by whoever is in production; a fresh champion from the end of its training."""
        champion = self.champion
        if champion is None:
            return
        former, serving, since = self._serving
        if serving is None or serving.number != champion.number:
            # A rollback takes no time.
            former, since = None, None
        turn = min(max(since, now), end) if since is not None and since > now else now
        self._serving = (former, champion, since)
        pieces = []
        for start, until, version in ((now, turn, former), (turn, end, champion)):
            first, last = self.heavy.history.between(start, until)
            if version is not None and last > first:
                pieces.append((first, last, self.heavy.predict(start, until, version)))
        self.predicted.append(StepPredictions(now, tuple(pieces)))


def _events(policy: RetrainPolicy | Any) -> tuple[str, ...]:
    return tuple(trigger for trigger in TRIGGERS if trigger in TRIGGER_OUTCOMES and trigger in triggers_of(policy))
