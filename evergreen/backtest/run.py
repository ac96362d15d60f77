"""When should this model be retrained, and on which window? Every policy is simulated on the same history.

A policy is chosen by the first part of the history and reported on the rest, which did not take part in the choice.
`simulation.py` simulates one policy, `job_runner.py` does the work that they share once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

import numpy as np

from evergreen.backtest.job_runner import JobRunner
from evergreen.backtest.jobs import Job, key_of_job
from evergreen.backtest.outcomes import count_harmful
from evergreen.backtest.progress import Forecast, Watch
from evergreen.backtest.remarks import within
from evergreen.backtest.report import Backtest, Scored
from evergreen.backtest.request import ALWAYS, NEVER, ORACLE, Request, Variant, always, usual, window_name, window_of
from evergreen.backtest.scores import series
from evergreen.backtest.simulation import HeavySteps, Simulation, SimulationPlan, SimulationResult, StepPredictions
from evergreen.errors import EvergreenError
from evergreen.registry.version import Version, VersionTags
from evergreen.spec.model import ModelSpec
from evergreen.spec.policies import Never
from evergreen.spec.training import Training
from evergreen.training.pipeline_checks import require_fittable

CROSSED = 2
"""So many policies, the best of the first part, are tried with other training windows; the others are not."""


def run(runner: JobRunner, plan: SimulationPlan, request: Request, watch: Watch | None = None) -> Backtest:
    """Simulate every policy that is asked for, and choose one; `watch` is told what there is to do and what is done.

    Raises:
        ModelFileError: the model file's pipeline cannot be fitted, judged or stored.
        EvergreenError: the history cannot be simulated on, or a policy of the user's own failed.
    """
    context = runner.context
    require_fittable(context.spec)
    spec, own = context.spec, context.spec.training
    policies = dict(request.policies or usual(spec))
    gates = spec.gates
    variants = [Variant(name, policy, window_name(own), own, gates) for name, policy in policies.items()]
    for name, policy in ((NEVER, Never()), (ALWAYS, always(spec))):
        if name not in policies:
            variants.append(Variant(name, policy, window_name(own), own, gates))
    # Whoever retrains always, and the oracle, ask for every one of these.
    fits = [Job("fit", step, own) for step in plan.steps[:-1]]
    watch = watch or Watch()
    simulations = _simulations(runner, plan, variants, watch)
    simulations[ORACLE] = partial(simulate_oracle, runner, plan, own, watch.step)
    watch.begin(_forecast(runner, plan, len(simulations), fits))
    results = runner.run(simulations, fits)
    oracle = results.pop(ORACLE).predicted
    played = {each.label: (each, results[each.label]) for each in variants}
    scored = Scored(context, plan, request, oracle, played)
    if request.windows or request.routine_margins:
        crossed = [*_crossed(spec, scored, request.windows), *_with_margins(spec, scored, request.routine_margins)]
        windows = {each.window: each.training for each in crossed if each.training != own}.values()
        more_fits = [Job("fit", step, training) for training in windows for step in plan.steps[:-1]]
        if crossed:
            watch.begin(_forecast(runner, plan, len(crossed), more_fits))
        more = runner.run(_simulations(runner, plan, crossed, watch))
        played |= {each.label: (each, more[each.label]) for each in crossed}
        scored = Scored(context, plan, request, oracle, played)
    turn = scored.steps[scored.chosen]
    harmful = {
        label: count_harmful(HeavySteps(runner, variant.training), plan, result, turn)
        for label, (variant, result) in scored.results.items()
        if request.routine_margins and variant.name in policies
    }
    return scored.report(set(policies), runner.spent, harmful)


def _simulations(
    runner: JobRunner, plan: SimulationPlan, variants: Sequence[Variant], watch: Watch
) -> dict[str, Callable[[], SimulationResult]]:
    return {
        variant.label: Simulation(runner, plan, variant.policy, variant.training, watch.step, variant.gates).run
        for variant in variants
    }


def _forecast(runner: JobRunner, plan: SimulationPlan, simulations: int, fits: Sequence[Job]) -> Forecast:
    """Count what is to be done; a fit on the same rows as another one counts once."""
    jobs = {key_of_job(runner.context, job): job for job in fits}
    costs = [result["cost"] for job in jobs.values() if (result := runner.known(job)) is not None]
    mean = sum(costs) / len(costs) if costs else None
    return Forecast(len(plan.steps) - 1, simulations, len(jobs) - len(costs), len(costs), mean)


def _crossed(spec: ModelSpec, scored: Scored, windows: Sequence[str]) -> list[Variant]:
    """The best policies of the first part, with each of the other windows.

    Of windows that are longer than the history one is tried: they all learn from all of it.
    """
    effective = {within(spec.training, scored.span).model_dump_json()}
    trainings = []
    for training in (window_of(text, spec.training, rows=spec.order is not None) for text in windows):
        key = within(training, scored.span).model_dump_json()
        if key not in effective:
            effective.add(key)
            trainings.append(training)
    return [
        replace(scored.results[label][0], window=(name := window_name(training)), training=training, apart=name)
        for label in _best(scored)
        for training in trainings
    ]


def _with_margins(spec: ModelSpec, scored: Scored, margins: Sequence[float]) -> list[Variant]:
    """The best policies of the first part, with each of the other burdens of proof of a routine candidate."""
    others = [margin for margin in dict.fromkeys(margins) if margin != spec.gates.routine_margin]
    return [
        replace(
            scored.results[label][0],
            gates=spec.gates.model_copy(update={"routine_margin": margin}),
            apart=f"margin {margin:g}",
        )
        for label in _best(scored)
        for margin in others
    ]


def _best(scored: Scored) -> list[str]:
    """The best policies of the first part; of those that did the same, one."""
    errors = {label: one.worse * one.part(scored.first).value() for label, one in scored.series.items()}
    apart = {
        (one.by_step().tobytes(), len(scored.results[label][1].trained)): label
        for label, one in reversed(scored.series.items())
        if label != NEVER
    }
    return sorted(apart.values(), key=errors.__getitem__)[:CROSSED]


def simulate_oracle(
    runner: JobRunner, plan: SimulationPlan, training: Training, stepped: Callable[[], None] = lambda: None
) -> SimulationResult:
    """Simulate who may retrain at each step, for nothing and in no time, and knows whether that helps in the next step.

    It keeps the version that it has, or takes a fresh one without any gate: whichever will have the smaller error.
    `stepped` is called at each step.
    """
    heavy, spec = HeavySteps(runner, training), runner.context.spec
    predicted: list[StepPredictions] = []
    present: Version | None = None
    for number, (now, end) in enumerate(zip(plan.steps[:-1], plan.steps[1:], strict=True)):
        fresh = _fresh(heavy, now, spec.name, number)
        first, last = heavy.history.between(now, end)
        tried = []
        for version in (present, fresh):
            if version is not None and last > first:
                step = StepPredictions(now, ((first, last, heavy.predict(now, end, version)),))
                figures = series(spec, heavy.history, [step])
                error = figures.worse * figures.value()
                tried.append((error if np.isfinite(error) else np.inf, version, step))
        if not tried:
            predicted.append(StepPredictions(now, ()))
            present = present or fresh
            stepped()
            continue
        _, present, step = min(tried, key=lambda trial: trial[0])
        predicted.append(step)
        stepped()
    return SimulationResult((), (), (), tuple(predicted))


def _fresh(heavy: HeavySteps, now: datetime, model: str, number: int) -> Version | None:
    """A version of what is known by now; None where the data or the pipeline does not allow one."""
    try:
        fit = heavy.fit(now)
    except EvergreenError:
        return None
    return Version(model, number, "", fit.model_id, VersionTags.read(fit.tags), "")
