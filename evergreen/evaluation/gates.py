"""What a candidate has to prove before it may become champion: one function a gate, three-valued, each with a reason.

Pure functions of an `Evidence`; nothing here loads a model. PASS and FAIL are proven, everything else is INCONCLUSIVE,
and only PASS everywhere promotes. Where a figure is an estimate, "proven" means that the whole two-sided interval of
the paired bootstrap at confidence 1 - level lies on one side of the bound. A candidate exactly at the bound then passes
with chance level / 2, and the other half is room for the bootstrap's optimism on few rows; the tests simulate both.

When the holdout itself cannot judge (overlap, too few rows, a constant target) or the candidate's predictions are not
finite, the gates that need a metric are left out: their figures would mean nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from evergreen.data.predictions import Predictions
from evergreen.evaluation.autocorrelation import order_hint
from evergreen.evaluation.bootstrap import ROUNDING, Comparison, paired_bootstrap
from evergreen.evaluation.evidence import Evidence
from evergreen.evaluation.measure import finite, measure, not_finite
from evergreen.evaluation.one_line_rules import judge_naive, judge_own_rule
from evergreen.evaluation.proof import (
    compare_with,
    describe_comparison,
    describe_lacking_proof,
    number_or_none,
    prove_better,
)
from evergreen.evaluation.refit import deployed_checks, naming_the_fit
from evergreen.evaluation.slices import picked, slices
from evergreen.markdown import many
from evergreen.spec.metric import Array, Metric
from evergreen.spec.model import ModelSpec
from evergreen.verdicts import Check, Verdict


def run_gates(evidence: Evidence, spec: ModelSpec, *, seed: int) -> tuple[Check, ...]:
    """Ask a candidate everything that `spec` asks, in a fixed order; `seed` drives the bootstrap.

    Raises:
        EvergreenError: the metric cannot be computed: the user's function fails, or there is no probability.
    """
    checks = [_integrity(evidence), holdout := _holdout(evidence, spec), outputs := _outputs(evidence)]
    if holdout.status is outputs.status is Verdict.PASS:
        checks += _bound(evidence, spec)
        checks.append(_baseline(evidence, spec, seed))
        checks += judge_own_rule(evidence, spec, seed)
        checks += judge_naive(evidence, spec, seed)
        checks += _champion(evidence, spec, seed)
        checks += _slices(evidence, spec, seed)
        checks += _overfit(evidence, spec)
    checks.append(_budget("latency", evidence.latency_ms, spec.gates.latency_ms, "ms for one row"))
    checks.append(_budget("size", evidence.size_mb, spec.gates.size_mb, "MB stored"))
    checks += _tags(evidence, spec)
    checks.append(_description(evidence, spec))
    if evidence.deployed is not None:
        checks = [naming_the_fit(check) for check in checks] + list(deployed_checks(evidence.deployed, spec))
    return tuple(checks)


def verdict_of(checks: Iterable[Check]) -> Verdict:
    """One verdict for all: any FAIL rejects, any INCONCLUSIVE withholds, nothing asked is nothing proven."""
    return Verdict.worst(check.status for check in checks)


def against_champion(evidence: Evidence, spec: ModelSpec, *, seed: int) -> Comparison | None:
    """The figures behind the `champion` check, the same for the same seed; None while there is no champion."""
    if evidence.champion is None:
        return None
    return compare_with(evidence, spec, evidence.champion, seed, margin=_margin(evidence, spec))


def _margin(evidence: Evidence, spec: ModelSpec) -> float:
    """How much worse than the champion this candidate may be, as a share of the champion's metric."""
    routine = spec.gates.routine_margin if evidence.routine else None
    return spec.gates.margin if routine is None else routine


def _integrity(evidence: Evidence) -> Check:
    if evidence.integrity:
        return Check("integrity", Verdict.FAIL, None, None, f"The stored artifact is not sound: {evidence.integrity}")
    return Check("integrity", Verdict.PASS, None, None, "The stored artifact reloads and repeats its predictions.")


