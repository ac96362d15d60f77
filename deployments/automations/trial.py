"""A trial of what was deployed: a model is rehearsed, retrained and monitored by its deployments, and judged.

Everything runs where it is going to run, on the workers of the environment. What a run decided is read from the ledger,
because a run completes whatever it decided. The rehearsal comes first: a chain that is broken is named within seconds,
and no retraining that a drift report starts has its slot yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from deployments.automations import rehearsal, run_follower
from evergreen import naming
from evergreen.decision import Decision, Kind
from evergreen.details.decision import RetrainDetail
from evergreen.errors import EvergreenError
from evergreen.ledger.decisions import Decisions
from evergreen.registry.approval import with_approval
from evergreen.registry.client import Registry
from evergreen.settings import Settings
from evergreen.spec.model import ModelSpec
from evergreen.verdicts import Verdict

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

StepName = Literal["rehearse", "retrain", "monitor"]

_CREATED_SECONDS, _STARTED_SECONDS = 120.0, 300.0
"""Of a rehearsal: longer than a person would wait, as only what is broken takes that long."""
_TURN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class TrialStep:
    """One step of a trial.

    Attributes:
        model: the one that is tried.
        step: what was done.
        ok: whether what was deployed may stay.
        told: what came of it, one sentence.
        fix: what to do if it is not ok.
    """

    model: str
    step: StepName
    ok: bool
    told: str
    fix: str = ""

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Trial:
    """What the trials of all models share.

    Attributes:
        settings: of the environment; lake and registry are those of its workers.
        commit: that was deployed; empty outside of a repository.
        now: when the trial began (aware, UTC). It is part of the reason for the retraining, so that each trial asks
            anew and is not told what an earlier one came to.
        timeout: seconds for each run.
        show: gets each log line of the tasks of a run.
    """

    settings: Settings
    commit: str
    now: datetime
    timeout: float
    show: Callable[[str], None] = field(repr=False)

    def steps(self, spec: ModelSpec) -> Iterator[TrialStep]:
        """Rehearse, retrain and monitor a model; a step that is not ok is the last one."""
        steps: tuple[tuple[StepName, Callable[[ModelSpec], TrialStep]], ...] = (
            ("rehearse", self._rehearse),
            ("retrain", self._retrain),
            ("monitor", self._monitor),
        )
        for name, take in steps:
            try:
                step = take(spec)
            except EvergreenError as error:
                step = TrialStep(spec.name, name, False, error.what, error.fix)
            yield step
            if not step.ok:
                return

    def _rehearse(self, spec: ModelSpec) -> TrialStep:
        if not spec.retraining.triggers:
            return TrialStep(spec.name, "rehearse", True, "No event starts a retraining, so there is no chain to test.")
        deadline = time.monotonic() + self.timeout
        while True:
            found = rehearsal.rehearse(
                self.settings.environment, spec, created=_CREATED_SECONDS, started=_STARTED_SECONDS
            )
            if found.broken != "slot" or time.monotonic() >= deadline:
                break
            # A retraining goes on, which a schedule or an event has started.
            time.sleep(_TURN_SECONDS)
        told = f"The chain works: {found.latency_s:.1f} s from the event to the flow's first line."
        if not found.ok:
            told = f"The chain is broken at the link {found.broken}. {found.reason}"
        return TrialStep(spec.name, "rehearse", found.ok, told, found.fix)

    def _retrain(self, spec: ModelSpec) -> TrialStep:
        at = f"{self.now:%Y-%m-%d %H:%M:%S} UTC"
        run = self._run("retrain", spec, reason=f"deployment of {self.commit[:12] or 'no commit'} at {at}")
        ledger = Decisions(self.settings.lake_uri, spec.name)
        decision = next((each for each in reversed(ledger.all("retrain")) if each.flow_run == str(run.id)), None)
        if decision is None:
            raise EvergreenError(
                f"The run {run.name} has completed, and its decision is not in the lake that is set here.",
                "Set EVERGREEN_LAKE and EVERGREEN_ENVIRONMENT as they are set for the workers.",
            )
        decision = with_approval(ledger, decision)
        number, trained_at = decision.detail_as(RetrainDetail).version, ""
        version = Registry(self.settings).lookup(spec.name, number) if number else None
        if version is not None and version.tags.flow_run == str(run.id):
            trained_at = version.tags.git_commit
        return judge_retraining(spec.name, decision, deployed=self.commit, trained_at=trained_at)

    def _monitor(self, spec: ModelSpec) -> TrialStep:
        self._run("monitor", spec)
        champion = Registry(self.settings).champion(spec.name)
        if champion is None:
            return TrialStep(spec.name, "monitor", True, "There is no champion yet, so nothing was watched.")
        ledger = Decisions(self.settings.lake_uri, spec.name)
        return judge_watch(
            spec.name,
            drift=_newest(ledger, "drift", champion.number),
            performance=_newest(ledger, "performance", champion.number),
        )

    def _run(self, flow: str, spec: ModelSpec, **parameters: str) -> FlowRun:
        name = naming.deployment_path(self.settings.environment, flow, spec.name)
        return run_follower.run(name, parameters, show=self.show, timeout=self.timeout)


def judge_retraining(model: str, decision: Decision, *, deployed: str, trained_at: str) -> TrialStep:
    """Whether a retraining speaks for what was deployed: its candidate is not rejected, and the code is the same.

    Too few rows and rows that prove nothing are no fault of what was deployed: they are told.

    Args:
        model: its name.
        decision: what became of the retraining.
        deployed: the commit that was deployed; empty where it is not known.
        trained_at: the commit at which the worker trained; empty where it trained nothing, or does not know.
    """
    detail = decision.detail_as(RetrainDetail)
    what = f"The retraining ended as {decision.outcome}"
    what += f" with version {detail.version}" if detail.version else ""
    told = f"{what}: {decision.reason.removesuffix('.')}."
    if deployed and trained_at and trained_at != deployed:
        told = f"The worker trained version {detail.version} at commit {trained_at[:12]}, and not at {deployed[:12]}."
        fix = "Bring the project of each worker to that commit, or let prefect.yaml fetch it: docs/deployments.md."
        return TrialStep(model, "retrain", False, told, fix)
    # Without a version nothing was trained: a person has taken back what came of the same rows and code.
    if decision.outcome == "rejected" and detail.version:
        return TrialStep(model, "retrain", False, told, f"See its gates with: evergreen why {model}")
    return TrialStep(model, "retrain", True, told)


def judge_watch(model: str, *, drift: Decision | None, performance: Decision | None) -> TrialStep:
    """Whether the champion does its work: its performance does not fail.

    Drift is what the data do, and no fault of what was deployed: it is told.
    """
    told = "; ".join(
        f"{name} {each.outcome}: {each.reason.removesuffix('.')}" if each else f"{name}: not known yet"
        for name, each in (("drift", drift), ("performance", performance))
    )
    ok = performance is None or performance.outcome != Verdict.FAIL
    return TrialStep(model, "monitor", ok, f"{told}.", "" if ok else f"See its windows with: evergreen page {model}")


def _newest(ledger: Decisions, kind: Kind, champion: int) -> Decision | None:
    """The newest report about a champion: the same question asked again is the entry that is there."""
    return next((each for each in reversed(ledger.all(kind)) if each.champion == champion), None)
