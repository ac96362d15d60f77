"""What a paired comparison on the judged rows proves, and its figures in words."""

from __future__ import annotations

import numpy as np

from evergreen.data.predictions import Predictions
from evergreen.evaluation.bootstrap import MIN_BLOCKS, MIN_GROUPS, ROUNDING, Comparison, paired_bootstrap
from evergreen.evaluation.evidence import Evidence
from evergreen.markdown import describe_span, many
from evergreen.spec.fields import Rows
from evergreen.spec.metric import Metric
from evergreen.spec.model import ModelSpec
from evergreen.verdicts import Check, Verdict


def compare_with(
    evidence: Evidence, spec: ModelSpec, other: Predictions, seed: int, *, margin: float = 0.0, capped: bool = False
) -> Comparison:
    """The candidate beside another's predictions of the same rows, by the metric and level of the model file."""
    return paired_bootstrap(
        spec.metric,
        evidence.y,
        evidence.candidate,
        other,
        groups=evidence.groups,
        level=spec.gates.level,
        seed=seed,
        margin=margin,
        capped=capped,
    )


def prove_better(name: str, comparison: Comparison, spec: ModelSpec, other: str) -> Check:
    """FAIL if the candidate's figure is no better than another's, PASS if that is proven, INCONCLUSIVE between."""
    if np.isnan(comparison.improvement):
        reason = f"{spec.metric.name} is undefined for the candidate or {other}."
        return Check(name, Verdict.INCONCLUSIVE, None, 0.0, reason)
    status = Verdict.INCONCLUSIVE
    if comparison.improvement <= ROUNDING * abs(comparison.champion_value):
        status = Verdict.FAIL
    elif comparison.low > ROUNDING * abs(comparison.champion_value):
        status = Verdict.PASS
    reason = describe_comparison(comparison, spec.metric, other, spec.gates.level)
    reason += describe_lacking_proof(status, comparison, "an improvement")
    return Check(name, status, number_or_none(comparison.low), 0.0, reason)


def describe_comparison(comparison: Comparison, metric: Metric, other: str, level: float) -> str:
    """The figures in words."""
    text = f"{metric.name} {comparison.value:.4g} against {other}'s {comparison.champion_value:.4g}: "
    text += f"{'worse' if comparison.improvement < 0 else 'better'} by {abs(comparison.improvement):.4g}"
    if np.isnan(comparison.low):
        return text + "."
    text += f", {100 * (1 - level):.4g} % interval {comparison.low:.4g} to {comparison.high:.4g}."
    if comparison.block is None:
        return text
    return text + f" {comparison.groups:,} blocks of {describe_span(comparison.block)} count as independent."


def describe_lacking_proof(status: Verdict, comparison: Comparison, claim: str) -> str:
    """Why a `claim` is open, as the end of a sentence; empty where the status is proven."""
    if status is not Verdict.INCONCLUSIVE:
        return ""
    if few := too_few_blocks(comparison):
        more = "more rows" if isinstance(comparison.block, Rows) else "rows of more time"
        return f" {few[0].upper()}{few[1:]}. Let {more} judge: raise holdout.share or holdout.recent."
    if comparison.groups < MIN_GROUPS:
        return f" Only {comparison.groups} independent groups of rows; at least {MIN_GROUPS} are needed."
    return f" That does not prove {claim}."


def too_few_blocks(comparison: Comparison) -> str:
    """That there is no interval for want of independent blocks of rows, as words; empty where that is not why."""
    if not np.isnan(comparison.low) or comparison.block is None or comparison.groups >= MIN_BLOCKS:
        return ""
    blocks = f"{many(comparison.groups, 'independent block')} of rows; at least {MIN_BLOCKS} are needed"
    return f"the errors of the two models within {describe_span(comparison.block)} are alike, which leaves {blocks}"


def number_or_none(value: float) -> float | None:
    """None for NaN."""
    return None if np.isnan(value) else value