def _holdout(evidence: Evidence, spec: ModelSpec) -> Check:
    """Whether these rows can judge at all."""
    rows, least = len(evidence.y), spec.holdout.min_rows
    distinct = rows - evidence.copies
    if evidence.overlap > 0:
        which = "in" if spec.keys else "word for word among"
        reason = (
            f"{evidence.overlap} of {rows} holdout rows were {which} the training data of the candidate or the "
            "champion."
        )
        return Check("holdout", Verdict.FAIL, float(evidence.overlap), 0.0, reason)
    status, reason = Verdict.INCONCLUSIVE, f"{rows} holdout rows, {_known_rows(evidence, spec)}"
    if distinct < least:
        among = f" that differ, among {rows}" if evidence.copies else ""
        reason = f"Only {distinct} holdout rows{among}; at least {least} are needed to judge."
        if evidence.learned_before:
            held = many(evidence.learned_before, "row that is held out here was", "rows that are held out here were")
            reason += (
                f" {held} learned before, by this version where it comes from or by the champion: land newer rows."
            )
    elif not finite(evidence.y):
        reason = f"The target {spec.target!r} has missing or infinite values in the holdout."
    elif _constant(evidence.y):
        what = "only one class" if spec.task == "classification" else "only one value"
        reason = f"The target {spec.target!r} has {what} in the holdout ({evidence.y[0]}): nothing to tell apart."
    else:
        status = Verdict.PASS
    return Check("holdout", status, float(distinct), float(least), reason)


def _known_rows(evidence: Evidence, spec: ModelSpec) -> str:
    """What is known of holdout rows among the training rows and among each other, and of their order."""
    known = "none of them trained on" if spec.keys else "none of them word for word among the training rows"
    if evidence.copies:
        known += f"; {many(evidence.copies, 'repeats another one and counts', 'repeat others and count')} with it"
    if not evidence.order:
        return f"{known}."
    return f"{known}; {evidence.order}. {order_hint(spec)}"


def _outputs(evidence: Evidence) -> Check:
    """Whether every prediction is there and finite."""
    bad = not_finite(evidence.candidate)
    if bad:
        reason = f"{bad} of {many(len(evidence.candidate.values), 'prediction')} are missing or infinite."
        return Check("finite", Verdict.FAIL, float(bad), 0.0, reason)
    return Check("finite", Verdict.PASS, 0.0, 0.0, "Every prediction is a finite value.")


def _bound(evidence: Evidence, spec: ModelSpec) -> Iterator[Check]:
    """The worst value that may be promoted; only where the model file names one."""
    bound = spec.metric.bound
    if bound is None:
        return
    value, name = measure(spec.metric, evidence.y, evidence.candidate), spec.metric.name
    if np.isnan(value):
        yield Check("bound", Verdict.INCONCLUSIVE, None, bound, f"{name} is undefined on the holdout.")
        return
    upward = spec.metric.kind.greater_is_better
    met = value >= bound if upward else value <= bound
    condition = f"at {'least' if upward else 'most'} {bound:.4g}"
    reason = f"{name} {value:.4g} on the holdout; {condition} is {'met' if met else 'asked'}."
    yield Check("bound", Verdict.PASS if met else Verdict.FAIL, value, bound, reason)


def _baseline(evidence: Evidence, spec: ModelSpec, seed: int) -> Check:
    """Better than a dummy: FAIL if its figure is no better, PASS if that is proven, INCONCLUSIVE between.

    A figure that is not even nominally better than a dummy's needs no proof to be refused, and neither does a model
    that predicts one value, which is a dummy itself, however well that value happens to be placed.
    """
    # Where a dummy is far worse for days on end, a wide interval says so still.
    comparison = compare_with(evidence, spec, evidence.baseline, seed, capped=True)
    predicted = _judged_part(spec.metric, evidence.candidate)
    if _constant(predicted):
        reason = "The candidate predicts the same for every row: it is a baseline itself."
        return Check("baseline", Verdict.FAIL, number_or_none(comparison.low), 0.0, reason)
    check = prove_better("baseline", comparison, spec, "the baseline")
    if check.status is not Verdict.INCONCLUSIVE or not _replaces_worse(evidence, spec, seed):
        return check
    more = " It is proven better than the champion: of the same recipe on newer rows a better figure is enough then."
    return replace(check, status=Verdict.PASS, value=comparison.improvement, reason=check.reason + more)


