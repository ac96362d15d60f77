"""Whether a model is better than a rule of one line: a person's own, or repeating a label."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from evergreen.evaluation.bootstrap import Comparison
from evergreen.evaluation.evidence import Evidence
from evergreen.evaluation.persistence import NaiveForecast
from evergreen.evaluation.proof import compare_with, prove_better
from evergreen.spec.model import ModelSpec
from evergreen.verdicts import Check, Verdict

NAIVE = ("persistence", "season")
"""What the checks beside the naive forecasts are called, in their order."""

COVERED = 0.5
"""Where fewer of the rows have a label that was known in time, repeating labels is no way to serve."""


def judge_own_rule(evidence: Evidence, spec: ModelSpec, seed: int) -> Iterator[Check]:
    """Better than a person's own rule, as it has to be better than a dummy; only where the model file names one."""
    if evidence.rule is not None:
        comparison = compare_with(evidence, spec, evidence.rule, seed)
        yield prove_better("rule", comparison, spec, "the rule of the model file")


def judge_naive(evidence: Evidence, spec: ModelSpec, seed: int) -> Iterator[Check]:
    """Beside repeating a label: told, or asked for where the model file says so and most labels come in time."""
    for name, forecast in zip(NAIVE, evidence.naive, strict=False):
        comparison = compare_with(evidence, spec, forecast.predictions, seed)
        yield judge_beside(name, forecast, comparison, spec, asked=spec.gates.persistence == "beat")


def judge_beside(name: str, forecast: NaiveForecast, comparison: Comparison, spec: ModelSpec, *, asked: bool) -> Check:
    """A model beside a naive forecast, by their `comparison`; PASS and told where nothing is `asked` of it."""
    check = prove_better(name, comparison, spec, "that rule")
    check = replace(check, reason=f"Repeating {forecast.name} is a rule of one line: {check.reason}")
    if forecast.covered < COVERED:
        known = f" A label was known in time for {forecast.covered:.0%} of the rows only, so this is only told."
        return replace(check, status=Verdict.PASS, reason=check.reason + known)
    if asked:
        return check
    hint = " Give the model lagged labels: docs/model-files.md has an example." if comparison.improvement < 0 else ""
    return replace(check, status=Verdict.PASS, reason=f"{check.reason} Nothing is decided by this.{hint}")
