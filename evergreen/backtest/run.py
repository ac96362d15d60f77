"""When should this model be retrained, and on which window? Every policy is replayed on the same history.

A policy is chosen by the first part of the history and reported on the rest, which did not take part in the choice.
`simulation.py` lives through one policy, `job_pool.py` does the work that they share once.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np

from evergreen.backtest.job_pool import Pool
from evergreen.backtest.jobs import FAULT, Bench, Fit, Job, Serve
from evergreen.backtest.report import Backtest, Scored
from evergreen.backtest.request import ALWAYS, NEVER, ORACLE, Request, Variant, usual, window_name, window_of
from evergreen.backtest.scores import series
from evergreen.backtest.simulation import Course, Served, Story, Walk
from evergreen.registry.version import Version
from evergreen.spec.model import ModelSpec
from evergreen.spec.policies import Every, Never
from evergreen.spec.training import Training

CROSSED = 2
"""So many policies, the best of the first part, are tried with other training windows; the others are not."""


def run(bench: Bench, pool: Pool, course: Course, asked: Request) -> Backtest:
    """Replay every policy that is asked for, and choose one.

    Raises:
        EvergreenError: the history cannot be replayed, or a policy of the user's own failed.
    """
    spec = bench.spec
    own = spec.training
    given = dict(asked.policies or usual(spec))
    variants = [Variant(name, policy, window_name(own), own) for name, policy in given.items()]
    for name, policy in ((NEVER, Never()), (ALWAYS, Every(days=_days(spec)))):
        if name not in given:
            variants.append(Variant(name, policy, window_name(own), own))
    walks: dict[str, Generator[Job, Mapping[str, Any], Any]] = {
        one.label: Walk(bench, course, one.policy, one.training).run() for one in variants
    }
    walks[ORACLE] = _oracle(bench, course, own)
    # Whoever retrains always asks for every one of these.
    told = pool.run(walks, (Fit(step, own) for step in course.steps[:-1]))
    oracle: list[Served] = told.pop(ORACLE)
    stories: dict[str, Story] = told
    scored = Scored(bench, course, asked, oracle, {one.label: (one, stories[one.label]) for one in variants})
    if asked.windows:
        crossed = _crossed(spec, scored, asked.windows)
        more = {one.label: Walk(bench, course, one.policy, one.training).run() for one in crossed}
        found: dict[str, Story] = pool.run(more)
        both = scored.told | {one.label: (one, found[one.label]) for one in crossed}
        scored = Scored(bench, course, asked, oracle, both)
    return scored.report(set(given), pool.spent)


def _crossed(spec: ModelSpec, scored: Scored, windows: Sequence[str]) -> list[Variant]:
    """The best policies of the first part, with each of the other windows; of those that did the same, one."""
    trainings = {text: window_of(text, spec.training) for text in windows}
    errors = {label: one.worse * one.part(scored.first).value() for label, one in scored.series.items()}
    apart = {
        (one.by_step().tobytes(), len(scored.told[label][1].trained)): label
        for label, one in reversed(scored.series.items())
        if label != NEVER
    }
    best = sorted(apart.values(), key=errors.__getitem__)[:CROSSED]
    return [
        replace(scored.told[label][0], window=window_name(training), training=training, own=False)
        for label in best
        for text, training in trainings.items()
        if training != spec.training
    ]


def _oracle(bench: Bench, course: Course, training: Training) -> Generator[Job, Mapping[str, Any], list[Served]]:
    """May retrain at each step, at no cost and in no time, and knows whether that helps in the coming step.

    It keeps the version that it has, or takes a fresh one without any gate: whichever will have the smaller error.
    """
    served: list[Served] = []
    held: Version | None = None
    for number, (now, end) in enumerate(zip(course.steps[:-1], course.steps[1:], strict=True)):
        told = yield Fit(now, training)
        fresh = None if FAULT in told else Version(bench.spec.name, number, "", told["fit"], told["tags"], "")
        first, last = bench.history.between(now, end)
        tried = []
        for version in (held, fresh):
            if version is not None and last > first:
                given = Serve.read((yield Serve(now, end, version)))
                step = Served(now, ((first, last, given),))
                figures = series(bench.spec, bench.history, [step])
                error = figures.worse * figures.value()
                tried.append((error if np.isfinite(error) else np.inf, version, step))
        if not tried:
            served.append(Served(now, ()))
            held = held or fresh
            continue
        _, held, step = min(tried, key=lambda one: one[0])
        served.append(step)
    return served


def _days(spec: ModelSpec) -> float:
    return spec.performance.window / timedelta(days=1)