def _replaces_worse(evidence: Evidence, spec: ModelSpec, seed: int) -> bool:
    """Whether a routine candidate is proven better than the champion: then to refuse it would serve the worse one."""
    if evidence.champion is None or not _asks_routine(evidence, spec):
        return False
    comparison = compare_with(evidence, spec, evidence.champion, seed)
    return comparison.low > ROUNDING * abs(comparison.champion_value)


def _champion(evidence: Evidence, spec: ModelSpec, seed: int) -> Iterator[Check]:
    """Not worse than the champion by more than the margin, on the same rows; nothing while there is no champion.

    Where the model file has a margin for routine candidates, one that is proven worse at all fails, however little.
    """
    if evidence.same_as_champion:
        yield Check("champion", Verdict.FAIL, None, None, "The candidate is the champion: compared with itself.")
        return
    comparison = against_champion(evidence, spec, seed=seed)
    if comparison is None or evidence.champion is None:
        return
    if np.isnan(comparison.improvement):
        sound = finite(_judged_part(spec.metric, evidence.champion))
        why = f"{spec.metric.name} is undefined here" if sound else "the champion's own predictions are not finite"
        reason = f"No comparison: {why}. Look at the champion; a person can promote or roll back."
        yield Check("champion", Verdict.INCONCLUSIVE, None, None, reason)
        return
    bound = -_margin(evidence, spec) * abs(comparison.champion_value)
    if _alike(_judged_part(spec.metric, evidence.candidate), _judged_part(spec.metric, evidence.champion)):
        reason = "The predictions are identical to the champion's: nothing to gain."
        yield Check("champion", Verdict.INCONCLUSIVE, 0.0, bound, reason)
        return
    rounding = ROUNDING * abs(comparison.champion_value)
    claim = f"not worse by more than {-bound:.4g}" if bound else "better"
    status, ending = Verdict.INCONCLUSIVE, ""
    if comparison.high - bound < -rounding:
        status = Verdict.FAIL
    elif _asks_routine(evidence, spec) and _worse_at_all(evidence, spec, comparison, evidence.champion, seed):
        status, ending = Verdict.FAIL, " It is proven worse."
    elif comparison.low - bound > rounding:
        status = Verdict.PASS
    asked, sentence = (
        _asked(evidence, spec, claim),
        describe_comparison(comparison, spec.metric, "the champion", spec.gates.level),
    )
    proof = f"it is {claim}" if bound else "an improvement"
    reason = asked + sentence + (ending or describe_lacking_proof(status, comparison, proof))
    yield Check("champion", status, number_or_none(comparison.low), bound, reason)


def _asks_routine(evidence: Evidence, spec: ModelSpec) -> bool:
    return evidence.routine and spec.gates.routine_margin is not None


def _worse_at_all(
    evidence: Evidence, spec: ModelSpec, comparison: Comparison, champion: Predictions, seed: int
) -> bool:
    """Whether the candidate is proven to be worse, by however little.

    `comparison` allows for the champion's metric being an estimate, which the question without a margin does not.
    """
    if comparison.improvement >= 0:
        return False
    return compare_with(evidence, spec, champion, seed).high < -ROUNDING * abs(comparison.champion_value)


def _asked(evidence: Evidence, spec: ModelSpec, claim: str) -> str:
    """Which question was asked, as a sentence; empty where the model file asks the same of every candidate."""
    if spec.gates.routine_margin is None:
        return ""
    if not evidence.routine:
        return f"A new recipe: it has to be proven {claim}. "
    worse = ", and must not be proven worse at all" if spec.gates.routine_margin else ""
    return f"The same recipe on newer rows: it has to be proven {claim}{worse}. "


def _slices(evidence: Evidence, spec: ModelSpec, seed: int) -> Iterator[Check]:
    """No slice proven worse than the champion by more than its own margin.

    A slice that is too small, or has no interval, is not judged. The level is shared among the judged slices (the
    Bonferroni correction, Dunn 1961): with forty of them, one would otherwise look bad by chance in most retrainings.
    """
    if evidence.champion is None or evidence.same_as_champion:
        return
    judged = list(slices(evidence.slices, spec.gates.slice_min_rows))
    level = spec.gates.level / max(1, len(judged))
    for name, rows in judged:
        comparison = paired_bootstrap(
            spec.metric,
            evidence.y[rows],
            picked(evidence.candidate, rows),
            picked(evidence.champion, rows),
            groups=None if evidence.groups is None else evidence.groups[rows],
            level=level,
            seed=seed,
            margin=spec.gates.slice_margin,
            capped=True,
        )
        if np.isnan(comparison.high):
            continue
        bound = -spec.gates.slice_margin * abs(comparison.champion_value)
        worse = comparison.high - bound < -ROUNDING * abs(comparison.champion_value)
        ending = f" Proven worse by more than {-bound:.4g}." if worse else ""
        told = describe_comparison(comparison, spec.metric, "the champion", level)
        reason = f"{many(comparison.rows, 'row')}: {told}{ending}"
        yield Check(f"slice {name}", Verdict.FAIL if worse else Verdict.PASS, comparison.high, bound, reason)


def _overfit(evidence: Evidence, spec: ModelSpec) -> Iterator[Check]:
    """How much better the candidate is on what it was trained on; only where the model file sets a limit."""
    limit = spec.gates.overfit
    if limit is None:
        return
    value = measure(spec.metric, evidence.y, evidence.candidate)
    gap = evidence.train_value - value if spec.metric.kind.greater_is_better else value - evidence.train_value
    if not np.isfinite(gap):
        reason = f"{spec.metric.name} is undefined in training or on the holdout."
        yield Check("overfit", Verdict.INCONCLUSIVE, None, limit, reason)
        return
    status = Verdict.FAIL if gap > limit else Verdict.PASS
    reason = f"{spec.metric.name} {evidence.train_value:.4g} in training, {value:.4g} on the holdout: "
    yield Check("overfit", status, gap, limit, f"{reason}a gap of {gap:.4g}, at most {limit:.4g} is allowed.")


def _budget(name: str, value: float, most: float, unit: str) -> Check:
    if not np.isfinite(value):
        return Check(name, Verdict.INCONCLUSIVE, None, most, f"The {name} was not measured.")
    status = Verdict.FAIL if value > most else Verdict.PASS
    return Check(name, status, value, most, f"{value:.4g} {unit}; at most {most:.4g} is allowed.")


def _tags(evidence: Evidence, spec: ModelSpec) -> Iterator[Check]:
    if not spec.gates.tags:
        return
    lacking = [tag for tag in spec.gates.tags if not evidence.tags.get(tag, "").strip()]
    if lacking:
        reason = f"Missing or empty tags: {', '.join(lacking)}. Set them in the model file, or on the model in MLflow."
    else:
        reason = f"{many(len(spec.gates.tags), 'required tag is', 'required tags are')} set."
    yield Check("tags", Verdict.FAIL if lacking else Verdict.PASS, float(len(lacking)), 0.0, reason)


def _description(evidence: Evidence, spec: ModelSpec) -> Check:
    if spec.gates.description and not spec.description.strip():
        reason = "The model file does not say what the model is for: it has no description."
        return Check("description", Verdict.FAIL, None, None, reason)
    if evidence.description.strip():
        return Check("description", Verdict.PASS, None, None, "The version has a description.")
    return Check("description", Verdict.FAIL, None, None, "The version has no description.")


def _judged_part(metric: Metric, model: Predictions) -> Array:
    """The part of a model's predictions that the metric looks at."""
    if metric.kind.needs == "probability" and model.probability is not None:
        return model.probability
    return model.values


def _constant(values: Array) -> bool:
    return bool((values == values[:1]).all())


def _alike(candidate: Array, champion: Array) -> bool:
    """Equal, up to the rounding that the order of a sum makes."""
    if candidate.shape != champion.shape:
        return False
    if candidate.dtype.kind in "iuf" and champion.dtype.kind in "iuf":
        return bool(np.allclose(candidate, champion, rtol=ROUNDING, atol=1e-12))
    return bool((candidate == champion).all())
